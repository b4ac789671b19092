package probe

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// A Report is what a probe has found. Its strings may be the peer's, with
// whatever is in them: WriteText and WriteJSON see to it that no terminal acts on
// them.
type Report struct {
	Protocol       string         `json:"protocol"`
	Address        string         `json:"address"`
	ServerName     string         `json:"server_name"`
	Outcome        string         `json:"outcome"`
	Error          string         `json:"error,omitempty"` // why it is none of the two with TLS
	Tried          []Attempt      `json:"tried,omitempty"` // the last one is connected if it has no error
	Dialogue       []Utterance    `json:"dialogue,omitempty"`
	PlaintextLogin string         `json:"plaintext_login"` // yes, no or unknown
	TLS            *TLS           `json:"tls,omitempty"`
	Certificates   []*Certificate `json:"certificates,omitempty"` // as sent, the server's own first
	Verification   *Verification  `json:"verification,omitempty"`
	Times          Times          `json:"times_ms"`
}

// An Attempt is one at connecting to an address.
type Attempt struct {
	Address string `json:"address"`
	Error   string `json:"error,omitempty"`
}

// A TLS has the parameters of a connection.
type TLS struct {
	Version     string `json:"version"`
	CipherSuite string `json:"cipher_suite"`
	Group       string `json:"group,omitempty"` // none where the key exchange is RSA
	ALPN        string `json:"alpn,omitempty"`
}

// A Certificate is one that the server sent.
type Certificate struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names,omitempty"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"` // negative once it has expired
}

// A Verification is what came of verifying the chain and the name.
type Verification struct {
	Verified bool     `json:"verified"`
	Problems []string `json:"problems,omitempty"`
}

// Times has the phases that were begun.
type Times struct {
	Resolve   *Milliseconds `json:"resolve,omitempty"`
	Connect   *Milliseconds `json:"connect,omitempty"`
	Negotiate *Milliseconds `json:"negotiate,omitempty"`
	Handshake *Milliseconds `json:"handshake,omitempty"`
}

// Milliseconds is a duration to show.
type Milliseconds time.Duration

// String rounds to tenths.
func (m Milliseconds) String() string {
	return strconv.FormatFloat(float64(m)/float64(time.Millisecond), 'f', 1, 64)
}

// MarshalJSON makes a number.
func (m Milliseconds) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

func newAttempt(address netip.AddrPort, err error) Attempt {
	a := Attempt{Address: address.String()}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the address
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func newTLS(state *tls.ConnectionState) *TLS {
	t := &TLS{
		Version:     tls.VersionName(state.Version),
		CipherSuite: tls.CipherSuiteName(state.CipherSuite),
		ALPN:        state.NegotiatedProtocol,
	}
	if state.CurveID != 0 {
		t.Group = state.CurveID.String()
	}
	return t
}

func newCertificate(cert *x509.Certificate, now time.Time) *Certificate {
	c := &Certificate{
		Subject:   cert.Subject.String(),
		Issuer:    cert.Issuer.String(),
		NotBefore: cert.NotBefore.UTC(),
		NotAfter:  cert.NotAfter.UTC(),
		DaysLeft:  int(math.Floor(cert.NotAfter.Sub(now).Hours() / 24)),
		Names:     slices.Concat(cert.DNSNames, cert.EmailAddresses),
	}
	for _, ip := range cert.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	for _, uri := range cert.URIs {
		c.Names = append(c.Names, uri.String())
	}
	return c
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// WriteJSON writes one object, in ASCII: JSON lets control characters beyond that
// pass, such as U+009B, with which a terminal begins a command.
func (r *Report) WriteJSON(out io.Writer) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	_, err = out.Write(append(asciiJSON(text), '\n'))
	return err
}

func asciiJSON(text []byte) (ascii []byte) {
	for _, r := range string(text) {
		if r < 0x7f {
			ascii = utf8.AppendRune(ascii, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			ascii = fmt.Appendf(ascii, `\u%04x`, unit)
		}
	}
	return ascii
}
