package integration_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// A turn is one way for a client to have its session, and what has to come of it.
type turn struct {
	name     string
	outcomes map[string]string // by handler
	play     func(*loadClient) error
}

// A loadClient is a client with one session.
type loadClient struct {
	*peer
	raw   *heardConn
	stage *loadStage
}

// A heardConn knows whether anything was heard, and how it failed.
type heardConn struct {
	*net.TCPConn
	said, heard uint64
	reset       bool
}

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.heard += uint64(n)
	c.note(err)
	return n, err
}

func (c *heardConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.said += uint64(n)
	c.note(err)
	return n, err
}

func (c *heardConn) note(err error) {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		c.reset = true
	}
}

// allTurns are those that clients of the stage can have.
func (s *loadStage) allTurns() []turn {
	accepted := func(outcome string) map[string]string { return map[string]string{"starttls": outcome} }
	asked := func(outcome string) map[string]string { return map[string]string{"starttls_upstream": outcome} }
	use := turn{"uses the session", nil, (*loadClient).use}
	switch s.name {
	case "required":
		return append(s.refusedTurns(),
			turn{"uses the session", accepted("upgraded"), (*loadClient).upgrade}, turn{"stays", accepted("upgraded"), (*loadClient).outlast})
	case "optional":
		all := []turn{{"uses the session", accepted("upgraded"), (*loadClient).upgrade}}
		if s.talk.clear != nil {
			all = append(all, turn{"stays in plaintext", accepted("cleartext"), (*loadClient).stay})
		}
		return all
	case "implicit":
		return []turn{{"begins with TLS", accepted("implicit_tls"), (*loadClient).begin}}
	case "passthrough":
		return []turn{{"uses the session", accepted("passthrough"), (*loadClient).upgrade}}
	case "impatient":
		return []turn{{"stalls", accepted("timeout"), (*loadClient).rest}}
	case "both":
		twice := map[string]string{"starttls": "upgraded", "starttls_upstream": "upgraded"}
		return []turn{{"uses the session", twice, (*loadClient).upgrade}, {"stays", twice, (*loadClient).outlast}}
	case "upstream", "fallback":
		use.outcomes = asked("upgraded")
	case "without":
		use.outcomes = asked("cleartext")
	default:
		return []turn{{"is told", asked(s.name), (*loadClient).ask}}
	}
	return []turn{use}
}

// refusedTurns are those that do not lead to a session.
func (s *loadStage) refusedTurns() (all []turn) {
	add := func(outcome, name string, script ...step) {
		all = append(all, turn{name, map[string]string{"starttls": outcome}, func(c *loadClient) error {
			if err := c.run(script); err != nil {
				return err
			}
			return c.rest()
		}})
	}
	greet, talk := s.talk.greet[:len(s.talk.greet):len(s.talk.greet)], s.talk
	add("violation", "sends plaintext behind the request", append(greet, step{SendText: talk.request + talk.inject})...)
	add("handshake", "fails at the handshake", append(talk.ask(), step{StartTLS: true, MaxVersion: "1.1", ExpectFail: true})...)
	if len(greet) > 0 && !s.proto.EarlyDial {
		add("gone", "goes", append(greet, step{Close: true})...)
	}
	for outcome, says := range plaintextEnds[s.proto.Name] {
		add(outcome, "never begins TLS: "+outcome, append(greet, says)...)
	}
	return all
}

// plaintextEnds are what clients can say before TLS that ends the session, by what comes of it.
var plaintextEnds = map[string]map[string]step{
	"smtp":     {"quit": {SendText: "QUIT\r\n"}, "too_much": {SendText: "NOOP\r\n", Repeat: 60}},
	"lmtp":     {"quit": {SendText: "QUIT\r\n"}, "too_much": {SendText: "NOOP\r\n", Repeat: 60}},
	"imap":     {"quit": {SendText: "a LOGOUT\r\n"}, "too_much": {SendText: "a NOOP\r\n", Repeat: 60}},
	"pop3":     {"quit": {SendText: "QUIT\r\n"}, "too_much": {SendText: "CAPA\r\n", Repeat: 60}},
	"sieve":    {"quit": {SendText: "LOGOUT\r\n"}, "too_much": {SendText: "NOOP\r\n", Repeat: 60}},
	"nntp":     {"quit": {SendText: "QUIT\r\n"}, "too_much": {SendText: "CAPABILITIES\r\n", Repeat: 60}},
	"ldap":     {"quit": {SendHex: "30050201014200"}, "too_much": {SendText: ldapBind, Repeat: 60}},
	"postgres": {"plaintext": {SendText: startup}, "cancel_request": {SendText: cancelRequest}, "malformed": {SendHex: "0000000800040000"}},
	"xmpp":     {"quit": {SendText: "</stream:stream>"}},
}

// session has one client come and go.
func (s *loadStage) session(turn turn) (*heardConn, error) {
	conn, err := net.DialTimeout("tcp", s.address, patience)
	if err != nil {
		return nil, err
	}
	raw := &heardConn{TCPConn: conn.(*net.TCPConn)}
	config := trustsAll.Clone()
	config.ServerName = "mail.example.com"
	c := &loadClient{peer: newPeer(raw, config).speaking(s.proto.Name), raw: raw, stage: s}
	err = turn.play(c)
	_ = conn.Close()
	if err == nil {
		s.client.up.Add(raw.said)
		s.client.down.Add(raw.heard)
	}
	return raw, err
}

// upgrade has a session, and ends it as it should.
func (c *loadClient) upgrade() error {
	if err := c.run(append(c.stage.talk.ask(), step{StartTLS: true})); err != nil {
		return err
	}
	if err := c.run(c.stage.talk.use); err != nil {
		return err
	}
	return c.leave()
}

// outlast is upgrade with a session that is in use again when the configuration has most
// likely been replaced.
func (c *loadClient) outlast() error {
	if err := c.run(append(c.stage.talk.ask(), step{StartTLS: true}, step{WaitMS: 3000})); err != nil {
		return err
	}
	if err := c.run(c.stage.talk.use); err != nil {
		return err
	}
	return c.leave()
}

// leave ends a session inside TLS.
func (c *loadClient) leave() error {
	if err := c.tls.CloseWrite(); err != nil {
		return err
	}
	return requireCleanEnd(c.peer)
}

// begin has a session that is in TLS from the start.
func (c *loadClient) begin() error {
	config := c.config.Clone()
	if c.stage.proto.DirectALPN {
		config.NextProtos = c.stage.proto.ALPN[:1]
	}
	conn := tls.Client(c.raw, config)
	_ = c.raw.SetDeadline(time.Now().Add(patience))
	if err := conn.Handshake(); err != nil {
		return fmt.Errorf("beginning with TLS: %w", err)
	}
	c.tls = conn
	if _, err := io.WriteString(conn, c.stage.talk.says()); err != nil {
		return err
	}
	return c.leave()
}

// stay has a session in plaintext, though there would be TLS.
func (c *loadClient) stay() error {
	if c.stage.proto.ServerFirst {
		if err := c.run([]step{{Expect: "."}}); err != nil {
			return err
		}
	}
	if err := c.run(c.stage.talk.clear.send); err != nil {
		return err
	}
	return c.end()
}

// use has a session in plaintext, since TLS is none of the client's business.
func (c *loadClient) use() error {
	if err := c.run([]step{{SendText: c.stage.talk.saysInPlaintext()}}); err != nil {
		return err
	}
	return c.end()
}

// end ends our half, and reads what is still to come, of which there must be something.
func (c *loadClient) end() error {
	if err := c.raw.CloseWrite(); err != nil {
		return err
	}
	if err := c.rest(); err != nil {
		return err
	}
	if c.raw.heard == 0 {
		return errors.New("heard nothing")
	}
	return nil
}

// ask is told that there is no upstream.
func (c *loadClient) ask() error {
	if says := c.stage.talk.refused.ask; says != "" {
		if err := c.run([]step{{SendText: says}}); err != nil {
			return err
		}
	}
	return c.rest()
}

// rest reads up to the end of the connection.
func (c *loadClient) rest() error {
	if c.closed {
		return nil
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(c.raw)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		return fmt.Errorf("after %q and %d octets: %w", c.plain, len(rest), err)
	}
	return nil
}
