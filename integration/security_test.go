package integration_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// A securityCase is a client, and what must and must not come of it.
type securityCase struct {
	caseHead
	Design       bool   `json:"design"`
	BackendSteps []step `json:"backend_steps"`

	BackendNever     []string `json:"backend_never"`
	BackendShouldNot []string `json:"backend_should_not"`
	BackendMust      []string `json:"backend_must"`
	BackendMustHex   string   `json:"backend_must_hex"`
	BackendDial      string   `json:"backend_dial"`
}

func (c *securityCase) scripts() [][]step { return [][]step{c.Steps, c.BackendSteps} }

// A visit is a case under one policy.
type visit struct {
	*securityCase
	policy string
	site   *site
	result chan error
}

// TestSecurity plays all cases at the same time, each against a server and a backend
// of its own: most of their time they wait.
func TestSecurity(t *testing.T) {
	var visits []*visit
	var sites []*site
	for _, c := range playable(t, readCases(t, "server", newServerCase)) {
		for _, policy := range c.policies(t) {
			v := &visit{securityCase: c, policy: policy, site: c.newSite(t, policy), result: make(chan error, 1)}
			visits, sites = append(visits, v), append(sites, v.site)
		}
	}
	trust := serve(t, sites...).trust()
	running := make(chan struct{}, 24)
	for _, v := range visits {
		go func() {
			running <- struct{}{}
			v.result <- v.run(trust)
			<-running
		}()
	}
	for _, v := range visits {
		t.Run(v.ID+" "+v.policy, func(t *testing.T) { require.NoError(t, <-v.result, v.Why) })
	}
}

// clockCase are the names of those cases that end because time is over. In all others
// it must be something else that ends the connection, so there is plenty of time.
var clockCase = regexp.MustCompile(`-(half-open|partial|partial-clienthello|clienthello-dribble)$`)

// newSite is the server that a case is for.
func (c *securityCase) newSite(t *testing.T, policy string) *site {
	s := newSite(t, c.Protocol)
	s.lines = slices.Clone(c.Options.Lines)
	if policy != "required" {
		s.lines = append(s.lines, "policy "+policy)
	}
	if !clockCase.MatchString(c.ID) {
		s.timeout = 3 * patience
	}
	if c.BackendSteps != nil {
		book := newRulebook(c.BackendSteps)
		s.backend = startBackend(t, func(conn net.Conn) error { return book.play(c.Protocol, conn) })
	}
	if slices.ContainsFunc(c.Steps, func(s step) bool { return s.ProxyV2 }) {
		s.before = "proxy_protocol {\n allow 127.0.0.0/8\n }"
	}
	return s
}

func (v *visit) run(trust *tls.Config) error {
	p, err := v.site.dial(trust)
	if err != nil {
		return err
	}
	p.beforeTLS = v.checkDials
	err = p.run(v.Steps)
	if p.tls == nil {
		err = errors.Join(err, v.checkDials())
	}
	_ = p.raw.Close()
	err = errors.Join(err, v.site.backend.await())
	return errors.Join(err, v.checkPeer(p), v.checkBackend())
}

// checkDials is called while there is no TLS. That a backend must not be dialled by
// then holds in every case, whether or not it says so, but for relayed protocols, and
// for clients that may stay in plaintext.
func (v *visit) checkDials() error {
	known := []string{"", "never", "never_before_tls", "never_if_required", "after_tls_if_required", "may_before_tls"}
	if !slices.Contains(known, v.BackendDial) {
		return fmt.Errorf("unknown backend_dial %q", v.BackendDial)
	}
	mayDial := dialsEarly(v.Protocol) || v.BackendDial == "may_before_tls" || v.policy == "optional" && v.BackendDial != "never" && v.BackendDial != "never_before_tls"
	if n := v.site.backend.dialled(); n > 0 && !mayDial {
		return fmt.Errorf("backend was dialled %d times before TLS", n)
	}
	return nil
}

func (c *caseHead) checkPeer(p *peer) (err error) {
	scopes := map[string][]byte{
		"": slices.Concat(p.plain, p.secured), "all": slices.Concat(p.plain, p.secured), "plaintext": p.plain, "tls": p.secured,
	}
	received, ok := scopes[c.PeerNeverScope]
	if !ok {
		return fmt.Errorf("unknown peer_never_scope %q", c.PeerNeverScope)
	}
	return never("peer", received, c.PeerNever)
}

func (v *visit) checkBackend() error {
	received := v.site.backend.received()
	err := never("backend", received, slices.Concat(v.BackendNever, v.BackendShouldNot))
	for _, pattern := range v.BackendMust {
		if !regexp.MustCompile(pattern).MatchString(testkit.Latin1(received)) {
			err = errors.Join(err, fmt.Errorf("backend received %q, without %q", received, pattern))
		}
	}
	want, decodeErr := hex.DecodeString(v.BackendMustHex)
	if !bytes.Contains(received, want) {
		err = errors.Join(err, fmt.Errorf("backend received %x, without %x", received, want))
	}
	forbidden := v.BackendDial == "never" || v.BackendDial == "never_if_required" && v.policy == "required"
	if forbidden && v.site.backend.dialled() > 0 {
		err = errors.Join(err, errors.New("backend was dialled"))
	}
	return errors.Join(err, decodeErr)
}

// never finds what must not have been received.
func never(who string, received []byte, patterns []string) (err error) {
	for _, pattern := range patterns {
		if found := regexp.MustCompile(pattern).FindString(testkit.Latin1(received)); found != "" {
			err = errors.Join(err, fmt.Errorf("%s received %q, which %q must not match", who, found, pattern))
		}
	}
	return err
}
