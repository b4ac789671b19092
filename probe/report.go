package probe

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// A Report is what a probe has found. Its strings may be the peer's, with
// whatever is in them: WriteText and WriteJSON see to it that no terminal acts on
// them.
type Report struct {
	// Protocol is the one that was spoken.
	Protocol string `json:"protocol"`
	// Address is the host and the port, as they were given.
	Address string `json:"address"`
	// ServerName is the name that was asked for, and verified.
	ServerName string `json:"server_name"`
	// ImplicitTLS is true if TLS began with the first byte, as was asked for.
	ImplicitTLS bool `json:"implicit_tls,omitempty"`
	// Outcome is verified, unverified, refused, not offered, unreachable, timeout or failed.
	Outcome string `json:"outcome"`
	// Error says why it is none of the first two.
	Error string `json:"error,omitempty"`
	// Hint says what may be the matter, for people.
	Hint string `json:"hint,omitempty"`
	// Warning says which certificate expires sooner than is asked for.
	Warning string `json:"warning,omitempty"`
	// Tried lists the addresses. The last one is connected if it has no error.
	Tried []Attempt `json:"tried,omitempty"`
	// Dialogue is what was said in plaintext.
	Dialogue []Utterance `json:"dialogue,omitempty"`
	// PlaintextLogin is yes, no or unknown: whether the server says that clients can log in
	// without TLS.
	PlaintextLogin string `json:"plaintext_login"`
	// TLS has the parameters of the connection.
	TLS *TLS `json:"tls,omitempty"`
	// Versions lists versions of TLS, the lowest first, if they were asked for.
	Versions []Version `json:"tls_versions,omitempty"`
	// ClientCertificate is not asked for, asked for, required or sent.
	ClientCertificate string `json:"client_certificate,omitempty"`
	// Certificates are those that the server sent, its own first.
	Certificates []*Certificate `json:"certificates,omitempty"`
	// Verification is what came of verifying the chain and the name.
	Verification *Verification `json:"verification,omitempty"`
	// TLSARecord is the record to publish for the server's key, for a zone file.
	TLSARecord string `json:"tlsa_record,omitempty"`
	// DANE is what came of comparing the certificates with published TLSA records.
	DANE *DANE `json:"dane,omitempty"`
	// MTASTS is what came of comparing name and certificate with an MTA-STS policy.
	MTASTS *MTASTS `json:"mta_sts,omitempty"`
	// Capabilities is what the server says inside TLS that it can do, before a login.
	Capabilities []string `json:"capabilities,omitempty"`
	// CapabilitiesError says why it is not known.
	CapabilitiesError string `json:"capabilities_error,omitempty"`
	// Times has the phases that were begun.
	Times Times `json:"times_ms"`

	heard bool // the server has said something
}

// An Attempt is one at connecting to an address.
type Attempt struct {
	// Address is the IP address and the port.
	Address string `json:"address"`
	// Error says why there is no connection.
	Error string `json:"error,omitempty"`
}

// A TLS has the parameters of a connection.
type TLS struct {
	// Version is the protocol's, such as TLS 1.3.
	Version string `json:"version"`
	// CipherSuite is its name in the IANA's registry.
	CipherSuite string `json:"cipher_suite"`
	// Group is that of the key exchange. There is none where that is RSA.
	Group string `json:"group,omitempty"`
	// ALPN is the protocol that was agreed on, if any was.
	ALPN string `json:"alpn,omitempty"`
}

// A Verification is what came of verifying the chain and the name.
type Verification struct {
	// Verified is true if both verify.
	Verified bool `json:"verified"`
	// Problems say what does not.
	Problems []string `json:"problems,omitempty"`
}

// Times has the phases that were begun, in milliseconds.
type Times struct {
	// Resolve is the search for addresses.
	Resolve *Milliseconds `json:"resolve,omitempty"`
	// Connect is up to the connection, all addresses that were tried included.
	Connect *Milliseconds `json:"connect,omitempty"`
	// Negotiate is the plaintext phase.
	Negotiate *Milliseconds `json:"negotiate,omitempty"`
	// Handshake is that of TLS.
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

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
