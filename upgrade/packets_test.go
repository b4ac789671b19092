package upgrade

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// parcels are packets of a P, or of an L for the last, a length in two octets, and that much.
var parcels = &dialogue.HandshakePackets{
	First:      'P',
	HeadSize:   3,
	MaxPayload: 100,
	PayloadSize: func(head []byte) (int, error) {
		if head[0] != 'P' && head[0] != 'L' {
			return 0, ErrNotTLS
		}
		return int(binary.BigEndian.Uint16(head[1:])), nil
	},
	Packet: func(payload []byte, last bool) []byte {
		kind := byte('P')
		if last {
			kind = 'L'
		}
		return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(payload))), payload...)
	},
}

// inPackets is what a client says of a handshake at a time.
func inPackets(p *Protocol, said []byte) []byte {
	if p.HandshakePackets == nil {
		return said
	}
	return p.HandshakePackets.Packet(said, true)
}

// parcelled is upgraded by a line, and does its handshake in parcels.
var parcelled = &Protocol{
	Name: "parcelled", ALPN: []string{"parcelled"}, DirectALPN: true, HandshakePackets: parcels,
	Accept: func(s *dialogue.Session) error {
		if _, err := s.ReadLine(); err != nil {
			return err
		}
		return s.GoAhead("GO")
	},
	Request: func(s *dialogue.Session) error {
		err := s.Reply("PLEASE")
		if err == nil {
			_, err = s.ReadLine()
		}
		return err
	},
}

// A parceller does a client's handshake in parcels of its own sizes.
type parceller struct {
	packetConn
	size    int    // of each, at most
	pending []byte // what waits for the next Read, so that a parcel has many records
	behind  string // what is in the last one behind the records, once it is set
}

func newParceller(conn net.Conn, size int) *parceller {
	return &parceller{packetConn: packetConn{Conn: conn, kind: parcels}, size: size}
}

func (p *parceller) Write(b []byte) (int, error) {
	if p.over {
		return p.Conn.Write(b)
	}
	p.pending = append(p.pending, b...)
	return len(b), nil
}

func (p *parceller) Read(b []byte) (int, error) {
	if err := p.flush(); err != nil {
		return 0, err
	}
	return p.packetConn.Read(b)
}

func (p *parceller) flush() error {
	for len(p.pending) > 0 {
		n := min(len(p.pending), p.size)
		if _, err := p.Conn.Write(parcels.Packet(p.pending[:n], n == len(p.pending))); err != nil {
			return err
		}
		p.pending = p.pending[n:]
	}
	return nil
}

// acceptParcelled has a server accept an upgrade that a client has asked for.
func acceptParcelled(t *testing.T, config *tls.Config) (client *memConn, accepted func() (*Conn, error)) {
	t.Helper()
	raw, client := memPair()
	var conn *Conn
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err = Accept(context.Background(), raw, parcelled, &Config{TLS: config})
		if err != nil {
			_ = raw.Close()
		}
	}()
	t.Cleanup(func() { _ = client.Close() })
	tell(t, client, "PLEASE\r\n")
	synctest.Wait()
	require.Equal(t, "GO\r\n", client.in.take())
	return client, func() (*Conn, error) { <-done; return conn, err }
}

// Records may be split over packets, and be many in one. Behind the handshake there are no
// packets, and the client may speak first there, in the same moment as it ends the handshake.
func TestHandshakeInPackets(t *testing.T) {
	serverTLS, clientTLS := coreTLS()
	clientTLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	serverTLS.NextProtos = []string{"parcelled"}
	for i, size := range []int{1, 2, 5, 100, 65535} {
		inBubble(t, fmt.Sprint(size), func(t *testing.T) {
			client, accepted := acceptParcelled(t, serverTLS)
			packets := newParceller(client, size)
			inside := tls.Client(packets, clientTLS)
			require.NoError(t, inside.Handshake())
			require.NoError(t, packets.flush())
			packets.over = true
			_, err := io.WriteString(inside, "ping\n")
			require.NoError(t, err)
			server, err := accepted()
			require.NoError(t, err)
			line, err := server.ReadLine()
			require.NoError(t, err)
			require.Equal(t, "ping", line)
			_, err = io.WriteString(server, "pong")
			require.NoError(t, err)
			answer := make([]byte, 4)
			_, err = io.ReadFull(inside, answer)
			require.NoError(t, err)
			require.Equal(t, "pong", string(answer))
			require.Equal(t, uint16(tls.VersionTLS12), inside.ConnectionState().Version)
			require.Equal(t, i > 0, inside.ConnectionState().DidResume)
		})
	}
}

// A tap keeps what is written.
type tap struct {
	net.Conn
	said bytes.Buffer
}

func (t *tap) Write(b []byte) (int, error) {
	t.said.Write(b)
	return t.Conn.Write(b)
}

// Both roles put what is said at a time into packets, the last of which is marked, and offer
// no ALPN id there.
func TestPacketsOfBothRoles(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		serverTLS, clientTLS := coreTLS()
		raw, rawClient := memPair()
		near, far := &tap{Conn: raw}, &tap{Conn: rawClient}
		done := make(chan error, 1)
		go func() {
			conn, err := Accept(context.Background(), near, parcelled, &Config{TLS: serverTLS})
			if err == nil {
				_, err = io.WriteString(conn, "hello\n")
			}
			done <- err
		}()
		conn, err := Request(context.Background(), far, parcelled, &Config{TLS: clientTLS})
		require.NoError(t, err)
		line, err := conn.ReadLine()
		require.NoError(t, err)
		require.Equal(t, "hello", line)
		require.NoError(t, <-done)
		state, ok := conn.TLSConnectionState()
		require.True(t, ok)
		require.Equal(t, uint16(tls.VersionTLS12), state.Version)
		require.Empty(t, state.NegotiatedProtocol)
		for who, said := range map[string]*tap{"PLEASE\r\n": far, "GO\r\n": near} {
			rest, ok := strings.CutPrefix(said.said.String(), who)
			require.True(t, ok)
			sizes, flights := 0, 0
			for len(rest) > 0 && (rest[0] == 'P' || rest[0] == 'L') {
				size := int(binary.BigEndian.Uint16([]byte(rest[1:3])))
				if rest[0] == 'P' {
					require.Equal(t, parcels.MaxPayload, size)
				} else {
					flights++
				}
				sizes += size
				rest = rest[3+size:]
			}
			require.Equal(t, 2, flights)
			require.Greater(t, sizes, 100)
			if said == near {
				require.Equal(t, "\x17\x03\x03", rest[:3], "application data follow the handshake by themselves")
			}
		}
	})
}

// What is no packet of the handshake, or has something behind it, ends the connection.
func TestPacketsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		say string
		why error
	}{
		"plaintext":       {"NOOP\r\n", ErrNotTLS},
		"TLS by itself":   {"\x16\x03\x01\x00\x05", ErrNotTLS},
		"not a record":    {"L\x00\x05NOOP\n", ErrNotTLS},
		"the end":         {"", ErrTruncated},
		"half a head":     {"L\x00", ErrTruncated},
		"half a packet":   {"L\x00\x05\x16", ErrTruncated},
		"an empty packet": {"L\x00\x00L\x00\x05\x16", ErrMalformed},
	} {
		inBubble(t, name, func(t *testing.T) {
			serverTLS, _ := coreTLS()
			client, accepted := acceptParcelled(t, serverTLS)
			tell(t, client, c.say)
			require.NoError(t, client.CloseWrite())
			require.ErrorIs(t, second(accepted()), c.why)
			require.NotContains(t, client.in.take(), "GO")
		})
	}
}

// Octets behind the last record, in its packet, were said in plaintext for all one knows.
func TestOctetsBehindTheHandshakeInItsPacket(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		serverTLS, clientTLS := coreTLS()
		client, accepted := acceptParcelled(t, serverTLS)
		packets := newParceller(client, 1000)
		packets.behind = strings.Repeat("x", 4096)
		require.NoError(t, tls.Client(&lastWithMore{packets}, clientTLS).Handshake())
		_, err := accepted()
		require.ErrorIs(t, err, dialogue.ErrHandshake)
		require.ErrorIs(t, err, ErrMalformed)
	})
}

// A lastWithMore puts more into the packet of the client's second flight.
type lastWithMore struct{ *parceller }

func (p *lastWithMore) Read(b []byte) (int, error) {
	if n := len(p.pending); n > 4 && p.pending[0] == 22 && p.pending[5] == 16 {
		p.pending = append(p.pending, p.behind...)
		p.size = len(p.pending)
	}
	return p.parceller.Read(b)
}

// A client that stops in the middle of a packet has the time of a handshake.
func TestPacketsHaveTheTimeOfAHandshake(t *testing.T) {
	for _, say := range []string{"", "L", "L\x00\x05", "L\x00\x05\x16\x03"} {
		inBubble(t, "", func(t *testing.T) {
			serverTLS, _ := coreTLS()
			client, accepted := acceptParcelled(t, serverTLS)
			begun := time.Now()
			tell(t, client, say)
			_, err := accepted()
			require.ErrorIs(t, err, dialogue.ErrHandshake)
			require.ErrorContains(t, err, "timeout")
			require.Equal(t, DefaultHandshakeTimeout, time.Since(begun))
		})
	}
}

// Such a handshake is one of TLS 1.2 at the most, on either side.
func TestNoTLS13InPackets(t *testing.T) {
	for _, side := range []string{"server", "client"} {
		inBubble(t, side, func(t *testing.T) {
			serverTLS, clientTLS := coreTLS()
			config := map[string]*tls.Config{"server": serverTLS, "client": clientTLS}[side]
			config.MinVersion = tls.VersionTLS13
			raw, client := memPair()
			done := make(chan error, 1)
			go func() {
				err := second(Accept(context.Background(), raw, parcelled, &Config{TLS: serverTLS}))
				_ = raw.Close()
				done <- err
			}()
			_, err := Request(context.Background(), client, parcelled, &Config{TLS: clientTLS})
			require.ErrorIs(t, err, dialogue.ErrHandshake)
			_ = client.Close()
			require.ErrorIs(t, <-done, dialogue.ErrHandshake)
			require.Equal(t, uint16(0), config.MaxVersion, "the caller's configuration is not modified")
		})
	}
}
