package dialogue

import (
	"errors"
	"fmt"
	"os"
)

// Errors that a caller may want to tell apart with errors.Is. What the peer is
// told is never one of these texts: it is worded by Protocol.ErrorReply.
var (
	// ErrPipelined means that plaintext followed an upgrade request, or a
	// go-ahead, before TLS had started. It is what the STARTTLS injection
	// attacks do (CVE-2011-0411 and its many successors), so the connection ends.
	ErrPipelined = errors.New("plaintext behind the upgrade request")

	// ErrNotTLS means that the peer stayed in plaintext after the go-ahead.
	ErrNotTLS = errors.New("peer stayed in plaintext after the go-ahead")

	// ErrLineTooLong means a line, packet or element beyond the protocol's limit.
	ErrLineTooLong = errors.New("line too long")

	// ErrTooMany means too many commands, refused commands or bytes before TLS.
	ErrTooMany = errors.New("too much before TLS")

	// ErrTooManyConnections means that the client has too many connections at once. That is
	// for whoever has made the connection to find out.
	ErrTooManyConnections = errors.New("too many connections of the client's")

	// ErrTooManyUpgrades means that the client has asked for more upgrades than it may, as
	// Options.AdmitUpgrade says.
	ErrTooManyUpgrades = errors.New("too many upgrades of the client's")

	// ErrMalformed means bytes that the protocol has no meaning for.
	ErrMalformed = errors.New("malformed input")

	// ErrPlaintext means that the peer chose to stay in plaintext.
	ErrPlaintext = errors.New("peer did not ask for TLS")

	// ErrTimeout means that the time for the negotiation was over.
	ErrTimeout = errors.New("negotiation timed out")

	// ErrQuit means that the client took its leave before it asked for TLS. It
	// has had its answer already.
	ErrQuit = errors.New("client quit before TLS")

	// ErrCleartext ends a role whose client stays in plaintext, and may. Who calls
	// the package upgrade sees Outcome.Cleartext in its place.
	ErrCleartext = errors.New("client stays in plaintext")

	// ErrAmbiguousEnd means a message that not all servers see the end of in the same place.
	ErrAmbiguousEnd = fmt.Errorf("%w: a lone dot that is not between two CRLF", ErrMalformed)

	// ErrHandshake is in front of what went wrong in the TLS handshake.
	ErrHandshake = errors.New("handshake")

	// ErrDistrusted is in front of an alert by which a peer says that it does not trust our
	// certificate: it does not know who has signed it, or it is too old, or for another name.
	ErrDistrusted = errors.New("peer does not trust our certificate")

	// ErrBackend means that the backend refused, ended or never greeted.
	ErrBackend = errors.New("backend not available")

	// ErrNotOffered means that the server does not offer the upgrade.
	ErrNotOffered = errors.New("server does not offer TLS")

	// ErrRefused means that the server refused the upgrade that it was asked for.
	ErrRefused = errors.New("server refused TLS")

	// ErrExpectsTLS is behind what went wrong with a server that may be one for which TLS
	// begins with the first byte: nothing was heard from it, or an alert of TLS.
	ErrExpectsTLS = errors.New("the server may expect TLS from the first byte")

	// ErrShutdown means that we end the session, because the process is to end.
	ErrShutdown = errors.New("shutting down")

	// ErrUnsupported means that the protocol has no such role.
	ErrUnsupported = errors.New("not supported by the protocol")

	// ErrNoALPN means a client that began with a ClientHello but did not say which
	// protocol it wants, where that is required.
	ErrNoALPN = errors.New("direct TLS without ALPN")

	// ErrTruncated is what Read returns when the peer closed the connection
	// without a close_notify alert: what was read may not be all that was sent
	// (RFC 8446 section 6.1).
	ErrTruncated = errors.New("upgrade: connection ended without close_notify")
)

// A ClientError is what went wrong with the client for whom a server was to be upgraded,
// and not with the server.
type ClientError struct{ Cause error }

// Error implements error.
func (e ClientError) Error() string { return "client: " + e.Cause.Error() }

// Unwrap returns what went wrong.
func (e ClientError) Unwrap() error { return e.Cause }

// AsNegotiationError names a read or write error of the plaintext phase.
func AsNegotiationError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTimeout
	}
	return err
}
