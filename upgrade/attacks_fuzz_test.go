package upgrade_test

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/attacks"
	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const (
	// maxFuzzSession bounds a session, and maxFuzzSeeds how many rows of a family
	// are seeds.
	maxFuzzSession = 32 << 10
	maxFuzzSeeds   = 4

	// fuzzedQuirks are without what the mode says, and without a backend that cuts
	// lines which are short enough for the filter.
	fuzzedQuirks = lenient.All &^ (lenient.Cleartext | lenient.SplitLong)
)

// FuzzFilterAgainstLenientBackend has a client say anything at all, in parts of any
// size, to a backend with any quirks, which must not see a command that is not for
// it. waits are the lengths, of two octets each, of what is said at a time.
func FuzzFilterAgainstLenientBackend(f *testing.F) {
	var attacked []*upgrade.Protocol
	for _, p := range upgrade.Protocols() {
		if _, err := lenient.New(p.Name); err == nil {
			seedAttacks(f, byte(len(attacked)), p)
			attacked = append(attacked, p)
		}
	}
	f.Fuzz(func(t *testing.T, index, mode, cut byte, quirks uint32, waits, session []byte) {
		p := attacked[int(index)%len(attacked)]
		modes := attacks.Modes(p.Name)
		if len(session) > maxFuzzSession {
			return
		}
		pieces := int(cut)
		if pieces > 0 {
			pieces += len(session) / 2048 // some thousand at the most
		}
		steps, q, m := fuzzedSteps(session, waits), lenient.Quirk(quirks)&fuzzedQuirks, modes[int(mode)%len(modes)]
		require.Empty(t, attack(t, p, m, steps, q, pieces), "%s, %s, %#x: %.200q", p.Name, m.Name, uint32(q), steps)
	})
}

func fuzzedSteps(session, waits []byte) (steps []string) {
	for ; len(waits) >= 2 && len(steps) < 50; waits = waits[2:] {
		n := min(int(binary.BigEndian.Uint16(waits)), len(session))
		steps = append(steps, string(session[:n]))
		session = session[n:]
	}
	return append(steps, string(session))
}

func addFuzzed(f *testing.F, index byte, mode int, cut byte, quirks lenient.Quirk, steps []string) {
	var waits []byte
	for _, step := range steps {
		waits = binary.BigEndian.AppendUint16(waits, uint16(len(step)))
	}
	if session := strings.Join(steps, ""); len(session) <= maxFuzzSession {
		f.Add(index, byte(mode), cut, uint32(quirks), waits, []byte(session))
	}
}

// seedAttacks adds the first rows of each family.
func seedAttacks(f *testing.F, index byte, p *upgrade.Protocol) {
	seeds := map[string]int{}
	for i, row := range slices.Concat(attacks.Rows(p.Name), transcriptRows(f, p)) {
		most := maxFuzzSeeds
		if row.Family == transcripts {
			most = math.MaxInt
		}
		if seeds[row.Family]++; seeds[row.Family] <= most {
			addFuzzed(f, index, i%len(attacks.Modes(p.Name)), 0, row.Quirks, row.Steps)
		}
	}
	for _, row := range attacks.Honest(p.Name) {
		addFuzzed(f, index, 0, 7, row.Quirks, row.Steps)
	}
}
