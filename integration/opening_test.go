package integration_test

import (
	"io"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// An opening is what a client, and the upstream inside TLS, say until everything passes, and
// the pattern of what the client has heard by then. Of what the client says the upstream gets
// as many octets as arrive says.
type opening struct {
	client, upstream, pattern string
	arrive                    int
}

// open has a client say what it must before the upstream is upgraded.
func (j *joint) open(t testing.TB, client io.Writer) {
	t.Helper()
	if o := j.up.talk.opening; o != nil {
		writes(t, client, o.client)
	}
}

// requireMatches reads until all that has come matches a pattern.
func requireMatches(t testing.TB, from io.Reader, pattern string) {
	t.Helper()
	var got []byte
	for one := make([]byte, 1); !regexp.MustCompile(pattern).MatchString(testkit.Latin1(got)); got = append(got, one...) {
		_, err := io.ReadFull(from, one)
		require.NoError(t, err, "after %q", got)
	}
}
