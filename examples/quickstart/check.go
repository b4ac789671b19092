package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// check talks to every service as a client that trusts the CA alone.
func check(ctx context.Context, root string, all []*service) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pem, err := os.ReadFile(root) //nolint:gosec // our own file
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	config := &upgrade.Config{
		TLS: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12},
	}
	for _, s := range all {
		version, err := s.visit(ctx, config)
		if err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		fmt.Printf("%s: %s, certificate verified, answered %q\n", s.title, version, s.answer)
	}
	return nil
}

// visit upgrades, says all there is to say, and listens to the end.
func (s *service) visit(ctx context.Context, config *upgrade.Config) (version string, err error) {
	proto, err := upgrade.Lookup(s.protocol)
	if err != nil {
		return "", err
	}
	conn, err := upgrade.Dial(ctx, "tcp", s.listen, proto, config)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, s.say); err != nil {
		return "", err
	}
	heard, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(heard), s.answer) {
		return "", fmt.Errorf("unexpected answer %q", heard)
	}
	state, _ := conn.TLSConnectionState()
	return tls.VersionName(state.Version), nil
}
