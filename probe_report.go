package l4starttls

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

// A probeReport is what a probe has found. Its strings may be the peer's, with
// whatever is in them: writeText and writeJSON see to it that no terminal acts on
// them.
type probeReport struct {
	Protocol       string              `json:"protocol"`
	Address        string              `json:"address"`
	ServerName     string              `json:"server_name"`
	Outcome        string              `json:"outcome"`
	Error          string              `json:"error,omitempty"` // why it is none of the two with TLS
	Tried          []probeAttempt      `json:"tried,omitempty"` // the last one is connected if it has no error
	Dialogue       []probeUtterance    `json:"dialogue,omitempty"`
	PlaintextLogin string              `json:"plaintext_login"` // yes, no or unknown
	TLS            *probeTLS           `json:"tls,omitempty"`
	Certificates   []*probeCertificate `json:"certificates,omitempty"` // as sent, the server's own first
	Verification   *probeVerification  `json:"verification,omitempty"`
	Times          probeTimes          `json:"times_ms"`
}

type probeAttempt struct {
	Address string `json:"address"`
	Error   string `json:"error,omitempty"`
}

type probeTLS struct {
	Version     string `json:"version"`
	CipherSuite string `json:"cipher_suite"`
	Group       string `json:"group,omitempty"` // none where the key exchange is RSA
	ALPN        string `json:"alpn,omitempty"`
}

type probeCertificate struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names,omitempty"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"` // negative once it has expired
}

type probeVerification struct {
	Verified bool     `json:"verified"`
	Problems []string `json:"problems,omitempty"`
}

// probeTimes has the phases that were begun.
type probeTimes struct {
	Resolve   *milliseconds `json:"resolve,omitempty"`
	Connect   *milliseconds `json:"connect,omitempty"`
	Negotiate *milliseconds `json:"negotiate,omitempty"`
	Handshake *milliseconds `json:"handshake,omitempty"`
}

// milliseconds is a duration to show.
type milliseconds time.Duration

// String rounds to tenths.
func (m milliseconds) String() string {
	return strconv.FormatFloat(float64(m)/float64(time.Millisecond), 'f', 1, 64)
}

// MarshalJSON makes a number.
func (m milliseconds) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

func newProbeAttempt(address netip.AddrPort, err error) probeAttempt {
	a := probeAttempt{Address: address.String()}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the address
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func newProbeTLS(state *tls.ConnectionState) *probeTLS {
	t := &probeTLS{
		Version:     tls.VersionName(state.Version),
		CipherSuite: tls.CipherSuiteName(state.CipherSuite),
		ALPN:        state.NegotiatedProtocol,
	}
	if state.CurveID != 0 {
		t.Group = state.CurveID.String()
	}
	return t
}

func newProbeCertificate(cert *x509.Certificate, now time.Time) *probeCertificate {
	c := &probeCertificate{
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

// writeJSON writes one object, in ASCII: JSON lets control characters beyond that
// pass, such as U+009B, with which a terminal begins a command.
func (r *probeReport) writeJSON(out io.Writer) error {
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
