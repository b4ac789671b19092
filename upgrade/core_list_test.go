package upgrade

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A backend's list of capabilities never offers the upgrade again, however long it is
// and however it comes, and our own replies are never amid it.
func TestLongListNeverOffersTheUpgrade(t *testing.T) {
	for name, test := range map[string]struct {
		words, part int
		last        string
	}{
		"whole":         {1000, 16 << 10, "X-SOMETHING AUTH=PLAIN\r\nb BAD "},
		"in parts":      {1000, 4096, "X-SOMETHING AUTH=PLAIN\r\nb BAD "},
		"long":          {3000, 1 << 20, ""},
		"long in parts": {3000, 4096, ""},
	} {
		inBubble(t, name, func(t *testing.T) {
			s := upgradedSession(t, IMAP, Config{Hostname: testHost})
			defer s.end()
			client, backend := hear(s.client), hear(s.next)
			tell(t, s.next, "* OK hello\r\n")
			tell(t, s.client, "a CAPABILITY\r\n")
			require.Equal(t, "a CAPABILITY\r\n", backend.news())
			list := "* CAPABILITY IMAP4rev1 " + strings.Repeat("X-SOMETHING ", test.words) + "STARTTLS AUTH=PLAIN\r\n"
			for len(list) > 0 {
				n := min(test.part, len(list))
				tell(t, s.next, list[:n])
				tell(t, s.client, "b STARTTLS\r\n")
				require.Empty(t, backend.news())
				list = list[n:]
			}
			heard := client.news()
			requireWholeLines(t, heard)
			require.Contains(t, heard, test.last)
		})
	}
}

// requireWholeLines asserts that each line is the backend's or ours, and whose the
// word is.
func requireWholeLines(t *testing.T, heard string) {
	t.Helper()
	for line := range strings.SplitSeq(heard, "\r\n") {
		start := line[:min(len(line), 40)]
		switch {
		case strings.HasPrefix(line, "b BAD "):
			require.Equal(t, "b BAD TLS is already active", line)
		default:
			require.False(t, strings.Contains(line, "STARTTLS"), start)
			require.False(t, strings.Contains(line, "b BAD"), start)
		}
	}
}
