package integration_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A step is one thing that a peer does or expects. A script of them is a
// conversation, for a client or for a backend; testdata/security/README.md explains it.
type step struct {
	SendText    string `json:"send_text"`
	SendHex     string `json:"send_hex"`
	TLSSendText string `json:"tls_send_text"`
	TLSSendHex  string `json:"tls_send_hex"`
	Repeat      int    `json:"repeat"`
	Chunk       int    `json:"chunk"`
	GapMS       int    `json:"gap_ms"`
	NoRead      bool   `json:"no_read"`

	Expect    string `json:"expect_regex"`
	OrExpect  string `json:"or_regex"`
	OrClose   bool   `json:"or_close"`
	Save      string `json:"save"`
	WithinMS  int    `json:"within_ms"`
	WithinTLS bool   `json:"within_tls"`
	Design    bool   `json:"design"`

	StartTLS    bool     `json:"starttls"`
	ALPN        []string `json:"alpn"`
	SNI         string   `json:"sni"`
	MaxVersion  string   `json:"max_version"`
	ExpectALPN  string   `json:"expect_alpn"`
	ExpectAlert uint8    `json:"expect_alert"`
	ExpectFail  bool     `json:"expect_fail"`
	MayFail     bool     `json:"may_fail"`
	Cert        string   `json:"cert"`
	CertName    string   `json:"cert_name"`
	ClientALPN  []string `json:"expect_client_alpn"`

	WaitMS         int  `json:"wait_ms"`
	SilenceMS      int  `json:"expect_silence_ms"`
	ExpectClose    bool `json:"expect_close"`
	Close          bool `json:"close"`
	Reset          bool `json:"reset"`
	CloseNotify    bool `json:"tls_close_notify"`
	Renegotiate    bool `json:"tls_renegotiate"`
	ExpectRefused  bool `json:"expect_refused"`
	ProxyV2        bool `json:"proxy_v2"`
	ProxyV2WithTLS bool `json:"tls_tlv"`
}

// A peer plays scripts on a connection.
type peer struct {
	raw    net.Conn
	tls    *tls.Conn // nil in plaintext
	config *tls.Config
	serves map[string]*tls.Certificate // a server's choice; nil: the peer is a client

	packets *dialogue.HandshakePackets // that the handshake is in, or nil

	beforeTLS func() error // called ahead of the handshake, if set

	plain, secured []byte // all that was received
	fresh          []byte // received since the last match
	whole          bool   // the last match was of all that comes
	next           step   // which what comes behind a match is for, if it expects that
	closed         bool
	saved          map[string]string
	wire           *wire // what renegotiation needs to know of the handshake
}

// errOver ends a script early, with success.
var errOver = errors.New("script is over")

func newPeer(raw net.Conn, config *tls.Config) *peer {
	return &peer{raw: raw, config: config, saved: map[string]string{}}
}

// speaking has the peer do its handshake as a protocol does.
func (p *peer) speaking(protocol string) *peer {
	if proto, err := upgrade.Lookup(protocol); err == nil {
		p.packets = proto.HandshakePackets
	}
	return p
}

// newestTLS is the version that a handshake as the protocol does it ends with.
func (p *peer) newestTLS() string {
	if p.packets != nil {
		return "TLS 1.2"
	}
	return "TLS 1.3"
}

// run plays a script to its end.
func (p *peer) run(script []step) error {
	for i, s := range script {
		p.next = step{}
		if i+1 < len(script) {
			p.next = script[i+1]
		}
		if err := p.play(s); errors.Is(err, errOver) {
			return nil
		} else if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (p *peer) play(s step) error {
	switch {
	case s.Expect != "":
		return p.expect(s)
	case s.StartTLS:
		return p.startTLS(s)
	case s.WaitMS > 0:
		time.Sleep(time.Duration(s.WaitMS) * time.Millisecond)
		return nil
	case s.SilenceMS > 0:
		return p.expectSilence(time.Duration(s.SilenceMS) * time.Millisecond)
	case s.ExpectClose:
		return p.expectClose()
	case s.Close:
		p.closed = true
		return p.raw.Close()
	case s.Reset:
		p.closed = true
		return errors.Join(p.raw.(interface{ SetLinger(int) error }).SetLinger(0), p.raw.Close())
	case s.CloseNotify:
		return p.tls.CloseWrite()
	case s.Renegotiate:
		return p.renegotiate()
	case s.ProxyV2:
		return p.write(p.raw, proxyHeader(p.raw, s.ProxyV2WithTLS), s)
	}
	return p.send(s)
}

func (p *peer) send(s step) error {
	var to io.Writer = p.raw
	if s.TLSSendText != "" || s.TLSSendHex != "" {
		if p.tls == nil {
			return errors.New("there is no TLS to send over")
		}
		to = p.tls
	}
	octets, text := s.SendHex+s.TLSSendHex, s.SendText+s.TLSSendText
	for name, value := range p.saved {
		octets = strings.ReplaceAll(octets, "{"+name+"}", hex.EncodeToString([]byte(value)))
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	data, err := hex.DecodeString(octets)
	if err != nil {
		return err
	}
	data = append(data, text...)
	if len(data) == 0 {
		return fmt.Errorf("a step that does nothing: %+v", s)
	}
	return p.write(to, bytes.Repeat(data, max(s.Repeat, 1)), s)
}

// write sends all at once, or in chunks. A peer that has hung up meanwhile is no
// error: what it has said is for the next steps.
func (p *peer) write(to io.Writer, data []byte, s step) error {
	p.whole = false
	if err := p.raw.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	size := s.Chunk
	if size == 0 {
		size = len(data)
	}
	for len(data) > 0 {
		n := min(size, len(data))
		if _, err := to.Write(data[:n]); err != nil {
			return unlessGone(err)
		}
		data = data[n:]
		time.Sleep(time.Duration(s.GapMS) * time.Millisecond)
	}
	return nil
}

func unlessGone(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("peer does not read: %w", err)
	}
	return nil
}

// read reads once, until a deadline. False means that nothing has come.
func (p *peer) read(deadline time.Time) (bool, error) {
	if p.closed {
		return false, nil
	}
	if err := p.raw.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	var from io.Reader = p.raw
	all := &p.plain
	if p.tls != nil {
		from, all = p.tls, &p.secured
	}
	chunk := make([]byte, 16<<10)
	n, err := from.Read(chunk)
	*all = append(*all, chunk[:n]...)
	p.fresh = append(p.fresh, chunk[:n]...)
	switch {
	case n > 0:
		return true, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	}
	p.closed = true
	return false, nil
}

// expect waits until what came since the last match matches.
func (p *peer) expect(s step) error {
	if s.WithinTLS && p.tls == nil {
		return errors.New("there is no TLS to expect anything over")
	}
	deadline := time.Now().Add(patience)
	for {
		for _, pattern := range []string{s.Expect, s.OrExpect} {
			if pattern != "" && p.matches(pattern, s.Save) {
				return nil
			}
		}
		got, err := p.read(deadline)
		switch {
		case err != nil:
			return err
		case !got && p.closed && s.OrClose:
			return errOver
		case !got && p.closed:
			return fmt.Errorf("closed after %q, want %q", p.fresh, s.Expect)
		case !got:
			return fmt.Errorf("received %q, want %q", p.fresh, s.Expect)
		}
	}
}

// matches consumes all that has come if a pattern matches it, or all up to the end of the match if
// the rest is a ClientHello that the next step expects: a client need not wait before that, and
// both may come in one read.
func (p *peer) matches(pattern, save string) bool {
	re := regexp.MustCompile(pattern)
	text := testkit.Latin1(p.fresh)
	groups := re.FindStringSubmatch(text)
	if groups == nil {
		return false
	}
	if save != "" {
		p.saved[save] = groups[re.SubexpIndex(save)]
	}
	rest := text[re.FindStringIndex(text)[1]:]
	if p.fresh = p.fresh[len(p.fresh)-utf8.RuneCountInString(rest):]; !p.next.expectsHello(rest) {
		p.fresh = nil
	}
	p.whole = strings.HasSuffix(pattern, "$")
	return true
}

// expectsHello reports whether a step expects what has come, in Latin1, and that is a ClientHello.
func (s *step) expectsHello(text string) bool {
	return strings.HasPrefix(text, "\x16\x03") && s.Expect != "" && regexp.MustCompile(s.Expect).MatchString(text)
}

// expectSilence fails if anything comes, or has come unexpected. The end is silent.
func (p *peer) expectSilence(d time.Duration) error {
	if len(p.fresh) == 0 {
		if _, err := p.read(time.Now().Add(d)); err != nil {
			return err
		}
	}
	if len(p.fresh) > 0 {
		return fmt.Errorf("received %q, want silence", p.fresh)
	}
	return nil
}

// expectClose waits for the end of the connection.
func (p *peer) expectClose() error {
	for deadline := time.Now().Add(patience); !p.closed; {
		if got, err := p.read(deadline); err != nil || !got && !p.closed {
			return errors.Join(errors.New("connection is still open"), err)
		}
	}
	return nil
}
