package integration_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// cuts are the ways in which the upstream's stream is cut off inside TLS.
var cuts = map[string]func(up *secured) error{
	"truncated": func(up *secured) error { return up.raw.CloseWrite() },
	"closed":    func(up *secured) error { return up.raw.Close() },
	"reset":     func(up *secured) error { return reset(up.raw) },
}

// A client in plaintext has no close_notify to miss: what is cut off inside TLS is a reset to
// it, and a proper end is none.
func TestUpstreamCutsAreResetsInPlaintext(t *testing.T) {
	inEveryProtocol(t, func(t *testing.T, j *joint) {
		for name, cut := range cuts {
			client, up := j.connect(t)
			writes(t, up, "half of an answ")
			requireReads(t, client, "half of an answ")
			require.NoError(t, cut(up), name)
			_, err := io.Copy(io.Discard, client)
			require.ErrorIs(t, err, syscall.ECONNRESET, name)
		}
		client, up := j.connect(t)
		writes(t, up, "an answer")
		require.NoError(t, up.Close())
		requireRest(t, client, "an answer")
	})
}

// The entry of a session says who cut it off, and that it was.
func TestAccessLogOfUpstreamsCuts(t *testing.T) {
	j := newJoint(t, "pop3", newAuthority(t))
	j.lines = append(j.lines, "log")
	c := serveJoints(t, j)
	before := 0
	for name, cut := range cuts {
		client, up := j.connect(t)
		writes(t, up, "half of an answ")
		requireReads(t, client, "half of an answ")
		require.NoError(t, cut(up), name)
		_, err := io.Copy(io.Discard, client)
		require.ErrorIs(t, err, syscall.ECONNRESET, name)
		entry := c.awaitEntries(before+1, accessOf(""))[before]
		require.Equal(t, "backend", entry["ended_by"], name)
		require.Contains(t, entry["error"], "without close_notify", name)
		before++
	}
	client, up := j.connect(t)
	require.NoError(t, up.Close())
	requireRest(t, client, "")
	require.NoError(t, client.Close())
	entry := c.awaitEntries(before+1, accessOf(""))[before]
	require.Equal(t, "backend", entry["ended_by"])
	require.NotContains(t, entry, "error")
}

// What a client sends over TLS and is cut off does not end properly for an upstream inside
// TLS, either. What ends with close_notify does.
func TestClientsCutsReachTheUpstream(t *testing.T) {
	a := newAuthority(t)
	sites, joints := secureSites(t, a)
	ended := make(chan error, 10)
	var all strings.Builder
	for i, s := range sites {
		all.WriteString(s.String())
		serve := joints[i].up.serve
		joints[i].up.serve = func(conn net.Conn) error { return serve(endingConn{conn, ended}) }
	}
	c := startCaddy(t, all.String())
	c.awaitCertificates("mail.example.com", "example.org")
	for name, end := range map[string]struct {
		by   func(*peer) error
		want error
	}{
		"close_notify": {func(p *peer) error { return p.tls.CloseWrite() }, nil},
		"truncated":    {func(p *peer) error { return p.raw.(*net.TCPConn).CloseWrite() }, upgrade.ErrTruncated},
		"reset":        {func(p *peer) error { return reset(p.raw.(*net.TCPConn)) }, upgrade.ErrTruncated},
	} {
		for i, j := range joints {
			t.Run(j.protocol()+" "+name, func(t *testing.T) {
				p := sites[i].requireUpgraded(t, c.trust(), step{})
				_ = j.up.next(t)
				require.NoError(t, end.by(p))
				select {
				case err := <-ended:
					require.ErrorIs(t, err, end.want)
				case <-time.After(patience):
					require.FailNow(t, "the upstream sees no end")
				}
			})
		}
	}
}

// An endingConn tells what reading has ended with: nil for a proper end.
type endingConn struct {
	net.Conn
	ended chan<- error
}

func (c endingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		c.ended <- nil
	case err != nil:
		c.ended <- err
	}
	return n, err
}
