package upgrade_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/attacks"
	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A wire is a client and a backend with a filter in between, and nothing else: no
// connections, no clocks.
type wire struct {
	x       *dialogue.Exchange
	backend lenient.Backend
	apart   bool // what passes is copied to another buffer than the one that it came in

	hello   bool   // the client begins TLS, with one octet for all of the handshake
	answers []byte // of the backend, on their way
	cut     int    // after so many octets of them there is a gap
	heard   []byte
}

// connect joins a client to a backend.
func connect(t *testing.T, p *upgrade.Protocol, mode attacks.Mode, quirks lenient.Quirk, cut int, apart bool) *wire {
	backend, err := lenient.New(p.Name, quirks)
	require.NoError(t, err)
	s := situation(p, mode)
	s.Options = &dialogue.Options{Hostname: "mail.example.com", Optional: mode.Cleartext, PlaintextAuth: mode.Passwords}
	var filter dialogue.Filter
	if p.Join != nil {
		filter = p.Join(s)
	}
	w := &wire{backend: backend, apart: apart, answers: backend.Greeting(), cut: cut}
	w.x = dialogue.NewExchange(filter, func(error) []byte { return []byte("the session ends") }, func(string) {})
	w.settle()
	return w
}

// say has the client say something, and waits for all that comes of it.
func (w *wire) say(said string) {
	in := w.begun([]byte(said))
	out := in
	if w.apart {
		out = make([]byte, len(in))
	}
	w.arrive(out[:w.x.ClientSays(in, out)])
	w.settle()
}

// begun is what the client says but for a handshake.
func (w *wire) begun(said []byte) []byte {
	if !w.hello || len(said) == 0 {
		return said
	}
	w.hello = false
	return bytes.TrimPrefix(said, []byte{dialogue.RecordTypeHandshake})
}

// arrive brings something to the backend.
func (w *wire) arrive(p []byte) {
	if len(p) > 0 {
		w.answers = append(w.answers, w.backend.Feed(p)...)
	}
}

// settle brings to both sides all that there is for them.
func (w *wire) settle() {
	for out := make([]byte, 4096); ; {
		n := w.x.DeliverToBackend(out)
		if n == 0 && !w.x.Closed() {
			n = w.x.ClientSays(nil, out)
		}
		if w.x.WantsUpgrade() {
			behind, _ := w.x.TakeUpgrade()
			w.hello = true
			n = w.x.ClientSays(w.begun(behind), out)
		}
		w.heard = append(w.heard, w.x.DeliverToClient()...)
		w.arrive(out[:n])
		if n == 0 && len(w.answers) == 0 {
			return
		}
		w.answer()
	}
}

// answer brings the backend's answers to the client, up to the gap if it comes now.
func (w *wire) answer() {
	part := w.answers
	if w.cut > 0 && w.cut < len(part) {
		part = part[:w.cut]
	}
	w.cut -= len(part)
	w.answers = w.answers[len(part):]
	w.heard = append(w.heard, w.x.BackendSays(part)...)
}

// cuts are the places at which a session is cut: all of them, but in a long one.
func cuts(session string) (all []int) {
	step := 1 + len(session)/600
	for at := 0; at <= len(session); at += step {
		all = append(all, at)
	}
	return all
}

// However a session is cut, both sides hear through the filter what they hear without
// it, but for what a backend announces that is not for the client.
func TestDifferential(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		for _, row := range attacks.Honest(p.Name) {
			for _, mode := range attacks.Modes(p.Name)[:2] {
				t.Run(p.Name+"/"+mode.Name+"/"+strings.TrimSpace(row.Name), func(t *testing.T) {
					t.Parallel()
					differ(t, p, mode, row)
				})
			}
		}
	}
}

func differ(t *testing.T, p *upgrade.Protocol, mode attacks.Mode, row attacks.Row) {
	directly, err := lenient.New(p.Name, row.Quirks)
	require.NoError(t, err)
	want := attacks.Announced(p.Name, attacks.Direct(row.Steps, directly))
	if p.Greeting != "" && !mode.ImplicitTLS {
		want = strings.TrimPrefix(want, attacks.Announced(p.Name, string(directly.Greeting())))
	}
	for step := range row.Steps {
		for _, at := range cuts(row.Steps[step]) {
			w := connect(t, p, mode, row.Quirks, at, at%2 == 1)
			for i, said := range row.Steps {
				if i == step {
					w.say(said[:at])
					said = said[at:]
				}
				w.say(said)
			}
			require.Equal(t, want, string(w.heard), "step %d is cut at %d", step, at)
			require.Empty(t, w.backend.Forbidden())
		}
	}
}
