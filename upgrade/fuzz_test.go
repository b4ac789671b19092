package upgrade

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What FuzzProtocols does with its bytes.
const (
	fuzzAccept = iota
	fuzzOptional
	fuzzRequest
	fuzzMatch
	fuzzExchange
	fuzzPlain
	fuzzDirect
	fuzzInside
	fuzzUnavailable
	fuzzRoles
)

// maxFuzzMatch bounds what is matched octet by octet.
const maxFuzzMatch = 600

// FuzzProtocols plays every role of every protocol with a peer that says anything
// at all, in parts of any size. For filters, other is what the backend says.
func FuzzProtocols(f *testing.F) {
	for i, p := range protocols {
		fuzzSeeds(f, byte(i), p)
	}
	f.Fuzz(func(t *testing.T, index, role, chunk byte, peer, other []byte) {
		p := protocols[int(index)%len(protocols)]
		// In some thousand parts at the most, for the sake of speed.
		script := &fuzzConn{data: peer, chunk: 1 + int(chunk) + max(len(peer), len(other))/2048}
		switch role % fuzzRoles {
		case fuzzAccept, fuzzOptional, fuzzRequest:
			fuzzPlaintext(t, p, role%fuzzRoles, script)
		case fuzzMatch:
			fuzzMatching(t, p, peer)
		case fuzzExchange, fuzzPlain, fuzzDirect, fuzzInside:
			fuzzFilter(t, p, role%fuzzRoles, script, other)
		case fuzzUnavailable:
			fuzzNoServer(t, p, script)
		}
	})
}

func fuzzSeeds(f *testing.F, index byte, p *Protocol) {
	for _, d := range readDialogues(f, "testdata/"+p.Name+".txt") {
		var client, server []byte
		for _, s := range d.steps {
			if s.client {
				client = append(client, s.data...)
			} else {
				server = append(server, s.data...)
			}
		}
		if strings.Contains(d.roles, "accept") {
			f.Add(index, byte(fuzzAccept), byte(255), client, []byte(nil))
			f.Add(index, byte(fuzzOptional), byte(255), client, []byte(nil))
			f.Add(index, byte(fuzzUnavailable), byte(255), client, []byte(nil))
		}
		if strings.Contains(d.roles, "request") {
			f.Add(index, byte(fuzzRequest), byte(255), server, []byte(nil))
		}
		if p.Match != nil {
			f.Add(index, byte(fuzzMatch), byte(0), client[:min(len(client), maxFuzzMatch)], []byte(nil))
		}
		if p.Relay != nil {
			f.Add(index, byte(fuzzExchange), byte(0), client, server)
		}
	}
	if p.Rejoin != nil {
		fuzzFilterSeeds(f, index, "testdata/"+p.Name+".rejoin.txt", fuzzExchange, fuzzPlain, fuzzDirect)
	}
	if p.Inside != nil {
		fuzzFilterSeeds(f, index, "testdata/"+p.Name+".inside.txt", fuzzInside)
	}
}

func fuzzFilterSeeds(f *testing.F, index byte, path string, roles ...byte) {
	for _, d := range readRejoins(f, path) {
		said := map[string][]byte{}
		for _, s := range d.steps {
			said[s.who] = append(said[s.who], s.data...)
		}
		for _, role := range roles {
			f.Add(index, role, byte(0), said["C"], said["B"])
		}
	}
}

// fuzzNoServer asserts that a client without a server is heard for a bounded time, and
// learns nothing of the cause but its kind.
func fuzzNoServer(t *testing.T, p *Protocol, script *fuzzConn) {
	size := len(script.data)
	Unavailable(script, p, &Config{Hostname: testHost}, fmt.Errorf("%w: unspoken", ErrRefused))
	require.LessOrEqual(t, size-len(script.data), maxBytes+4096, "read too much")
	require.LessOrEqual(t, script.wrote, 1024, "wrote too much")
	require.NotContains(t, string(script.last), "unspoken")
}

// fuzzPlaintext asserts that the plaintext phase is bounded, that success leaves
// nothing behind, and that a client's commitment leaves what it has said last.
func fuzzPlaintext(t *testing.T, p *Protocol, role byte, script *fuzzConn) {
	conn := newConn(script, p, &Config{
		Hostname: testHost,
		Reply:    "GO",
		Optional: role == fuzzOptional,
		TLS:      &tls.Config{ServerName: testHost, MinVersion: tls.VersionTLS12},
	}, role == fuzzRequest)
	all := slices.Clone(script.data)
	err := conn.Plaintext(context.Background())
	read := len(all) - len(script.data)
	require.LessOrEqual(t, read, maxBytes+4096, "read too much")
	require.LessOrEqual(t, script.wrote, maxBytes, "wrote too much")
	switch {
	case err != nil:
		require.Empty(t, conn.buf)
		_, again := conn.Read(make([]byte, 1))
		require.ErrorIs(t, again, err)
	case conn.Committed():
		require.Equal(t, byte(fuzzOptional), role)
		require.True(t, bytes.HasSuffix(all[:read], conn.buf))
		require.NotEmpty(t, conn.buf)
	default:
		require.Empty(t, conn.buf, "plaintext is left")
	}
}

// fuzzMatching asserts that a verdict is final.
func fuzzMatching(t *testing.T, p *Protocol, data []byte) {
	if p.Match == nil {
		return
	}
	verdict := NeedMore
	for n := range min(len(data), maxFuzzMatch) + 1 {
		next := p.Match(data[:n])
		if verdict != NeedMore {
			require.Equal(t, verdict, next, "at %d", n)
		}
		verdict = next
	}
	require.Equal(t, NeedMore, p.Match(nil))
}

// fuzzFilter asserts that a filter keeps a bounded part to itself, and changes
// nothing once it is done.
func fuzzFilter(t *testing.T, p *Protocol, role byte, script *fuzzConn, backend []byte) {
	client := script.data
	x := fuzzExchangeOf(p, role, script)
	if x.filter == nil {
		return
	}
	chunk := script.chunk
	for !x.ended && x.upgrade == nil && len(client)+len(backend) > 0 {
		done := x.finished
		part := backend[:min(chunk, len(backend))]
		backend = backend[len(part):]
		script.last = nil
		_, err := x.Write(part)
		require.NoError(t, err)
		if done {
			require.Equal(t, string(part), string(script.last))
		}
		require.LessOrEqual(t, len(x.back), maxFilterLine+chunk, "kept from the client")
		if x.holds() {
			if len(backend) == 0 {
				break
			}
			continue
		}
		done = x.finished
		part = client[:min(chunk, len(client))]
		client = client[len(part):]
		want := slices.Concat(x.in, part)
		got := fuzzFeed(x, part)
		if done {
			require.Equal(t, string(want), string(got))
		}
		require.True(t, x.ended || x.holds() || len(x.in) <= maxFilterLine+chunk, "kept from the backend")
	}
	_ = x.CloseWrite()
}

// fuzzExchangeOf makes the Exchange that a role is about.
func fuzzExchangeOf(p *Protocol, role byte, script *fuzzConn) *Exchange {
	if role == fuzzInside {
		return Fresh(script, p, &Config{Hostname: testHost})
	}
	conn := newConn(script, p, &Config{Hostname: testHost, Optional: role == fuzzPlain}, false)
	conn.session = newSession(conn)
	conn.committed, conn.direct = role == fuzzPlain, role == fuzzDirect
	conn.negotiated.Store(true)
	return conn.Exchange()
}

// fuzzFeed is what Exchange.Read does, but for waiting.
func fuzzFeed(x *Exchange, part []byte) []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.in = append(x.in, part...)
	x.feedClient()
	_ = x.flush()
	got := x.toRead
	x.toRead = nil
	return got
}

// A fuzzConn yields data and takes everything.
type fuzzConn struct {
	net.Conn
	data  []byte
	chunk int // bytes a Read yields at the most
	wrote int
	last  []byte
}

func (c *fuzzConn) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.data[:min(c.chunk, len(c.data))])
	c.data = c.data[n:]
	return n, nil
}

func (c *fuzzConn) Write(p []byte) (int, error) {
	c.wrote += len(p)
	c.last = append(c.last, p...)
	return len(p), nil
}

func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }
