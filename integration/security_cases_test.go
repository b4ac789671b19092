package integration_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// caseDir is where the cases are.
const caseDir = "testdata/security"

// isAwaited reports whether a protocol has cases already, and an implementation only later:
// there is a lenient server of it to try them on, so it is no misspelt name.
func isAwaited(protocol string) bool {
	_, unknown := upgrade.Lookup(protocol)
	_, foreign := lenient.New(protocol)
	return unknown != nil && foreign == nil
}

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

func (c *caseHead) head() *caseHead { return c }

func (c *caseHead) scripts() [][]step { return [][]step{c.Steps} }

// A playedCase is one of either side.
type playedCase interface {
	head() *caseHead
	scripts() [][]step
}

// file is the name of the file that the case belongs into.
func (c *caseHead) file() string { return c.Protocol + caseFiles[c.Side] }

// policies are those under which the case must come out as it says. In line, and where nobody
// can stay in plaintext, all clients upgrade, and only an upstream knows an option.
func (c *caseHead) policies(t *testing.T) []string {
	t.Helper()
	all := map[string][]string{
		"required": {"required"}, "optional": {"optional"}, "any": {"required", "optional"},
	}
	require.Contains(t, all, c.Mode, c.ID)
	p, err := upgrade.Lookup(c.Protocol)
	if c.Side == "server" && (c.Protocol == "line" || err == nil && p.AlwaysTLS) {
		return []string{"required"}
	}
	return all[c.Mode]
}

// readCases reads what there is for one side, in all protocols.
func readCases[C playedCase](t *testing.T, side string, newCase func() C) (cases []C) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(caseDir, "*.jsonl"))
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, caseFiles["client"]) == (side == "client") {
			cases = append(cases, readFile(t, file, newCase)...)
		}
	}
	require.NotEmpty(t, cases)
	return cases
}

// readFile reads one file. A field that the runner does not know is an error, so that
// no check goes unnoticed.
func readFile[C playedCase](t *testing.T, file string, newCase func() C) (cases []C) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	for decoder := json.NewDecoder(bytes.NewReader(text)); decoder.More(); {
		decoder.DisallowUnknownFields()
		c := newCase()
		require.NoError(t, decoder.Decode(c), file)
		require.Equal(t, c.head().file(), filepath.Base(file), c.head().ID)
		for _, script := range c.scripts() {
			for i, s := range script {
				script[i].SendText, script[i].TLSSendText = octets(t, s.SendText), octets(t, s.TLSSendText)
			}
		}
		cases = append(cases, c)
	}
	return cases
}

// octets makes an octet of each character, as patterns have it.
func octets(t *testing.T, text string) string {
	t.Helper()
	var b []byte
	for _, r := range text {
		require.LessOrEqual(t, r, rune(0xff), text)
		b = append(b, byte(r))
	}
	return string(b)
}

// playable leaves out the cases of protocols that are awaited. Any other protocol must
// be there, so that a misspelt name does not hide a case.
func playable[C playedCase](t *testing.T, cases []C) []C {
	t.Helper()
	return slices.DeleteFunc(cases, func(c C) bool {
		protocol := c.head().Protocol
		if isAwaited(protocol) {
			return true
		}
		_, err := upgrade.Lookup(protocol)
		require.NoError(t, err, c.head().ID)
		return false
	})
}

func newServerCase() *securityCase   { return new(securityCase) }
func newUpstreamCase() *upstreamCase { return new(upstreamCase) }

// Whatever is awaited, or there, has cases of both sides.
func TestSecurityCasesHaveBothSides(t *testing.T) {
	sides := make(map[string]string)
	for _, c := range readCases(t, "server", newServerCase) {
		sides[c.Protocol] = "server"
	}
	for _, c := range readCases(t, "client", newUpstreamCase) {
		require.Contains(t, sides, c.Protocol, c.ID)
		sides[c.Protocol] = "both"
	}
	for protocol, side := range sides {
		require.Equal(t, "both", side, protocol)
	}
	for _, p := range upgrade.Protocols() {
		require.Contains(t, sides, p.Name)
	}
}

// The cases are those in the list of ids, each of them once. One that gets lost, or is
// added without a word, does not pass.
func TestSecurityCasesAreComplete(t *testing.T) {
	var ids []string
	for _, c := range readCases(t, "server", newServerCase) {
		ids = append(ids, c.ID)
	}
	for _, c := range readCases(t, "client", newUpstreamCase) {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	list, err := os.ReadFile(filepath.Join(caseDir, "ids.txt"))
	require.NoError(t, err)
	require.Equal(t, strings.Fields(string(list)), ids)
}

// otherNames say which attack it is, where the id does not.
var otherNames = map[string]string{
	"ftp-cli-wrong-cert":        "wrong-name",
	"imap-cli-predicted-tag":    "early-reply",
	"ldap-cli-refused":          "stripped", // protocolError is that StartTLS is unknown
	"ldap-cli-unavailable":      "refused",
	"ldap-cli-wrong-cert":       "wrong-name",
	"ldap-cli-wrong-op":         "odd-reply",
	"pg-cli-tls-at-once":        "odd-reply",
	"pop3-cli-wrong-cert":       "wrong-name",
	"smtp-cli-wrong-cert":       "wrong-name",
	"xmpp-cli-failure":          "refused",
	"xmpp-cli-wrong-ns-proceed": "odd-reply",
}

// Every protocol is attacked in every way that it leaves room for.
func TestSecurityUpstreamIsComplete(t *testing.T) {
	ways := make(map[string][]string)
	for _, c := range readCases(t, "client", newUpstreamCase) {
		_, way, _ := strings.Cut(c.ID, "-cli-")
		if name, ok := otherNames[c.ID]; ok {
			way = name
		}
		require.NotContains(t, ways[c.Protocol], way, c.ID)
		require.NotEqual(t, c.Reason == "", c.Downstream == "", c.ID)
		ways[c.Protocol] = append(ways[c.Protocol], way)
	}
	for _, proto := range upgrade.Protocols() {
		want := []string{
			"ok", "inject", "inject-late", "early-reply", "refused", "odd-reply", "silent", "half-open", "gone", "reset",
			"gone-late", "reset-late", "old-tls", "wrong-name", "expired", "self-signed", "untrusted",
		}
		if proto.ServerFirst {
			want = append(want, "no-greeting")
		}
		if proto != upgrade.Line { // in which nothing is offered
			want = append(want, "stripped")
		}
		require.Subset(t, ways[proto.Name], want, proto.Name)
	}
}
