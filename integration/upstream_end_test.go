package integration_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// longText is more than what is on the way at any time.
var longText = strings.Repeat("0123456789abcde\n", 1<<16)

// inEveryProtocol does the same with a joint of each.
func inEveryProtocol(t *testing.T, do func(t *testing.T, j *joint)) {
	t.Helper()
	joints := jointPerProtocol(t, newAuthority(t))
	serveJoints(t, joints...)
	for _, j := range joints {
		t.Run(j.protocol(), func(t *testing.T) { do(t, j) })
	}
}

// A client that has said all still gets the answer, and the upstream learns in both
// ways that there is no more: by close_notify, and by the end of the connection.
func TestUpstreamHalfClose(t *testing.T) {
	inEveryProtocol(t, func(t *testing.T, j *joint) {
		client, up := j.connect(t)
		go func() { _, _ = io.WriteString(client, longText); _ = client.CloseWrite() }()
		requireRest(t, up, longText)
		requireRest(t, up.raw, "")
		go func() { _, _ = io.WriteString(up, longText); _ = up.CloseWrite() }()
		requireRest(t, client, longText)
	})
}

// An upstream that has said all may still listen.
func TestUpstreamHalfCloseFromUpstream(t *testing.T) {
	inEveryProtocol(t, func(t *testing.T, j *joint) {
		client, up := j.connect(t)
		writes(t, up, "last words")
		require.NoError(t, up.CloseWrite())
		requireRest(t, client, "last words")
		writes(t, client, "noted, good bye")
		require.NoError(t, client.CloseWrite())
		requireRest(t, up, "noted, good bye")
	})
}

// A client gets everything of an upstream that is gone already.
func TestUpstreamClose(t *testing.T) {
	inEveryProtocol(t, func(t *testing.T, j *joint) {
		client, up := j.connect(t)
		go func() { _, _ = io.WriteString(up, longText); _ = up.Close() }()
		requireRest(t, client, longText)
	})
}

// Whoever is reset takes the other with him, and the upstream does not take it for
// an end.
func TestUpstreamReset(t *testing.T) {
	inEveryProtocol(t, func(t *testing.T, j *joint) {
		client, up := j.connect(t)
		writes(t, client, "half of a mess")
		requireReads(t, up, "half of a mess")
		require.NoError(t, reset(client))
		_, err := io.ReadAll(up)
		require.ErrorIs(t, err, upgrade.ErrTruncated)
		require.NoError(t, up.Close())

		client, up = j.connect(t)
		writes(t, up, "half of an answ")
		requireReads(t, client, "half of an answ")
		require.NoError(t, reset(up.raw))
		requireEnds(t, client)
	})
}

// requireEnds requires that a connection ends, in whatever way.
func requireEnds(t testing.TB, conn net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if timeout := net.Error(nil); errors.As(err, &timeout) {
		require.False(t, timeout.Timeout(), "still open: %v", err)
	}
}

// secureSites are servers that terminate TLS, by themselves or with `tls`, in front
// of upgraders that serve the protocol inside TLS.
func secureSites(t testing.TB, a *authority) (sites []*site, implicit []*joint) {
	t.Helper()
	for _, p := range upgrade.Protocols() {
		s, j := newSite(t, p.Name), newJoint(t, p.Name, a, servesInside)
		s.names = []string{"mail.example.com", "example.org"}
		s.backend, s.after = &backend{ln: j.up.ln}, j.handler()
		j.before = "tls"
		sites, implicit = append(sites, s), append(implicit, j)
	}
	return sites, implicit
}

// Across both legs of TLS an end is an end, and a cut is a cut: a client that got no
// close_notify knows that there may have been more.
func TestUpstreamEndsAcrossBothLegs(t *testing.T) {
	sites, implicit := secureSites(t, newAuthority(t))
	var all strings.Builder
	for i := range sites {
		all.WriteString(sites[i].String() + implicit[i].String())
	}
	c := startCaddy(t, all.String())
	c.awaitCertificates("mail.example.com", "example.org")
	for name, end := range map[string]struct {
		by   func(*secured) error
		want error
	}{
		"closed":    {func(up *secured) error { return up.CloseWrite() }, nil},
		"truncated": {func(up *secured) error { return up.raw.CloseWrite() }, errTruncated},
		"reset":     {func(up *secured) error { return reset(up.raw) }, errTruncated},
	} {
		for i, j := range implicit {
			t.Run(j.protocol()+" "+name, func(t *testing.T) {
				p := sites[i].requireUpgraded(t, c.trust(), step{})
				require.NoError(t, p.raw.SetReadDeadline(time.Now().Add(patience)))
				require.NoError(t, end.by(j.up.next(t)))
				requireOutcome(t, p.tls, end.want)
				requireEnds(t, p.raw)
				client := j.dialTLS(t, c.trust(), "mail.example.com")
				j.open(t, client)
				require.NoError(t, end.by(j.up.next(t)))
				requireOutcome(t, client, end.want)
			})
		}
	}
}

// requireOutcome reads all that comes, and then an end of a kind.
func requireOutcome(t testing.TB, from net.Conn, want error) {
	t.Helper()
	_, err := io.Copy(io.Discard, from)
	require.ErrorIs(t, err, want)
}

// A client that goes in the middle of the negotiation costs the upstream a connection
// that ends, as soon as anybody notices.
func TestUpstreamClientGoneMeanwhile(t *testing.T) {
	a := newAuthority(t)
	var joints []*joint
	for _, p := range upgrade.Protocols() {
		if p.HearsClient { // and is not upgraded before that has spoken
			continue
		}
		j := newJoint(t, p.Name, a)
		j.up = makeUpgrader(t, p.Name, a.server(t, upstreamName))
		joints = append(joints, j)
	}
	serveJoints(t, joints...)
	for _, j := range joints {
		t.Run(j.protocol(), func(t *testing.T) {
			require.NoError(t, j.dial(t).Close())
			require.NoError(t, reset(j.dial(t)))
			time.Sleep(settle / 5)
			go j.up.accept()
			for range 2 {
				up := j.up.next(t)
				n, _ := io.Copy(io.Discard, up)
				require.Zero(t, n)
				requireEnds(t, up.raw)
			}
		})
	}
}

// Established sessions outlive their configuration, and so do those in the middle of
// the negotiation. New ones go by the new configuration.
func TestUpstreamSurvivesReload(t *testing.T) {
	a := newAuthority(t)
	joints := jointPerProtocol(t, a)
	slow := newJoint(t, "smtp", a)
	slow.up = makeUpgrader(t, "smtp", a.server(t, upstreamName))
	c := serveJoints(t, append(joints, slow)...)
	type session struct {
		*joint
		client net.Conn
		up     *secured
	}
	var established []session
	for _, j := range joints {
		client, up := j.connect(t)
		established = append(established, session{j, client, up})
	}
	waiting := slow.dial(t)
	time.Sleep(settle / 5)
	for _, j := range joints {
		j.up = newUpgrader(t, j.protocol(), a.server(t, "new.example.com"))
		j.lines[0] = "tls_server_name new.example.com"
	}
	c.load(c.caddyfile(jointServers(joints)))
	for _, s := range established {
		rounds(t, s.client, s.up)
		client := s.dial(t)
		s.open(t, client)
		require.Equal(t, "new.example.com", serverNameOf(s.joint.up.next(t)))
		require.NoError(t, client.Close())
	}
	go slow.up.accept()
	requireReads(t, waiting, slow.greeting())
	rounds(t, waiting, slow.up.next(t))
}

// sessions is how many live and die at once.
const sessions = 200

// A mortalConn comes to an end after some reads and writes.
type mortalConn struct {
	*net.TCPConn
	left atomic.Int32
	end  func(*net.TCPConn)
}

func newMortal(raw *net.TCPConn, seed uint64) *mortalConn {
	r := rand.New(rand.NewPCG(1, seed))
	ends := []func(*net.TCPConn){
		func(c *net.TCPConn) { _ = c.Close() },
		func(c *net.TCPConn) { _ = reset(c) },
		func(c *net.TCPConn) { _ = c.CloseWrite() },
		func(c *net.TCPConn) { _, _ = c.Write([]byte("\x15garbage\r\n")); _ = c.Close() },
		func(c *net.TCPConn) { time.Sleep(time.Second); _ = c.Close() },
	}
	m := &mortalConn{TCPConn: raw, end: ends[r.IntN(len(ends))]}
	m.left.Store(1 + r.Int32N(30))
	return m
}

func (m *mortalConn) used() {
	if m.left.Add(-1) == 0 {
		m.end(m.TCPConn)
	}
}

func (m *mortalConn) Read(p []byte) (int, error)  { m.used(); return m.TCPConn.Read(p) }
func (m *mortalConn) Write(p []byte) (int, error) { m.used(); return m.TCPConn.Write(p) }

// Wherever sessions die, at whose hands, and how many at a time: nothing is left.
func TestUpstreamLeavesNothingBehind(t *testing.T) {
	a := newAuthority(t)
	var seed atomic.Uint64
	mortal := func(u *upgrader) {
		u.tap = func(raw net.Conn) net.Conn { return newMortal(raw.(*net.TCPConn), 1e6+seed.Add(1)) }
		u.serve = func(conn net.Conn) error { _, err := io.Copy(conn, conn); return err }
	}
	joints := jointPerProtocol(t, a, mortal)
	optional := newJoint(t, "smtp", a, mortal)
	optional.lines = append(optional.lines, "policy optional")
	joints = append(joints, optional)
	for _, j := range joints {
		j.lines = append(j.lines, "negotiation_timeout 1s", "handshake_timeout 1s")
	}
	serveJoints(t, joints...)
	runSessions(t, joints, 0) // for what stays for good
	time.Sleep(settle)
	before := measure(t)
	for round := range 3 {
		runSessions(t, joints, uint64(round+1))
		requireBack(t, before)
	}
}

// runSessions runs many clients to their ends. The numbers decide which ends.
func runSessions(t *testing.T, joints []*joint, round uint64) {
	t.Helper()
	var all sync.WaitGroup
	failed := make(chan error, sessions)
	for i := range sessions {
		all.Go(func() {
			if err := runSession(joints[i%len(joints)], round*sessions+uint64(i)); err != nil {
				failed <- fmt.Errorf("session %d of round %d, %s: %w", i, round, joints[i%len(joints)].protocol(), err)
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
}

// runSession has a client talk until it is over. Only that it never ends is an error.
func runSession(j *joint, seed uint64) error {
	raw, err := net.DialTimeout("tcp", j.address, patience)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	if err := raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	conn := newMortal(raw.(*net.TCPConn), seed)
	go func() {
		for err := error(nil); err == nil; {
			_, err = io.WriteString(conn, "to and fro, until the end of all things\r\n")
			time.Sleep(time.Millisecond)
		}
	}()
	_, err = io.Copy(io.Discard, struct{ io.Reader }{conn})
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return nil
}

// A client whose commands wait for an answer, as POP3's do behind PASS, is not left
// waiting when the upstream is cut off instead of answering.
func TestUpstreamIsCutOffUnderAWaitingClient(t *testing.T) {
	cutsOff := func(u *upgrader) {
		u.serve = func(conn net.Conn) error {
			session := new(pop3Session)
			return serveLines(conn, "", func(line string) string {
				if verb, _ := verbOf(line); verb == "PASS" {
					_ = conn.(*upgrade.Conn).NetConn().Close()
				}
				return session.answer(line)
			})
		}
	}
	s, j := newSite(t, "pop3"), newJoint(t, "pop3", newAuthority(t), cutsOff)
	s.names = []string{"mail.example.com"}
	s.backend, s.after = &backend{ln: j.up.ln}, j.handler()
	c := startCaddy(t, s.String())
	c.awaitCertificates(s.names...)
	p := s.requireUpgraded(t, c.trust(), step{})
	writes(t, p.tls, "PASS secret\r\n")
	require.NoError(t, p.raw.SetReadDeadline(time.Now().Add(patience)))
	_, err := io.ReadAll(p.tls)
	require.ErrorContains(t, err, "without close_notify")
	require.NoError(t, p.raw.Close())
	require.Eventually(t, func() bool { return stacks().ours() == 0 }, patience, 10*time.Millisecond)
}
