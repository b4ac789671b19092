package interop

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// TestProxyCommand has openssl reach Dovecot through a Caddy that no file configures.
func TestProxyCommand(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	d := startDovecot(t, tlsOff)
	dir := t.TempDir()
	_, port, err := net.SplitHostPort(freeAddr(t))
	require.NoError(t, err)
	cmd := exec.Command(caddyBinary(t), "starttls-proxy", "imap", "--from", "localhost:"+port, "--to", d.imap)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	_ = startCmd(t, cmd)
	root := filepath.Join(dir, "caddy/pki/authorities/local/root.crt")
	testkit.Eventually(t, startTimeout, "a certificate", func() bool {
		status, _ := starttlsProbe(t, "imap", "localhost:"+port, "--ca", root)
		return status == 0
	})
	out, err := run(t, clientTimeout, "a LOGOUT\n", "openssl", "s_client", "-starttls", "imap", "-connect", "localhost:"+port, "-4", "-crlf", "-ign_eof",
		"-verify_return_error", "-verify_hostname", "localhost", "-CAfile", root)
	require.NoError(t, err, out)
	require.Contains(t, out, "Verify return code: 0 (ok)")
	require.Contains(t, out, "a OK ")
}
