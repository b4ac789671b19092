package upgrade

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// A client that does not trust the certificate says so, and the error is that, whenever and
// however the client does: in the handshake, encrypted or not, or behind it.
func TestDistrustIsAnErrorOfItsOwn(t *testing.T) {
	serverTLS, clientTLS := testTLS()
	stranger := clientTLS.Clone()
	stranger.RootCAs = nil
	late := clientTLS.Clone()
	late.InsecureSkipVerify = true
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			server, client := testkit.TCPPair(t)
			config := stranger.Clone()
			config.MinVersion, config.MaxVersion = version, version
			go func() { _ = tls.Client(client, config).Handshake() }()
			err := Server(server, &Config{TLS: serverTLS}).StartTLS(t.Context())
			require.ErrorIs(t, err, ErrDistrusted)
			require.ErrorContains(t, err, "certificate")
		})
	}
	for alert, want := range map[tls.AlertError]error{42: ErrDistrusted, 45: ErrDistrusted, 48: ErrDistrusted, 80: nil} {
		t.Run("in plaintext, "+alert.Error(), func(t *testing.T) {
			for _, chunk := range []int{1, 3, 100} {
				server, client := testkit.TCPPair(t)
				go sayPlaintextAlert(client, late, byte(alert), chunk)
				err := Server(server, &Config{TLS: serverTLS}).StartTLS(t.Context())
				require.ErrorContains(t, err, alert.Error())
				require.NotContains(t, err.Error(), "MAC")
				require.Equal(t, want != nil, errors.Is(err, ErrDistrusted), "%v", err)
			}
		})
	}
}

// sayPlaintextAlert is a client of TLS 1.3 that has had the certificate, and sends an alert
// before it begins to encrypt, behind what middleboxes want (RFC 8446 appendix D.4).
func sayPlaintextAlert(raw net.Conn, config *tls.Config, alert byte, chunk int) {
	_ = tls.Client(deafConn{raw}, config).Handshake() // its ClientHello
	answer := make([]byte, 1)
	if _, err := io.ReadFull(raw, answer); err != nil {
		return
	}
	says := []byte{0x14, 3, 3, 0, 1, 1, 0x15, 3, 3, 0, 2, 2, alert}
	for len(says) > 0 {
		n := min(chunk, len(says))
		if _, err := raw.Write(says[:n]); err != nil {
			return
		}
		says = says[n:]
	}
}

// A deafConn hears nothing.
type deafConn struct{ net.Conn }

func (deafConn) Read([]byte) (int, error) { return 0, io.EOF }

// An alert that comes behind the handshake is an error of Read, and of a session's account.
func TestLateDistrustEndsTheSession(t *testing.T) {
	late := &net.OpError{Op: "remote error", Err: tls.AlertError(46)}
	for err, want := range map[error]bool{
		late:                            true,
		fmt.Errorf("reading: %w", late): true,
		&net.OpError{Op: "local error", Err: tls.AlertError(46)}:  false,
		&net.OpError{Op: "remote error", Err: tls.AlertError(80)}: false,
		io.EOF: false,
	} {
		got := asDistrust(err)
		require.ErrorIs(t, got, err)
		require.Equal(t, want, errors.Is(got, ErrDistrusted), "%v", err)
	}
}
