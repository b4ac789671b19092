package l4starttls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// What can come of a negotiation that succeeds.
const (
	outcomeUpgraded    = "upgraded"
	outcomeImplicitTLS = "implicit_tls" // TLS from the first byte
	outcomeCleartext   = "cleartext"    // as policy optional allows
	outcomePassthrough = "passthrough"
	outcomeCancel      = "cancel_request" // in plaintext, and nothing else
)

// errNoCertificate is in front of why there is no certificate for a client.
var errNoCertificate = errors.New("no certificate")

// failures has what else can come of it. The first that matches counts.
var failures = []struct {
	outcome string
	is      func(error) bool
}{
	{"shutdown", oneOf(upgrade.ErrShutdown)},
	{"violation", isViolation},
	{"limited", isLimited},
	{"quit", oneOf(upgrade.ErrQuit)},
	{"plaintext", oneOf(upgrade.ErrPlaintext)},
	{"no_certificate", oneOf(errNoCertificate)},
	{"no_policy", oneOf(errNoPolicy)},
	{"no_alpn", oneOf(upgrade.ErrNoALPN)},
	{"unverified", isUnverified},
	{"not_offered", oneOf(upgrade.ErrNotOffered)},
	{"refused", oneOf(upgrade.ErrRefused)},
	{"distrusted", oneOf(upgrade.ErrDistrusted)},
	{"handshake", oneOf(dialogue.ErrHandshake)},
	{"timeout", oneOf(upgrade.ErrTimeout, os.ErrDeadlineExceeded)},
	{"too_much", oneOf(upgrade.ErrTooMany, upgrade.ErrLineTooLong)},
	{"malformed", oneOf(upgrade.ErrMalformed)},
	{"unreachable", isDial},
	{"backend", oneOf(upgrade.ErrBackend)},
	{"gone", oneOf(errGone, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, upgrade.ErrTruncated, syscall.ECONNRESET, syscall.EPIPE)},
}

const outcomeError = "error" // anything else

// outcomes lists all that can come of a negotiation.
func outcomes() []string {
	list := []string{outcomeUpgraded, outcomeImplicitTLS, outcomeCleartext, outcomePassthrough, outcomeCancel, outcomeError}
	for _, f := range failures {
		list = append(list, f.outcome)
	}
	return list
}

// failure names what has come of a negotiation that has failed.
func failure(err error) string {
	for _, f := range failures {
		if f.is(err) {
			return f.outcome
		}
	}
	return outcomeError
}

// success names what has come of one that has not.
func success(conn *upgrade.Conn) string {
	_, secure := conn.TLSConnectionState()
	switch o := conn.Outcome(); {
	case o.CancelRequest:
		return outcomeCancel
	case o.Cleartext:
		return outcomeCleartext
	case !secure:
		return outcomePassthrough
	case o.ImplicitTLS:
		return outcomeImplicitTLS
	}
	return outcomeUpgraded
}

func oneOf(kinds ...error) func(error) bool {
	return func(err error) bool {
		for _, kind := range kinds {
			if errors.Is(err, kind) {
				return true
			}
		}
		return false
	}
}

// isViolation finds what only attacks do, and software that must not be trusted with them.
func isViolation(err error) bool {
	return errors.Is(err, upgrade.ErrPipelined) || errors.Is(err, upgrade.ErrNotTLS) || errors.Is(err, dialogue.ErrAmbiguousEnd)
}

// isUnverified finds a certificate that does not verify.
func isUnverified(err error) bool {
	var unverified *tls.CertificateVerificationError
	var hostname x509.HostnameError
	return errors.As(err, &unverified) || errors.As(err, &hostname)
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
