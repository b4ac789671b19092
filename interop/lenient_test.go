package interop

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// attackWays are how a client reaches a backend that does TLS of its own and grants
// privileges to Caddy's address: after an upgrade, with TLS from the first byte, and in
// plaintext, where the policy lets it.
var attackWays = []string{"starttls", "tls", "plain"}

// attackTimeout is for one session.
const attackTimeout = 10 * time.Second

// An attack is what a client sends, step by step, each with the pattern of all that comes
// back. What is sent can be read in two ways: by Caddy as harmless, and by the backend as
// a second upgrade, or as a claim to be somebody else, at {ip}.
type attack struct {
	name  string
	steps [][2]string
	ends  bool // Caddy ends the session for it
}

// once is an attack of one step, which the session survives.
func once(name, send, want string) attack {
	return attack{name: name, steps: [][2]string{{send, want}}}
}

// each makes an attack of every spelling, all of which are answered alike.
func each(want string, spellings ...string) (attacks []attack) {
	for _, send := range spellings {
		attacks = append(attacks, once(spelled(send), send, want))
	}
	return attacks
}

// spelled names an attack by what it sends.
func spelled(send string) string {
	name := fmt.Sprintf("%q", send)
	return fmt.Sprintf("%.60s (%d)", name, len(send))
}

// claimed is the address that an attack claims. They are all of one length, since there
// are attacks in which it counts.
func claimed(i int) string { return fmt.Sprintf("203.0.113.%d", 100+i) }

// attackBegin is a session up to the attack.
type attackBegin struct {
	greeting    string // where the client has one
	greetsInTLS bool   // also after an upgrade
	steps       [][2]string
	offer       string // what the backend must not be seen to offer
}

// attackRun is a protocol with its backend under attack.
type attackRun struct {
	*routes
	proto string
	begin func(way string) attackBegin
	rest  [][2]string // how a session goes on that survives
}

// startAttackRoutes runs Caddy in front of backends, which are keyed by the names of
// routes: a protocol and, behind a blank, perhaps more.
func startAttackRoutes(t testing.TB, clear string, backends map[string]string) *routes {
	t.Helper()
	handlers, hosts := make(map[string]string), []string{}
	for name, backend := range backends {
		proto, _, _ := strings.Cut(name, " ")
		host := matrixName(proto, matrixHost)
		hosts = append(hosts, host)
		for way, options := range map[string]string{"starttls": "", "tls": "implicit_tls", "plain": clear} {
			handlers[name+" "+way] = fmt.Sprintf("starttls %s %s {\n%s\n}\nproxy %s", proto, host, options, backend)
		}
	}
	return startRoutes(t, hosts, handlers)
}

// attack makes each of the attacks in each of the ways.
func (a *attackRun) attack(t *testing.T, name string, ways []string, attacks []attack) {
	t.Helper()
	for _, way := range ways {
		for i, attack := range attacks {
			t.Run(name+" "+way+" "+attack.name, func(t *testing.T) { a.once(t, name, way, claimed(i), attack) })
		}
	}
}

func (a *attackRun) once(t *testing.T, name, way, ip string, attack attack) {
	begin := a.begin(way)
	steps := slices.Concat(begin.steps, attack.steps)
	if !attack.ends {
		steps = append(steps, a.rest...)
	}
	for i := range steps {
		steps[i][0] = strings.ReplaceAll(steps[i][0], "{ip}", ip)
	}
	c := &matrixClient{t: t, Conn: a.dial(t, a.proto, way, a.addr[name+" "+way])}
	require.NoError(t, c.SetDeadline(time.Now().Add(attackTimeout)))
	c.hold(matrixDialogue{greeting: begin.greeting, greetsInTLS: begin.greetsInTLS, offer: begin.offer, steps: steps}, way)
}

// logOf reads the log of a server that insists on writing it to a file.
func logOf(path string) func() string {
	return func() string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
}

// awaitSessions waits until a log has the ends of all sessions, and returns it.
func awaitSessions(t testing.TB, log func() string, end string, count int) string {
	t.Helper()
	eventually(t, startTimeout, fmt.Sprintf("%d sessions to end in the log", count), func() bool {
		return strings.Count(log(), end) >= count
	})
	return log()
}

// requireWarnedOnce requires that each route of a protocol has warned once of what the
// backend grants to Caddy's address.
func (r *routes) requireWarnedOnce(t testing.TB, proto string, routes int) {
	t.Helper()
	warnings := 0
	for line := range strings.Lines(r.Log()) {
		if strings.Contains(line, `"protocol":"`+proto+`"`) && strings.Contains(line, "XCLIENT") {
			require.Contains(t, line, `"level":"warn"`)
			warnings++
		}
	}
	require.Equal(t, routes, warnings)
}
