package integration_test

import (
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// stays is how long a client may stay behind its backend, and a session in which neither
// side listens.
const stays = 30 * time.Second

// What one side says without an end to one that does not listen.
const (
	clientFlood  = 7 << 20
	backendFlood = 32 << 20 // more than what the system has room for
	mostHeap     = 1 << 20  // of a session, with both of its ends

	roomTime = 300 * time.Millisecond // for there to be room again

	stayingClients = 200
)

// A floodWord is what floods are made of.
type floodWord struct{ command, reply string }

// floodWord is that of the stage's protocol. One that is not in floodWords says what its
// conversation says inside TLS.
func (s *stage) floodWord() floodWord {
	if word, ok := floodWords[s.proto.Name]; ok {
		return word
	}
	return floodWord{s.talk.says(), s.talk.canary}
}

// floodWords are a command to which there is an answer or none, and an answer to none.
var floodWords = map[string]floodWord{
	"smtp":     {"NOOP\r\n", "250 ok\r\n"},
	"lmtp":     {"NOOP\r\n", "250 ok\r\n"},
	"imap":     {"a NOOP\r\n", "* OK still here\r\n"},
	"pop3":     {"NOOP\r\n", "+OK ok\r\n"},
	"sieve":    {"NOOP\r\n", "OK\r\n"},
	"ldap":     {"\x30\x07\x02\x01\x01\x63\x02\x04\x00", "\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"},
	"postgres": {"p\x00\x00\x00\x05\x00", "R\x00\x00\x00\x0c\x00\x00\x00\x05salt"},
	"xmpp":     {"<presence/>", " "},
	"line":     {"PING\r\n", "PONG\r\n"},

	// What its conversation says is an element in an element in an element, all of which
	// the lenient server has to remember.
	"xmpp-server": {"<presence/>", " "},
}

// A floodStage is a stage with a backend that takes a flood in some way.
type floodStage struct {
	*stage
	how    string
	ln     net.Listener
	config *tls.Config
	inside chan backendEnd
	over   chan struct{}
}

// A backendEnd is a connection as the backend's application has it.
type backendEnd struct {
	net.Conn
	raw  net.Conn      // below TLS, if there is any
	used chan struct{} // closed when the client has used the session
}

// newFloodStage starts a backend, until the end of the test.
func newFloodStage(t testing.TB, p *upgrade.Protocol, m manner, config *tls.Config, how string) *floodStage {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	s := &floodStage{
		stage: &stage{manner: m, proto: p, talk: conversationOf(t, p.Name), plain: serverOf(t, p.Name), address: freeAddress(t), upstreams: ln.Addr().String()},
		how:   how, ln: ln, config: config, inside: make(chan backendEnd, crowd), over: make(chan struct{}),
	}
	go s.accept()
	return s
}

func (s *floodStage) accept() {
	for {
		raw, err := s.ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = raw.Close() }()
			_ = s.serve(raw, s.config, func(conn net.Conn) net.Conn {
				end := backendEnd{conn, raw, make(chan struct{})}
				s.inside <- end
				return listeners[s.how](s, end)
			})
		}()
	}
}

// A flooded session is a client's and a backend's end.
type flooded struct {
	client  *peer
	backend backendEnd
}

// connect gets a client as far as to where it has the backend, and uses it.
func (s *floodStage) connect(t testing.TB) *flooded {
	t.Helper()
	raw, err := net.DialTimeout("tcp", s.address, patience)
	require.NoError(t, err)
	t.Cleanup(func() { _ = raw.Close() })
	f := &flooded{client: newPeer(raw, &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.com"}).speaking(s.proto.Name)}
	if s.upgrades() {
		c := s.talk
		require.NoError(t, f.client.run(append(append(c.ask(), step{StartTLS: true}), c.use...)), s)
	} else if s.proto.HearsClient {
		writes(t, raw, s.talk.opening.client)
	}
	select {
	case f.backend = <-s.inside:
	case <-time.After(patience):
		require.Fail(t, "nobody has reached the backend", s)
	}
	close(f.backend.used)
	return f
}

// close ends both, the backend first: one that does not listen would have the session wait.
func (f *flooded) close() { _, _ = f.backend.raw.Close(), f.client.raw.Close() }

// says is where a client writes.
func (f *flooded) says() net.Conn {
	if f.client.tls != nil {
		return f.client.tls
	}
	return f.client.raw
}

// flood says something without an end, until there is no room for it any more.
func flood(to net.Conn, text string, octets int) (said int) {
	chunk := []byte(strings.Repeat(text, 1+16<<10/len(text)))
	for said < octets {
		_ = to.SetWriteDeadline(time.Now().Add(roomTime))
		n, err := to.Write(chunk)
		said += n
		if err != nil {
			break
		}
	}
	return said
}

// heap is what is in use, without what has come while the rest was collected.
func heap() int {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtime.GC()
	runtime.GC()
	metrics.Read(live)
	return int(live[0].Value.Uint64())
}

// heapAbove is what is in use more than before, once that is little enough, or else in the
// end: what the system has room for is still passed on meanwhile.
func heapAbove(before, enough int) (cost int) {
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if cost = heap() - before; cost <= enough || time.Now().After(deadline) {
			return cost
		}
	}
}

// floodStages are those for each protocol, with TLS on either side of us, and each way of
// a backend's.
func floodStages(t testing.TB, hows ...string) (all [][]*floodStage) {
	t.Helper()
	a := newAuthority(t)
	config := a.server(t, upstreamName)
	for _, p := range upgrade.Protocols() {
		for _, m := range manners(a) {
			if m.name != "required" && m.name != "upstream" {
				continue
			}
			var stages []*floodStage
			for _, how := range hows {
				stages = append(stages, newFloodStage(t, p, m, config, how))
			}
			all = append(all, stages)
		}
	}
	return all
}

// serveFloods runs a Caddy with the stages.
func serveFloods(t *testing.T, all [][]*floodStage) {
	t.Helper()
	var stages []*stage
	for _, some := range all {
		for _, s := range some {
			stages = append(stages, s.stage)
		}
	}
	c := startCaddy(t, stageServers(stages, stageTimes{patience, handshakeTimeout}))
	c.awaitCertificates("mail.example.com", "example.org")
}

// requireLittle has some sessions, floods all of them at once until there is no room for
// more, and requires that they do not cost much.
func requireLittle(t *testing.T, some []*floodStage, floods ...func(*floodStage, *flooded) int) {
	t.Helper()
	some[0].connect(t).close() // for what stays for good
	before := measure(t)
	heapBefore := heap()
	var all []*flooded
	var running sync.WaitGroup
	said := make([]int, len(some)*len(floods))
	for i := range said {
		s, flood := some[i/len(floods)], floods[i%len(floods)]
		f := s.connect(t)
		all = append(all, f)
		running.Go(func() { said[i] = flood(s, f) })
	}
	running.Wait()
	cost := heapAbove(heapBefore, len(all)*mostHeap)
	t.Logf("%d sessions cost %d KiB, octets: %d", len(all), cost>>10, said)
	require.LessOrEqual(t, cost, len(all)*mostHeap)
	for _, s := range some {
		close(s.over)
	}
	for _, f := range all {
		f.close()
	}
	requireBackWithin(t, before, stays+patience)
}

// takesLong skips a test that waits for half a minute and more, unless KILLS is set, as it
// is in CI. What it shows of the handlers is shown of `upgrade` in its own tests.
func takesLong(t testing.TB) {
	t.Helper()
	if os.Getenv("KILLS") == "" {
		t.Skip("takes half a minute or more; KILLS is not set")
	}
}

// A client that says something without an end and reads nothing costs little, whether or
// not it makes sense and whatever the backend makes of it.
func TestFloodsOfClients(t *testing.T) {
	takesLong(t)
	all := floodStages(t, "answers", "listens", "is deaf")
	serveFloods(t, all)
	lineEnds := func(_ *floodStage, f *flooded) int { return flood(f.says(), "\r\n", clientFlood) }
	commands := func(s *floodStage, f *flooded) int {
		return flood(f.says(), s.floodWord().command, clientFlood)
	}
	for _, some := range all {
		t.Run(some[0].String(), func(t *testing.T) { requireLittle(t, some, lineEnds, commands) })
	}
}

// A backend that says something without an end to a client that reads nothing likewise.
func TestFloodsOfBackends(t *testing.T) {
	takesLong(t)
	all := floodStages(t, "answers")
	serveFloods(t, all)
	replies := func(s *floodStage, f *flooded) int {
		return flood(f.backend, s.floodWord().reply, backendFlood)
	}
	for _, some := range all {
		t.Run(some[0].String(), func(t *testing.T) { requireLittle(t, some, replies, replies, replies) })
	}
}

// Clients that stay when their backends have ended are gone after their time, with all of
// theirs.
func TestClientsThatStayBehindTheirBackends(t *testing.T) {
	takesLong(t)
	all := floodStages(t, "answers")
	serveFloods(t, all)
	for _, some := range all {
		some[0].connect(t).close() // for what stays for good
	}
	time.Sleep(2 * settle)
	before := measure(t)
	var stayers []*flooded
	for i := range stayingClients {
		stayers = append(stayers, all[i%len(all)][0].connect(t))
	}
	for _, f := range stayers {
		require.NoError(t, f.backend.Close())
	}
	t.Logf("%d clients stay: %s, before: %s", len(stayers), measure(t), before)
	before.descriptors += len(stayers) // their own
	requireBackWithin(t, before, stays+patience)
	for _, f := range stayers {
		require.NoError(t, f.client.raw.Close())
	}
}
