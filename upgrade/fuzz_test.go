package upgrade_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/attacks"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
)

// What FuzzProtocols does with its bytes. From fuzzFilters on it is a situation of a
// filter.
const (
	fuzzAccept = iota
	fuzzOptional
	fuzzRequest
	fuzzMatch
	fuzzReject
	fuzzFilters
)

// fuzzSituations are those of filters.
var fuzzSituations = []attacks.Mode{
	{Name: "tls"},
	{Name: "implicit", ImplicitTLS: true},
	{Name: "cleartext", Cleartext: true},
	{Name: "introduced", Cleartext: true, Introduction: "EHLO client.example"},
	{Name: "passwords", Cleartext: true, Passwords: true},
	{Name: "upgraded", Upgraded: true},
}

const (
	maxFuzzMatch  = 600      // what is matched octet by octet
	maxPlaintext  = 64 << 10 // before TLS, in either role
	fuzzReadAhead = 4096     // what a Session reads at a time
)

// FuzzProtocols plays every role of every protocol, and its filter in every situation, with
// a peer that says anything at all, in parts of any size. For filters, other is what the
// backend says.
func FuzzProtocols(f *testing.F) {
	all := upgrade.Protocols()
	for i, p := range all {
		seedProtocol(f, byte(i), p)
	}
	f.Fuzz(func(t *testing.T, index, role, chunk byte, peer, other []byte) {
		p := all[int(index)%len(all)]
		// In some thousand parts at the most, for the sake of speed.
		size := 1 + int(chunk) + max(len(peer), len(other))/2048
		switch role %= byte(fuzzFilters + len(fuzzSituations)); role {
		case fuzzAccept, fuzzOptional, fuzzRequest:
			fuzzPlaintext(t, p, role, &fuzzConn{data: peer, chunk: size})
		case fuzzMatch:
			fuzzMatching(t, p, peer)
		case fuzzReject:
			fuzzNoServer(t, p, &fuzzConn{data: peer, chunk: size})
		default:
			fuzzFilter(t, p, fuzzSituations[role-fuzzFilters], size, peer, other)
		}
	})
}

func seedProtocol(f *testing.F, index byte, p *upgrade.Protocol) {
	all, err := dialoguetest.ReadAll(folder(f, p), p)
	require.NoError(f, err)
	for _, d := range all.Roles {
		client, server := d.Said('C'), d.Said('S')
		if d.Plays("accept") {
			f.Add(index, byte(fuzzAccept), byte(255), client, []byte(nil))
			f.Add(index, byte(fuzzOptional), byte(255), client, []byte(nil))
			f.Add(index, byte(fuzzReject), byte(255), client, []byte(nil))
		}
		if d.Plays("request") {
			f.Add(index, byte(fuzzRequest), byte(255), server, []byte(nil))
		}
		if p.Match != nil {
			f.Add(index, byte(fuzzMatch), byte(0), client[:min(len(client), maxFuzzMatch)], []byte(nil))
		}
	}
	for _, d := range slices.Concat(all.Joins, all.Upgraded) {
		for i := range fuzzSituations {
			f.Add(index, byte(fuzzFilters+i), byte(0), d.Said('C'), d.Said('B'))
		}
	}
}

// fuzzNoServer asserts that a client without a server is heard for a bounded time, and
// learns nothing of the cause but its kind.
func fuzzNoServer(t *testing.T, p *upgrade.Protocol, conn *fuzzConn) {
	size := len(conn.data)
	upgrade.RejectClient(conn, p, new(upgrade.Config), fmt.Errorf("%w: unspoken", upgrade.ErrRefused))
	require.LessOrEqual(t, size-len(conn.data), maxPlaintext+fuzzReadAhead, "read too much")
	require.LessOrEqual(t, len(conn.wrote), 1024, "wrote too much")
	require.NotContains(t, string(conn.wrote), "unspoken")
}

// fuzzPlaintext asserts that the plaintext phase is bounded, that nothing but TLS follows a
// success, and that a client which stays in plaintext loses nothing of what it has said
// last.
func fuzzPlaintext(t *testing.T, p *upgrade.Protocol, role byte, conn *fuzzConn) {
	config := &upgrade.Config{
		Optional:    role == fuzzOptional,
		TLS:         &tls.Config{ServerName: "mail.example.com", MinVersion: tls.VersionTLS12},
		Passthrough: true,
	}
	if len(p.Options) > 0 && len(conn.data)%2 == 1 {
		config.Options = map[string]string{"reply": "GO"}
	}
	play := upgrade.Accept
	if role == fuzzRequest {
		play = upgrade.Request
	}
	all := slices.Clone(conn.data)
	c, err := play(context.Background(), conn, p, config)
	read := len(all) - len(conn.data)
	require.LessOrEqual(t, read, maxPlaintext+fuzzReadAhead, "read too much")
	require.LessOrEqual(t, len(conn.wrote), maxPlaintext, "wrote too much")
	if err != nil {
		_, again := c.Read(make([]byte, 1))
		require.ErrorIs(t, again, err)
		return
	}
	rest, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(all, rest))
	switch {
	case c.Outcome().Cleartext:
		require.Equal(t, byte(fuzzOptional), role)
		require.NotEmpty(t, rest)
	case role != fuzzRequest:
		require.Equal(t, p.FirstOfTLS(), rest[0], "plaintext is left")
	}
}

// fuzzMatching asserts that a verdict is final.
func fuzzMatching(t *testing.T, p *upgrade.Protocol, data []byte) {
	if p.Match == nil {
		return
	}
	verdict := dialogue.NeedMore
	for n := range min(len(data), maxFuzzMatch) + 1 {
		next := p.Match(data[:n])
		if verdict != dialogue.NeedMore {
			require.Equal(t, verdict, next, "at %d", n)
		}
		verdict = next
	}
	require.Equal(t, dialogue.NeedMore, p.Match(nil))
}

// fuzzFilter asserts that a filter keeps a bounded part to itself, and changes nothing once
// it is out of the way.
func fuzzFilter(t *testing.T, p *upgrade.Protocol, mode attacks.Mode, chunk int, client, backend []byte) {
	s := situation(p, mode)
	s.Options = &dialogue.Options{Hostname: "mail.example.com", Optional: mode.Cleartext, PlaintextAuth: mode.Passwords, Declared: p.Options}
	if p.Join == nil {
		return
	}
	filter := p.Join(s)
	if filter == nil {
		return
	}
	m := &metered{Filter: filter}
	x := dialogue.NewExchange(m, func(error) []byte { return []byte("over") }, func(string) {})
	out := make([]byte, 128<<10)
	for len(client)+len(backend) > 0 && !x.Closed() && !x.WantsUpgrade() {
		part := cutPart(&backend, chunk)
		fuzzBackendSays(t, x, part)
		part = cutPart(&client, min(chunk, x.Room(chunk)))
		fuzzClientSays(t, x, part, out)
		require.LessOrEqual(t, m.most, dialogue.MaxFiltered+chunk, "kept")
		if x.Held() && x.Room(1) == 0 && len(backend) == 0 {
			break
		}
	}
	x.BackendEnded()
	x.ClientEnded()
}

// cutPart takes the next n octets.
func cutPart(data *[]byte, n int) []byte {
	n = min(n, len(*data))
	part := (*data)[:n:n]
	*data = (*data)[n:]
	return part
}

func fuzzBackendSays(t *testing.T, x *dialogue.Exchange, part []byte) {
	x.DeliverToClient() // what the filter has left when the client's words had it leave
	detached := x.Detached()
	got := x.BackendSays(bytes.Clone(part))
	if detached {
		require.Equal(t, string(part), string(got))
	}
}

func fuzzClientSays(t *testing.T, x *dialogue.Exchange, part, out []byte) {
	n := x.DeliverToBackend(out)
	n += x.ClientSays(nil, out[n:])
	detached := x.Detached() && !x.WantsUpgrade()
	got := out[:x.ClientSays(bytes.Clone(part), out)]
	if detached {
		require.Equal(t, string(part), string(got), "behind %d octets", n)
	}
}

// A metered filter is one of which we see how much it leaves for later.
type metered struct {
	dialogue.Filter
	most int
}

func (m *metered) FromClient(x *dialogue.Exchange, b []byte) int {
	return m.note(b, m.Filter.FromClient(x, b))
}

func (m *metered) FromBackend(x *dialogue.Exchange, b []byte) int {
	return m.note(b, m.Filter.FromBackend(x, b))
}

func (m *metered) note(b []byte, n int) int {
	if n == 0 {
		m.most = max(m.most, len(b))
	}
	return n
}

func (m *metered) BackendEnded(x *dialogue.Exchange) {
	if f, ok := m.Filter.(dialogue.BackendEnder); ok {
		f.BackendEnded(x)
	}
}

func (m *metered) ClientEnded(x *dialogue.Exchange, rest []byte) {
	if f, ok := m.Filter.(dialogue.ClientEnder); ok {
		f.ClientEnded(x, rest)
	}
}

// A fuzzConn yields data and takes everything.
type fuzzConn struct {
	net.Conn
	data  []byte
	chunk int // bytes a Read yields at the most
	wrote []byte
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
	c.wrote = append(c.wrote, p...)
	return len(p), nil
}

func (*fuzzConn) SetDeadline(time.Time) error      { return nil }
func (*fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (*fuzzConn) SetWriteDeadline(time.Time) error { return nil }
