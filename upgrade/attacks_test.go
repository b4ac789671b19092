package upgrade_test

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/attacks"
	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
)

// situation is where a client in a mode stands when it is joined.
func situation(p *upgrade.Protocol, mode attacks.Mode) dialogue.Situation {
	s := dialogue.Situation{
		Client: dialogue.Greeted, Cleartext: mode.Cleartext, PlaintextAuth: mode.Passwords,
		ImplicitTLS: mode.ImplicitTLS, Upgraded: mode.Upgraded,
	}
	switch {
	case mode.ImplicitTLS, mode.Upgraded, p.EarlyDial:
		s.Client = dialogue.Unheard
	case mode.Introduction != "":
		s.Client, s.Kept = dialogue.Introduced, []byte(mode.Introduction+"\r\n")
	}
	if mode.Upgraded && p.Greeting != "" {
		s.Backend = dialogue.Greeted
	}
	if mode.Upgraded && p.HearsClient {
		s.Client = dialogue.Greeted
	}
	return s
}

// filtered is what a backend's side reads from and writes to, right after the negotiation
// and without TLS.
func filtered(p *upgrade.Protocol, mode attacks.Mode, client net.Conn) net.Conn {
	config := &upgrade.Config{Hostname: "mail.example.com", Optional: mode.Cleartext, PlaintextAuth: mode.Passwords}
	j := upgrade.JoinAs(client, p, config, situation(p, mode))
	if !mode.Cleartext || mode.Passwords { // or a password inside TLS would be taken for one without
		j.PretendTLS()
	}
	return j
}

// folder is where the transcripts of a protocol are.
func folder(t testing.TB, p *upgrade.Protocol) string {
	found, err := filepath.Glob("*/testdata/" + p.Name + ".txt")
	require.NoError(t, err)
	require.Len(t, found, 1, "%s needs a transcript in its folder", p.Name)
	return filepath.Dir(found[0])
}

// Whatever a client does, a lenient backend sees no command that is not for it.
func TestAttacks(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		families := map[string][]attacks.Row{}
		for _, row := range slices.Concat(attacks.Rows(p.Name), transcriptRows(t, p)) {
			families[row.Family] = append(families[row.Family], row)
		}
		for family, rows := range families {
			t.Run(p.Name+"/"+family, func(t *testing.T) {
				t.Parallel()
				through := attackAll(t, p, rows)
				require.Empty(t, through, "%d got through", len(through))
			})
		}
	}
}

const transcripts = "transcripts"

// transcriptRows are what clients say in the transcripts of filters.
func transcriptRows(t testing.TB, p *upgrade.Protocol) (rows []attacks.Row) {
	if attacks.Rows(p.Name) == nil {
		return nil
	}
	all, err := dialoguetest.ReadAll(folder(t, p), p)
	require.NoError(t, err)
	for _, d := range all.Joins {
		var steps []string
		for _, s := range d.Steps {
			if s.Who == 'C' {
				steps = append(steps, string(s.Data))
			}
		}
		for _, quirks := range []lenient.Quirk{0, lenient.Chunking, lenient.StrictDots, lenient.RefuseLogin} {
			rows = append(rows, attacks.Row{Family: transcripts, Name: d.Name, Steps: steps, Quirks: quirks})
		}
	}
	return rows
}

// attackAll plays rows in every mode, with every kind of backend, in pieces of any
// size, and returns those that get through.
func attackAll(t *testing.T, p *upgrade.Protocol, rows []attacks.Row) (through []string) {
	for i, row := range rows {
		for _, mode := range attacks.Modes(p.Name) {
			for _, quirks := range row.Variants() {
				cut := row.Cut(i)
				if seen := attack(t, p, mode, row.Steps, quirks, cut); len(seen) > 0 {
					through = append(through, fmt.Sprintf("%s (%s, %#x, %d): %s", row.Name, mode.Name, uint32(quirks), cut, seen[0]))
				}
				i++
			}
		}
	}
	return through
}

// attack returns what the backend should not have seen, and a wait without an end.
func attack(t *testing.T, p *upgrade.Protocol, mode attacks.Mode, steps []string, quirks lenient.Quirk, cut int) []string {
	backend, err := lenient.New(p.Name, quirks|mode.Quirks())
	require.NoError(t, err)
	stuck := false
	synctest.Test(t, func(*testing.T) {
		_, stuck = attacks.Play(steps, cut, backend, func(client net.Conn) net.Conn { return filtered(p, mode, client) })
	})
	if stuck {
		return append(backend.Forbidden(), "waits for ever")
	}
	return backend.Forbidden()
}

// Honest sessions run as if there were no filter, but for what is not for the
// client and for the greeting, which one that is past it does not hear again.
func TestHonestSessions(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		t.Run(p.Name, func(t *testing.T) {
			var changed []string
			for _, row := range attacks.Honest(p.Name) {
				for _, mode := range attacks.Modes(p.Name)[:2] {
					for _, cut := range []int{0, 1} {
						row.Quirks &^= lenient.Bare
						changed = append(changed, honest(t, p, mode, row, cut)...)
						row.Quirks |= lenient.Bare
						changed = append(changed, honest(t, p, mode, row, cut)...)
					}
				}
			}
			require.Empty(t, changed)
		})
	}
}

// honest returns how a session differs from one without a filter.
func honest(t *testing.T, p *upgrade.Protocol, mode attacks.Mode, row attacks.Row, cut int) (changed []string) {
	directly, err := lenient.New(p.Name, row.Quirks)
	require.NoError(t, err)
	want := attacks.Announced(p.Name, attacks.Direct(row.Steps, directly))
	if p.Greeting != "" && !mode.ImplicitTLS {
		want = strings.TrimPrefix(want, attacks.Announced(p.Name, string(directly.Greeting())))
	}
	backend, err := lenient.New(p.Name, row.Quirks)
	require.NoError(t, err)
	synctest.Test(t, func(*testing.T) {
		heard, stuck := attacks.Play(row.Steps, cut, backend, func(client net.Conn) net.Conn { return filtered(p, mode, client) })
		if heard != want || stuck || len(backend.Forbidden()) > 0 {
			changed = []string{fmt.Sprintf("%s, %d: heard %q, not %q, stuck: %t, %q", mode.Name, cut, heard, want, stuck, backend.Forbidden())}
		}
	})
	return changed
}
