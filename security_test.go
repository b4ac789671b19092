package l4starttls_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A caseHead says which case it is, and what the peer does that attacks, or that must
// be served all the same.
type caseHead struct {
	ID       string `json:"id"`
	Protocol string `json:"protocol"`
	Side     string `json:"side"`
	Mode     string `json:"mode"`
	Class    string `json:"class"`
	Why      string `json:"why"`
	Options  struct {
		Lines []string `json:"lines"`
	} `json:"options"`

	Steps          []step   `json:"steps"`
	PeerNever      []string `json:"peer_never"`
	PeerNeverScope string   `json:"peer_never_scope"`
}

// caseFiles are the ends of the files' names, by the side that is put to the test.
var caseFiles = map[string]string{"server": ".jsonl", "client": ".client.jsonl"}

// file is the name of the file that the case belongs into.
func (c *caseHead) file() string { return c.Protocol + caseFiles[c.Side] }

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

	site   *site
	result chan error
}

// readCases reads what testdata/security has for one side. A field that the runner
// does not know is an error, so that no check goes unnoticed.
func readCases[C interface{ file() string }](t *testing.T, side string, newCase func() C) (cases []C) {
	t.Helper()
	files, err := filepath.Glob("testdata/security/*.jsonl")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, caseFiles["client"]) != (side == "client") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for decoder := json.NewDecoder(bytes.NewReader(text)); decoder.More(); {
			decoder.DisallowUnknownFields()
			c := newCase()
			require.NoError(t, decoder.Decode(c), file)
			require.Equal(t, c.file(), filepath.Base(file))
			cases = append(cases, c)
		}
	}
	require.NotEmpty(t, cases)
	return cases
}

// TestSecurity plays all cases at the same time, each against a server and a backend
// of its own: most of their time they wait.
func TestSecurity(t *testing.T) {
	var cases []*securityCase
	var sites []*site
	newCase := func() *securityCase { return &securityCase{result: make(chan error, 1)} }
	for _, c := range readCases(t, "server", newCase) {
		if _, err := upgrade.Lookup(c.Protocol); err != nil {
			continue
		}
		c.site = c.newSite(t)
		cases, sites = append(cases, c), append(sites, c.site)
	}
	trust := serve(t, sites...).trust()
	running := make(chan struct{}, 24)
	for _, c := range cases {
		go func() {
			running <- struct{}{}
			c.result <- c.run(trust)
			<-running
		}()
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) { require.NoError(t, <-c.result, c.Why) })
	}
}

// clockCase are the names of those cases that end because time is over. In all others
// it must be something else that ends the connection, so there is plenty of time.
var clockCase = regexp.MustCompile(`-(half-open|partial|partial-clienthello|clienthello-dribble)$`)

// newSite is the server that a case is for.
func (c *securityCase) newSite(t *testing.T) *site {
	s := newSite(t, c.Protocol)
	s.lines = c.Options.Lines
	if !clockCase.MatchString(c.ID) {
		s.timeout = 3 * patience
	}
	if c.BackendSteps != nil {
		s.backend = newBackend(t, c.Protocol, c.BackendSteps)
	}
	if slices.ContainsFunc(c.Steps, func(s step) bool { return s.ProxyV2 }) {
		s.before = "proxy_protocol {\n allow 127.0.0.0/8\n }"
	}
	return s
}

func (c *securityCase) run(trust *tls.Config) error {
	p, err := c.site.dial(trust)
	if err != nil {
		return err
	}
	p.beforeTLS = c.checkDials
	err = p.run(c.Steps)
	if p.tls == nil {
		err = errors.Join(err, c.checkDials())
	}
	_ = p.raw.Close()
	err = errors.Join(err, c.site.backend.await())
	return errors.Join(err, c.checkPeer(p), c.checkBackend())
}

// checkDials is called while there is no TLS. That a backend must not be dialled by
// then holds in every case, whether or not it says so, but for relayed protocols.
func (c *securityCase) checkDials() error {
	known := []string{"", "never", "never_before_tls", "never_if_required", "after_tls_if_required"}
	if !slices.Contains(known, c.BackendDial) {
		return fmt.Errorf("unknown backend_dial %q", c.BackendDial)
	}
	if n := c.site.backend.dialled(); n > 0 && c.Protocol != "line" {
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

func (c *securityCase) checkBackend() error {
	received := c.site.backend.received()
	err := never("backend", received, slices.Concat(c.BackendNever, c.BackendShouldNot))
	for _, pattern := range c.BackendMust {
		if !regexp.MustCompile(pattern).MatchString(latin1(received)) {
			err = errors.Join(err, fmt.Errorf("backend received %q, without %q", received, pattern))
		}
	}
	want, decodeErr := hex.DecodeString(c.BackendMustHex)
	if !bytes.Contains(received, want) {
		err = errors.Join(err, fmt.Errorf("backend received %x, without %x", received, want))
	}
	if c.BackendDial == "never" && c.site.backend.dialled() > 0 {
		err = errors.Join(err, errors.New("backend was dialled"))
	}
	return errors.Join(err, decodeErr)
}

// never finds what must not have been received.
func never(who string, received []byte, patterns []string) (err error) {
	for _, pattern := range patterns {
		if found := regexp.MustCompile(pattern).FindString(latin1(received)); found != "" {
			err = errors.Join(err, fmt.Errorf("%s received %q, which %q must not match", who, found, pattern))
		}
	}
	return err
}
