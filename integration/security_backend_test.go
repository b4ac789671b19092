package integration_test

import (
	"bufio"
	"net"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// A rule is what a backend makes of a message that matches a pattern.
type rule struct {
	match step
	then  []step
}

// A rulebook is a backend's part in a case: what it says at once, and then its rules.
// What no rule is about is answered as by a plain server of the protocol.
type rulebook struct {
	greeting []step
	rules    []rule
}

// newRulebook makes one of a case's backend_steps, in which each pattern begins a rule.
func newRulebook(steps []step) *rulebook {
	book := new(rulebook)
	for _, s := range steps {
		last := len(book.rules) - 1
		switch {
		case s.Expect != "":
			book.rules = append(book.rules, rule{match: s})
		case last < 0:
			book.greeting = append(book.greeting, s)
		default:
			book.rules[last].then = append(book.rules[last].then, s)
		}
	}
	return book
}

// play answers message by message, until there are no more. Rules hold as often as they
// match, and in any order, since a backend that is to be kept from a command must be
// one that would take it.
func (b *rulebook) play(protocol string, conn net.Conn) error {
	p := newPeer(conn, nil)
	if err := p.run(b.greeting); err != nil || p.closed {
		return err
	}
	next, plain := messages(protocol, bufio.NewReader(conn))
	for {
		message, err := next()
		if err != nil {
			return unlessEnded(err)
		}
		answer := plain(message)
		if i := slices.IndexFunc(b.rules, func(r rule) bool { return p.hears(message, r.match) }); i >= 0 {
			err = p.run(b.rules[i].then)
		} else {
			err = p.write(conn, []byte(answer), step{})
		}
		if err != nil {
			return err
		}
	}
}

// hears reports whether a message matches, and keeps what is to be saved of it.
func (p *peer) hears(message string, s step) bool {
	p.fresh = []byte(message)
	return p.matches(s.Expect, s.Save)
}

// messages are how a protocol's messages are read, and answered by a plain server.
func messages(protocol string, r *bufio.Reader) (next func() (string, error), answer func(string) string) {
	switch protocol {
	case "ldap":
		return func() (string, error) { return readLDAP(r) }, answerLDAP
	case "postgres":
		return func() (string, error) { return readStartup(r) }, answerPostgres
	}
	next = func() (string, error) { return r.ReadString('\n') }
	if begin, ok := lineSessions[protocol]; ok {
		return next, begin()
	}
	server, err := lenient.New(protocol)
	return next, func(line string) string {
		if err != nil {
			return err.Error()
		}
		return string(server.Feed([]byte(line)))
	}
}
