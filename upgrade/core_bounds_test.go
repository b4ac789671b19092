package upgrade

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// maxKept is what may stay with us of what one side has said, with room to spare.
const maxKept = 64 << 10

// requireNothingKept asserts that the other side has had what was said, but for a
// bounded part, or that the session has ended over it.
func requireNothingKept(t *testing.T, said int, heard *hearing) {
	t.Helper()
	got, err := heard.total()
	require.True(t, err != nil || said-got <= maxKept, "%d octets were taken, %d passed on", said, got)
}

// sayMuch says something as often as it is let, and returns how much was taken.
func sayMuch(to io.Writer, part string, times int) (taken func() int) {
	count := make(chan int, times)
	go func() {
		for range times {
			n, err := io.WriteString(to, part)
			count <- n
			if err != nil {
				return
			}
		}
	}()
	return func() int {
		synctest.Wait()
		all := 0
		for len(count) > 0 {
			all += <-count
		}
		return all
	}
}

// A backend's reply that never ends is not collected for ever, neither as a greeting
// nor as an answer.
func TestEndlessReplyIsNotCollected(t *testing.T) {
	const part = "250-backend goes on and on, a line at a time, and does not come to an end\r\n"
	inBubble(t, "answer", func(t *testing.T) {
		s := upgradedSession(t, SMTP, Config{Hostname: testHost})
		defer s.end()
		client, backend := hear(s.client), hear(s.next)
		tell(t, s.next, "220 backend ESMTP\r\n")
		tell(t, s.client, "EHLO client.example\r\n")
		require.Equal(t, "EHLO client.example\r\n", backend.news())
		requireNothingKept(t, sayMuch(s.next, part, 10_000)(), client)
	})
	inBubble(t, "greeting", func(t *testing.T) {
		s := upgradedSession(t, SMTP, Config{Hostname: testHost})
		defer s.end()
		client := hear(s.client)
		hear(s.next)
		taken := sayMuch(s.next, strings.Replace(part, "250", "220", 1), 10_000)
		time.Sleep(DefaultNegotiationTimeout + time.Second) // a greeting is swallowed, but has its time
		requireNothingKept(t, taken(), client)
	})
}

// ldapSearch is what only a backend can answer, and asks for no password.
const ldapSearch = "\x30\x07\x02\x01\x01\x63\x02\x04\x00"

// So it is with a client's message that never ends, or is larger than any that is
// looked at: a cleartext client of LDAP is the one whose messages are.
func TestEndlessMessageIsNotCollected(t *testing.T) {
	for name, size := range map[string]uint32{"1 MiB": 1 << 20, "2 GiB": 1 << 31, "24 KiB": 24 << 10} {
		inBubble(t, name, func(t *testing.T) {
			s := cleartextSession(t, LDAP, ldapSearch)
			defer s.end()
			client, backend := hear(s.client), hear(s.next)
			require.Equal(t, ldapSearch, backend.news())
			tell(t, s.client, string(binary.BigEndian.AppendUint32([]byte{0x30, 0x84}, size)))
			taken := sayMuch(s.client, strings.Repeat("m", 4096), int(min(size, 1<<20))/4096-1)()
			got, err := backend.total()
			_, clientEnd := client.total()
			require.True(t, err != nil || clientEnd != nil || taken-got <= 16<<10,
				"%d octets were taken, %d passed on", taken, got)
		})
	}
}
