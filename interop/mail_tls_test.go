package interop

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMailALPN offers the protocol's own id, none, and one of a protocol that a
// browser could be made to speak to us.
func TestMailALPN(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	for proto, id := range map[string]string{"imap": "imap", "pop3": "pop3", "sieve": "managesieve"} {
		t.Run(proto, func(t *testing.T) {
			out, err := mail.sClient(t, proto, "", "-alpn", id)
			require.NoError(t, err, out)
			require.Contains(t, out, "ALPN protocol: "+id)

			out, err = mail.sClient(t, proto, "")
			require.NoError(t, err, out)
			require.Contains(t, out, "No ALPN negotiated")

			out, err = mail.sClient(t, proto, "", "-alpn", "http/1.1")
			require.Error(t, err, out)
			require.Contains(t, out, "no application protocol")
		})
	}
}

// TestMailForeignALPN covers the protocols that have no id to compare with.
func TestMailForeignALPN(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	for _, proto := range []string{"smtp", "lmtp"} {
		t.Run(proto, func(t *testing.T) {
			out, err := mail.sClient(t, proto, "", "-alpn", "http/1.1")
			require.Error(t, err, out)
			require.Contains(t, out, "no application protocol")
		})
	}
}

// TestMailResumption keeps a session and comes back with it.
func TestMailResumption(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version, func(t *testing.T) {
			session := filepath.Join(t.TempDir(), "session")
			// TLS 1.3 sends tickets after the handshake, so something has to be read.
			out, err := mail.sClient(t, "imap", "a LOGOUT\n", version, "-ign_eof", "-sess_out", session)
			require.NoError(t, err, out)
			require.Contains(t, out, "New, TLSv1.")
			require.Contains(t, out, "a OK ")
			_, err = os.Stat(session)
			require.NoError(t, err, out)
			out, err = mail.sClient(t, "imap", "a LOGOUT\n", version, "-ign_eof", "-sess_in", session)
			require.NoError(t, err, out)
			require.Contains(t, out, "Reused, TLSv1.")
			require.Contains(t, out, "a OK ")
		})
	}
}

// TestMailDefaultCertificate sends no SNI, as many mail clients do.
func TestMailDefaultCertificate(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	for _, proto := range mailProtocols {
		t.Run(proto, func(t *testing.T) {
			out, err := mail.sClient(t, proto, "", "-noservername")
			require.NoError(t, err, out)
			require.Contains(t, out, "Verification: OK")
			require.Contains(t, out, "Verified peername: "+mailHost)
		})
	}
}

// sClient runs openssl s_client with further options, verifying the first hostname.
func (f *mailFront) sClient(t testing.TB, proto, stdin string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{
		"s_client", "-crlf", "-starttls", proto, "-connect", f.addr[proto],
		"-verify_hostname", mailHost, "-verify_return_error", "-CAfile", f.Root(),
	}, args...)
	if !slices.Contains(args, "-noservername") {
		args = append(args, "-servername", mailHost)
	}
	return run(t, clientTimeout, stdin, "openssl", args...)
}
