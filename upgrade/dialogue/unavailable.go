package dialogue

import (
	"crypto/tls"
	"errors"
	"os"
)

// An Unavailable is ErrBackend with a cause, of which the peer may know the kind.
type Unavailable struct{ Cause error }

// Error implements error.
func (u Unavailable) Error() string { return "backend not available: " + u.Cause.Error() }

// Is reports whether target is ErrBackend.
func (u Unavailable) Is(target error) bool { return target == ErrBackend }

// upstreamUnavailable is said where there was no upstream at all.
const upstreamUnavailable = "Upstream not available"

// UnavailableText says why there is no backend, where that is known.
func UnavailableText(why error, otherwise string) string {
	var u Unavailable
	if !errors.As(why, &u) {
		return otherwise
	}
	var certificate *tls.CertificateVerificationError
	for _, kind := range []struct {
		text    string
		matches bool
	}{
		{"Upstream does not offer TLS", errors.Is(u.Cause, ErrNotOffered)},
		{"Upstream refused TLS", errors.Is(u.Cause, ErrRefused)},
		{"Upstream violated the protocol before TLS", brokeProtocol(u.Cause)},
		{"Upstream certificate could not be verified", errors.As(u.Cause, &certificate)},
		{"Upstream timed out", errors.Is(u.Cause, ErrTimeout) || errors.Is(u.Cause, os.ErrDeadlineExceeded)},
		{"TLS with upstream failed", errors.Is(u.Cause, ErrHandshake)},
	} {
		if kind.matches {
			return kind.text
		}
	}
	return upstreamUnavailable
}

func brokeProtocol(err error) bool {
	for _, broken := range []error{ErrPipelined, ErrNotTLS, ErrMalformed, ErrLineTooLong, ErrTooMany} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

// UnavailableForTLS reports whether there was a backend, but no TLS with it.
func UnavailableForTLS(why error) bool {
	return UnavailableText(why, upstreamUnavailable) != upstreamUnavailable
}
