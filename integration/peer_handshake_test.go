package integration_test

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/packets"
)

// drain reads what is still to come in plaintext.
func (p *peer) drain() error {
	for !p.whole {
		got, err := p.read(time.Now().Add(250 * time.Millisecond))
		if !got {
			return err
		}
	}
	return nil
}

// startTLS does the handshake, once nothing more comes in plaintext.
func (p *peer) startTLS(s step) error {
	if p.serves == nil {
		if err := p.drain(); err != nil {
			return err
		}
	}
	if p.beforeTLS != nil {
		if err := p.beforeTLS(); err != nil {
			return err
		}
	}
	config, err := p.configFor(s)
	if err != nil {
		return err
	}
	conn, err := p.handshake(config)
	switch {
	case err != nil && s.ExpectFail && p.wire.sawPlaintext():
		return fmt.Errorf("peer stayed in plaintext: %q", p.wire.received)
	case err != nil && s.ExpectFail:
		return expectAlert(err, s.ExpectAlert)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("handshake neither refused nor done: %w", err)
	case err != nil && s.MayFail:
		return errOver
	case err != nil:
		return fmt.Errorf("after %q in plaintext: %w", p.plain, err)
	case s.ExpectFail:
		return errors.New("handshake succeeded")
	}
	p.tls, p.fresh = conn, nil
	if got := conn.ConnectionState().NegotiatedProtocol; got != s.ExpectALPN {
		return fmt.Errorf("ALPN %q, want %q", got, s.ExpectALPN)
	}
	return nil
}

// handshake leaves the peer in plaintext.
func (p *peer) handshake(config *tls.Config) (*tls.Conn, error) {
	if err := p.raw.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	below := packets.Carry(p.raw, p.packets)
	p.wire = newWire(below)
	config.KeyLogWriter = &p.wire.keys
	conn := tls.Client(p.wire, config)
	if p.serves != nil {
		if p.packets != nil {
			config.MaxVersion = min(uint16(tls.VersionTLS12), cmp.Or(config.MaxVersion, uint16(tls.VersionTLS12)))
		}
		conn = tls.Server(p.wire, config)
	}
	err := conn.Handshake()
	below.Over = err == nil
	return conn, err
}

func (p *peer) configFor(s step) (*tls.Config, error) {
	config := p.config.Clone()
	if p.serves != nil {
		cert, ok := p.serves[s.Cert]
		if !ok {
			return nil, fmt.Errorf("unknown certificate %q", s.Cert)
		}
		config = &tls.Config{Certificates: []tls.Certificate{*cert}, GetConfigForClient: expectOffer(s.ClientALPN)}
	}
	config.NextProtos = s.ALPN
	if s.CertName != "" {
		verifyAs(config, s.CertName)
	}
	if s.SNI != "" {
		config.ServerName = s.SNI
	}
	switch s.MaxVersion {
	case "1.1":
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	case "1.2":
		config.MaxVersion = tls.VersionTLS12
		config.CipherSuites = []uint16{renegotiationSuite}
	}
	return config, nil
}

// verifyAs has the certificate verified for a name that need not be the SNI.
func verifyAs(config *tls.Config, name string) {
	config.InsecureSkipVerify = true // of what VerifyConnection does
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: config.RootCAs, Intermediates: intermediates(state), DNSName: name,
		})
		return err
	}
}

// intermediates are what the peer sent along with its certificate.
func intermediates(state tls.ConnectionState) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		pool.AddCert(cert)
	}
	return pool
}

// expectOffer fails a handshake in which the client does not offer the ids; nil is any.
func expectOffer(ids []string) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if ids != nil && !slices.Equal(ids, hello.SupportedProtos) {
			return nil, fmt.Errorf("client offers %q, want %q", hello.SupportedProtos, ids)
		}
		return nil, nil
	}
}

// expectAlert reports whether a handshake ended with an alert; 0 is any end.
func expectAlert(err error, alert uint8) error {
	if alert == 0 || strings.Contains(err.Error(), tls.AlertError(alert).Error()) {
		return nil
	}
	return fmt.Errorf("handshake ended with %w, want alert %d", err, alert)
}
