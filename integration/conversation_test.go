package integration_test

import (
	"crypto/tls"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
)

// A conversation is what a protocol's clients and servers say and hear: what is in the
// file <protocol>.session.txt in the protocol's folder.
type conversation struct {
	greet   []step // up to the request
	request string
	goAhead string // pattern of the answer; none: the ClientHello follows at once
	answers int    // of which it is made; one if there is nothing to say of that
	use     []step // what a client does inside TLS, to see that the backend is there
	inject  string // what an attacker puts behind the request
	marker  string // in inject, for the backend's eyes

	opening  *opening // nil: everything passes at once behind the upgrade of an upstream
	refused  refusedClient
	clear    *clearClient // nil: a client cannot stay in plaintext
	canary   string
	upstream upstreamScript

	tooMany  string // pattern of what a client hears that has too many connections
	stopping string // pattern of what it hears behind the greeting, when a stop ends its negotiation
}

// A refusedClient is one that has no upstream: what it says to be told so, and the pattern
// of what it hears. NAME is the server's, WHY the reason.
type refusedClient struct{ ask, pattern string }

// A clearClient stays in plaintext: what it says that only a backend can answer, and what
// it hears then, and if there is none.
type clearClient struct {
	send       []step
	none, some string
}

// An upstreamScript is what a server says that can upgrade.
type upstreamScript struct {
	asked   []step // up to the request
	goAhead string // none: the ClientHello follows at once
	refusal string
	without []step // one that has no upgrade, up to where it has said so
}

// consented is a server up to its go-ahead, if it has one.
func (u upstreamScript) consented() []step {
	steps := slices.Clone(u.asked)
	if u.goAhead != "" {
		steps = append(steps, step{SendText: u.goAhead})
	}
	return steps
}

const (
	xmppHeader = "<stream:stream to='example.org' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	ldapBind   = "\x30\x13\x02\x01\x02\x60\x0e\x02\x01\x03\x04\x05cn=me\x80\x02pw"
	sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	mysqlLogin = "\x51\x00\x00\x02" + "\x05\xaa\xbf\x00\x00\x00\x00\x01\x2d" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"alice\x00\x14HHHHHHHHHHHHHHHHHHHHmysql_native_password\x00"
	startup = "\x00\x00\x00\x14\x00\x03\x00\x00user\x00alice\x00\x00"
)

// A talk reads a protocol's session, each dialogue as steps of one side.
type talk struct {
	t testing.TB
	*dialoguetest.Session
}

// conversationOf is that of a protocol. One that lacks what a test needs fails it.
func conversationOf(t testing.TB, protocol string) *conversation {
	t.Helper()
	p, err := upgrade.Lookup(protocol)
	require.NoError(t, err)
	found, err := filepath.Glob("../upgrade/*/testdata/" + protocol + ".txt")
	require.NoError(t, err)
	require.Len(t, found, 1, "%s needs a folder with transcripts", protocol)
	session, err := dialoguetest.ReadSession(filepath.Dir(found[0]), p)
	require.NoError(t, err)
	s := talk{t, session}
	c := &conversation{use: s.inside("use"), inject: s.said("injection"), marker: s.dialogue("injection").Option("marker")}
	require.NotEmpty(t, c.marker, "%s: the injection needs a marker", protocol)
	require.Contains(t, c.inject, c.marker, protocol)
	c.setUpgrade(t, s.steps("upgrade", 'C'))
	c.answers = s.number("upgrade", "answers", 1)
	c.refused = s.refused("no backend")
	if session.Has("plaintext") {
		some, none := s.refused("plaintext"), s.refused("plaintext without a backend")
		require.Equal(t, some.ask, none.ask, protocol)
		c.clear = &clearClient{[]step{{SendText: some.ask}}, none.pattern, some.pattern}
	}
	c.tooMany = s.heard("too many connections", "(?i)too many connections|<resource-constraint ")
	c.stopping = s.heard("stopping", "shut")
	c.canary = canary + "\r\n"
	if session.Has("canary") {
		c.canary = s.said("canary")
	}
	require.Contains(t, c.canary, canary, protocol)
	c.upstream = upstreamScript{
		asked: s.steps("server asked", 'S'), refusal: s.said("server refuses"),
		without: s.steps("server without the upgrade", 'S'),
	}
	if session.Has("opening") {
		steps := s.dialogue("opening").Steps
		require.Len(t, steps, 3, "%s: the opening has what both say, and what the client hears", protocol)
		c.opening = &opening{string(steps[0].Data), string(steps[1].Data), steps[2].Pattern, len(steps[0].Data)}
		c.opening.arrive = s.number("opening", "arrive", c.opening.arrive)
	}
	if session.Has("server consents") {
		c.upstream.goAhead = s.said("server consents")
	}
	return c
}

// dialsEarly reports whether a protocol needs the backend before the upgrade.
func dialsEarly(protocol string) bool {
	p, err := upgrade.Lookup(protocol)
	return err == nil && p.EarlyDial
}

// setUpgrade takes the client's last words for the request.
func (c *conversation) setUpgrade(t testing.TB, steps []step) {
	t.Helper()
	last := len(steps) - 1
	if steps[last].Expect != "" {
		c.goAhead = steps[last].Expect
		last--
	}
	require.GreaterOrEqual(t, last, 0, "an upgrade without a request")
	c.request, c.greet = steps[last].SendText, steps[:last]
	require.NotEmpty(t, c.request, "an upgrade without a request")
}

func (s talk) dialogue(title string) *dialoguetest.Dialogue {
	s.t.Helper()
	d, err := s.Dialogue(title)
	require.NoError(s.t, err)
	return d
}

// number is that of an option, which need not be there.
func (s talk) number(title, option string, byDefault int) int {
	s.t.Helper()
	text := s.dialogue(title).Option(option)
	if text == "" {
		return byDefault
	}
	n, err := strconv.Atoi(text)
	require.NoError(s.t, err, "%s: %s", title, option)
	return n
}

// steps are those of one side, which expects what is said by the other. The first named
// group of a pattern is kept, for {name} in what is said later.
func (s talk) steps(title string, who byte) (steps []step) {
	s.t.Helper()
	for _, d := range s.dialogue(title).Steps {
		if d.Who == who {
			require.Empty(s.t, d.Pattern, title)
			steps = append(steps, step{SendText: string(d.Data)})
			continue
		}
		require.NotEmpty(s.t, d.Pattern, "%s: a pattern is needed, not %q", title, d.Data)
		steps = append(steps, step{Expect: d.Pattern, Save: strings.Join(regexp.MustCompile(d.Pattern).SubexpNames(), "")})
	}
	return steps
}

// inside are the steps of a client inside TLS.
func (s talk) inside(title string) []step {
	s.t.Helper()
	steps := s.steps(title, 'C')
	for i := range steps {
		steps[i].TLSSendText, steps[i].SendText = steps[i].SendText, ""
	}
	return steps
}

// says is all that a client says inside TLS.
func (c *conversation) says() (all string) {
	for _, s := range c.use {
		all += s.TLSSendText
	}
	return all
}

// saysInPlaintext is what a client says to an upstream that is upgraded for it.
func (c *conversation) saysInPlaintext() string {
	if c.opening != nil {
		return c.opening.client
	}
	return c.says()
}

// said is what is said in a dialogue of one side alone.
func (s talk) said(title string) string {
	s.t.Helper()
	steps := s.dialogue(title).Steps
	require.Len(s.t, steps, 1, title)
	require.NotEmpty(s.t, steps[0].Data, title)
	return string(steps[0].Data)
}

// heard is a pattern of all that is heard in a dialogue, which need not be there.
func (s talk) heard(title, byDefault string) string {
	s.t.Helper()
	if !s.Has(title) {
		return byDefault
	}
	return s.refused(title).pattern
}

// refused is a client that says something or nothing, and hears something.
func (s talk) refused(title string) (r refusedClient) {
	s.t.Helper()
	for _, step := range s.steps(title, 'C') {
		r.ask += step.SendText
		r.pattern += step.Expect
	}
	require.NotEmpty(s.t, r.pattern, title)
	return r
}

// Every protocol in the table has a conversation and a server, so that nothing here leaves
// out a new one in silence.
func TestEveryProtocolHasAConversation(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		cannot := p.AlwaysTLS || p.PlaintextByDefault // whose plaintext is anything
		require.Equal(t, cannot, conversationOf(t, p.Name).clear == nil, "%s: can a client stay in plaintext?", p.Name)
		require.NotNil(t, serverOf(t, p.Name))
	}
}

// ask says all of it up to and including the request, and hears the go-ahead.
func (c *conversation) ask() []step {
	steps := append([]step{}, c.greet...)
	steps = append(steps, step{SendText: c.request})
	if c.goAhead != "" {
		steps = append(steps, step{Expect: c.goAhead})
	}
	return steps
}

// upgraded connects a client to the site, upgrades as a step says, and uses the
// session.
func (s *site) upgraded(trust *tls.Config, handshake step) (*peer, error) {
	p, err := s.dial(trust)
	if err != nil {
		return nil, err
	}
	handshake.StartTLS = true
	steps := append(s.talk.ask(), handshake)
	if err := p.run(append(steps, s.talk.use...)); err != nil {
		_ = p.raw.Close()
		return nil, err
	}
	return p, nil
}

// requireUpgraded is upgraded for tests that depend on it.
func (s *site) requireUpgraded(t *testing.T, trust *tls.Config, handshake step) *peer {
	t.Helper()
	p, err := s.upgraded(trust, handshake)
	require.NoError(t, err, s.protocol)
	t.Cleanup(func() { _ = p.raw.Close() })
	return p
}
