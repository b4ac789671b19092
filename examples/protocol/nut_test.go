package nut_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	nut "example.com/nut"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
)

const patience = 30 * time.Second

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, nut.Protocol) }

func TestMatch(t *testing.T) {
	dialoguetest.Match(t, nut.Protocol, "STARTTLS")
	dialoguetest.NoMatch(t, nut.Protocol, "STARTTLX")
}

func TestRegistered(t *testing.T) {
	p, err := upgrade.Lookup("nut")
	require.NoError(t, err)
	require.Same(t, nut.Protocol, p)
}

// TestCaddy builds a Caddy with the protocol, in front of a server that tells what it is asked.
func TestCaddy(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "caddy")
	out, err := exec.Command("go", "build", "-o", binary, "./caddy").CombinedOutput()
	require.NoError(t, err, string(out))
	addr := freeAddress(t)
	text, err := os.ReadFile("caddy/Caddyfile")
	require.NoError(t, err)
	config := strings.NewReplacer(":3493", addr, "127.0.0.1:13493", startServer(t),
		"{\n\tlayer4", "{\n\tadmin off\n\tpersist_config off\n\tlocal_certs\n\tskip_install_trust\n\tstorage file_system "+dir+"\n\tlayer4").Replace(string(text))
	file := filepath.Join(dir, "Caddyfile")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	caddy := exec.Command(binary, "run", "--config", file)
	caddy.Stderr = os.Stderr
	require.NoError(t, caddy.Start())
	t.Cleanup(func() { _ = caddy.Process.Kill(); _ = caddy.Wait() })

	roots := x509.NewCertPool()
	var conn *upgrade.Conn
	require.Eventually(t, func() bool {
		root, err := os.ReadFile(filepath.Join(dir, "pki/authorities/local/root.crt"))
		if err != nil || !roots.AppendCertsFromPEM(root) {
			return false
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err = upgrade.Dial(ctx, "tcp", addr, nut.Protocol, &upgrade.Config{TLS: &tls.Config{ServerName: "ups.example.com", RootCAs: roots}})
		return err == nil
	}, patience, 100*time.Millisecond)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	session, err := dialoguetest.ReadSession("testdata", nut.Protocol)
	require.NoError(t, err)
	use, err := session.Dialogue("use")
	require.NoError(t, err)
	for _, step := range use.Steps {
		switch step.Who {
		case 'C':
			_, err := conn.Write(step.Data)
			require.NoError(t, err)
		case 'S':
			line, err := conn.ReadLine()
			require.NoError(t, err)
			require.Regexp(t, step.Pattern, line+"\n")
		}
	}
}

func freeAddress(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return ln.Addr().String()
}

// startServer starts a server in plaintext. Nobody may ask it for the upgrade.
func startServer(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return ln.Addr().String()
}

func serve(conn net.Conn) {
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		answer := "ERR UNKNOWN-COMMAND"
		if lines.Text() == "NETVER" {
			answer = "1.3"
		}
		fmt.Fprintf(conn, "%s\n", answer)
	}
}
