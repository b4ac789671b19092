package integration_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// An upstreamCase is an upstream, and what must come of it downstream: a client that
// hears the reason why it has no upstream, or one that hears what is in Downstream.
type upstreamCase struct {
	caseHead
	Reason     string `json:"reason"`
	Downstream string `json:"downstream"`
}

// canary is in what every client says at once, in a form that is passed on as it is and
// answered if there is nobody to pass it on to. It is for upstreams inside TLS alone, whose
// certificate has been verified.
const canary = "DOWNSTREAM-CANARY"

// An attack is a case under one policy.
type attack struct {
	*upstreamCase
	policy string
	joint  *joint

	ln         net.Listener
	certs      map[string]*tls.Certificate
	dials      atomic.Int32
	clientGone chan struct{}
	played     chan error // by the upstream
	result     chan error
}

// TestSecurityUpstream plays all cases at the same time, each as the upstream of a
// server of its own.
func TestSecurityUpstream(t *testing.T) {
	a := newAuthority(t)
	certs := upstreamCertificates(t, a)
	var attacks []*attack
	var joints []*joint
	for _, c := range playable(t, readCases(t, "client", newUpstreamCase)) {
		for _, policy := range c.policies(t) {
			attacks = append(attacks, newAttack(t, c, policy, ownAddress(len(attacks)), a, certs))
			joints = append(joints, attacks[len(attacks)-1].joint)
		}
	}
	serveJoints(t, joints...)
	running := make(chan struct{}, 24)
	for _, a := range attacks {
		go func() {
			running <- struct{}{}
			a.result <- a.run()
			<-running
		}()
	}
	for _, a := range attacks {
		t.Run(a.ID+" "+a.policy, func(t *testing.T) { require.NoError(t, <-a.result, a.Why) })
	}
	require.Eventually(t, func() bool { return stacks().ours() == 0 }, patience, 10*time.Millisecond)
}

// upstreamCertificates are a good one, which has no name here, and bad ones.
func upstreamCertificates(t *testing.T, a *authority) map[string]*tls.Certificate {
	t.Helper()
	good := &a.server(t, upstreamName).Certificates[0]
	return map[string]*tls.Certificate{
		"":                good,
		"other name":      &a.server(t, "other.example.com").Certificates[0],
		"other authority": &newAuthority(t).server(t, upstreamName).Certificates[0],
		"expired":         resigned(t, good, a.ca, -time.Minute),
		"self-signed":     resigned(t, good, good, time.Hour),
	}
}

// resigned is a certificate signed by another, and good for as long.
func resigned(t *testing.T, cert, by *tls.Certificate, valid time.Duration) *tls.Certificate {
	t.Helper()
	template := *cert.Leaf
	template.NotAfter = time.Now().Add(valid)
	der, err := x509.CreateCertificate(rand.Reader, &template, by.Leaf, cert.Leaf.PublicKey, by.PrivateKey)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: cert.PrivateKey, Leaf: leaf}
}

// ownAddress is a loopback address for each n, and for this process alone: so many
// ports would soon be other tests', too, and a stranger's connection is a dial too many.
func ownAddress(n int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:%d", 1+pid%250, 1+n/250, 1+n%250, 21000+pid/250%1000)
}

func newAttack(t *testing.T, c *upstreamCase, policy, address string, a *authority, certs map[string]*tls.Certificate) *attack {
	t.Helper()
	proto, err := upgrade.Lookup(c.Protocol)
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	negotiation, handshake := 3*patience, 3*patience // which must not be what ends it
	if c.Reason == "Upstream timed out" {
		negotiation, handshake = negotiationTimeout, handshakeTimeout
	}
	j := &joint{address: address, up: &upgrader{proto: proto, talk: conversationOf(t, c.Protocol)}, proxy: ln.Addr().String()}
	j.lines = append([]string{
		"policy " + policy, "tls_server_name " + upstreamName, "tls_trust_pool file " + a.file,
		fmt.Sprintf("negotiation_timeout %s\nhandshake_timeout %s", negotiation, handshake),
	}, c.Options.Lines...)
	at := &attack{
		upstreamCase: c, policy: policy, joint: j, ln: ln, certs: certs,
		clientGone: make(chan struct{}), played: make(chan error, 1), result: make(chan error, 1),
	}
	go at.accept()
	return at
}

// accept plays the script once. Whoever comes again is counted.
func (a *attack) accept() {
	for {
		conn, err := a.ln.Accept()
		if err != nil {
			return
		}
		if a.dials.Add(1) > 1 {
			_ = conn.Close()
			continue
		}
		go func() { a.played <- a.play(conn) }()
	}
}

// play plays the upstream, which in the end waits for the client to go: nobody may
// depend on its closing first.
func (a *attack) play(conn net.Conn) error {
	defer func() { _ = conn.Close() }()
	seen := &overheard{TCPConn: conn.(*net.TCPConn)}
	p := newPeer(seen, new(tls.Config)).speaking(a.Protocol)
	p.serves = a.certs
	err := p.run(a.Steps)
	if err == nil && p.tls != nil {
		err = p.tls.CloseWrite()
	}
	if err == nil {
		<-a.clientGone
		err = p.expectClose()
	}
	err = errors.Join(err, a.checkPeer(p))
	if bytes.Contains(seen.all, []byte(canary)) {
		err = errors.Join(err, fmt.Errorf("canary in plaintext: %q", seen.all))
	}
	return err
}

// An overheard connection keeps what is read from it, as it is on the wire.
type overheard struct {
	*net.TCPConn
	all []byte
}

func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.TCPConn.Read(p)
	o.all = append(o.all, p[:n]...)
	return n, err
}

// run plays the client.
func (a *attack) run() error {
	got, err := a.hear()
	close(a.clientGone)
	select {
	case played := <-a.played:
		err = errors.Join(err, played)
	case <-time.After(2 * patience):
		err = errors.Join(err, errors.New("upstream has not ended"))
	}
	if n := a.dials.Load(); n != 1 {
		err = errors.Join(err, fmt.Errorf("upstream was dialled %d times", n))
	}
	if want := a.wanted(); !regexp.MustCompile(want).MatchString(testkit.Latin1(got)) {
		err = errors.Join(err, fmt.Errorf("client heard %q, want %q", got, want))
	}
	return errors.Join(err, never("client", got, []string{"INJECTED"}))
}

// hear says the canary at once, and hears all that comes, up to a proper end.
func (a *attack) hear() ([]byte, error) {
	conn, err := net.DialTimeout("tcp", a.joint.address, patience)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, a.joint.up.talk.canary); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

// wanted is the pattern of what the client is to hear.
func (a *attack) wanted() string {
	if a.Downstream != "" {
		return a.Downstream
	}
	reason := "(" + a.Reason + ")"
	return strings.NewReplacer("NAME", regexp.QuoteMeta(upstreamName), "WHY", reason).Replace(a.joint.up.talk.refused.pattern)
}
