package imap_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/imap"
)

// words are what a client that means harm makes its commands of.
var words = []string{
	"a", "b", "STARTTLS", "starttls", "ID", "LOGIN", "NOOP", "AUTHENTICATE", "XCLIENT", "NIL", "APPEND", "%", "*", "+",
	" ", " ", " ", " ", "\t", "\r\n", "\r\n", "\r\n", "\n", "\r", "\x00", "\x0b", "\x7f", "\\", `"`, "~",
	"{12+}\r\n", " {3+}\r\n", ` ("name" {10+}` + "\r\n", "{0+}\n", " {5}\r\n", "(", ")", `"x"`, `("x-a"`, `"x-a"`, `"\x-a"`,
	"a STARTTLS\r\n", "b\tSTARTTLS\n", "a LOGIN joe ", "a ID (", `a ID ("name" {12+}` + "\r\n", "a LOGIN {12+}\r\n",
	"a LOGIN {24+}\r\n", strings.Repeat(" ", 8000), strings.Repeat("x", 9000),
}

// However a client spells and groups its commands, no line that could be STARTTLS
// reaches a backend which has not asked for a literal, and neither does a field of ID
// that the backend takes from its proxies: the backend may have another idea of what
// is a literal, and where a command begins.
func TestKeepsCommandsBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	passed := 0
	for range 30000 {
		var said []byte
		for range 1 + random.IntN(24) {
			said = append(said, words[random.IntN(len(words))]...)
		}
		got := backendGets(said)
		passed += len(got)
		for line := range bytes.Lines(got) {
			words := bytes.FieldsFunc(line, func(r rune) bool { return r <= ' ' })
			if len(words) < 2 {
				continue
			}
			verb := strings.ToUpper(string(words[1]))
			require.NotEqual(t, "STARTTLS", verb, "%q of %q", got, said)
			require.NotEqual(t, "XCLIENT", verb, "%q of %q", got, said)
			if verb == "ID" {
				require.NotContains(t, string(line), `("x-a"`, "%q of %q", got, said)
			}
		}
	}
	require.Greater(t, passed, 100000, "hardly anything has passed")
}

// backendGets is what a backend that has greeted gets of what a client says.
func backendGets(said []byte) []byte {
	s := dialogue.Situation{Client: dialogue.Greeted, Options: new(dialogue.Options)}
	x := dialogue.NewExchange(imap.Protocol.Join(s), func(error) []byte { return nil }, func(string) {})
	x.BackendSays([]byte("* OK [CAPABILITY IMAP4rev1 STARTTLS LITERAL+] ready\r\n"))
	got := make([]byte, len(said)+1)
	return got[:x.ClientSays(said, got)]
}
