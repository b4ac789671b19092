package dialoguetest

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Match wants a request to be recognized with its last octet, not before and not after,
// whatever follows.
func Match(t *testing.T, p *upgrade.Protocol, request string) {
	t.Helper()
	for n := range len(request) {
		verdict(t, p, request[:n], dialogue.NeedMore)
	}
	verdict(t, p, request, dialogue.Matched)
	verdict(t, p, request+"\x00", dialogue.Matched)
}

// NoMatch wants bytes to be refused with the last of them, and for good.
func NoMatch(t *testing.T, p *upgrade.Protocol, bytes string) {
	t.Helper()
	verdict(t, p, bytes[:len(bytes)-1], dialogue.NeedMore)
	verdict(t, p, bytes, dialogue.NoMatch)
	verdict(t, p, bytes+"\x00", dialogue.NoMatch)
}

func verdict(t *testing.T, p *upgrade.Protocol, bytes string, want dialogue.Verdict) {
	t.Helper()
	if got := p.Match([]byte(bytes)); got != want {
		t.Errorf("the verdict on %q is %d, not %d", bytes, got, want)
	}
}
