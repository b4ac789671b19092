package interop

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const lmtpReply = `(250-.*\r\n)+250 .*\r\n`

func lmtpBegin(way string) attackBegin {
	b := attackBegin{greeting: `220 .*\r\n`, steps: [][2]string{{"LHLO client.example\r\n", lmtpReply}}}
	if way == "plain" {
		b.steps = append(b.steps, [2]string{"MAIL FROM:<mallory@example.net>\r\n", `250 .*\r\n`},
			[2]string{"LHLO client.example\r\n", lmtpReply})
	}
	b.offer = `250.(XCLIENT|XRCPTFORWARD)`
	return b
}

// lmtpRest delivers a mail, so that the log has a line on who has.
func lmtpRest(text string) [][2]string {
	return [][2]string{
		{"RSET\r\n", `250 .*\r\n`},
		{"MAIL FROM:<bob@example.net>\r\n", `250 .*\r\n`}, {"RCPT TO:<" + mailAddress + ">\r\n", `250 .*\r\n`},
		{"DATA\r\n", `354.*\r\n`}, {strings.ReplaceAll(text, "\r\n.", "\r\n..") + ".\r\n", `250 .*\r\n`},
		{"QUIT\r\n", `221 .*\r\n`},
	}
}

// lmtpForwards pass on what a proxy knows of a recipient.
func lmtpForwards() []attack {
	const mail = "MAIL FROM:<mallory@example.net>\r\n"
	var attacks []attack
	for _, parameter := range []string{" XRCPTFORWARD=YQo=", "\tXRCPTFORWARD=YQo=", " xrcptforward=YQo=", " NOTIFY=NEVER XRCPTFORWARD=YQo="} {
		attacks = append(attacks, attack{name: spelled(parameter), steps: [][2]string{
			{mail, `250 .*\r\n`}, {"RCPT TO:<" + mailAddress + ">" + parameter + "\r\n", `502 5\.5\.1 .*\r\n`},
		}})
	}
	return attacks
}

// TestLenientDovecotLMTP is TestLenientPostfix for LMTP.
func TestLenientDovecotLMTP(t *testing.T) {
	t.Parallel()
	text := message("lmtp")
	r := startTrustingDovecot(t, "lmtp", lmtpBegin, lmtpRest(text))
	attacks := slices.Concat(smtpClaims(), smtpUpgrades(), lmtpForwards())
	r.attack(t, "lmtp", attackWays, attacks)
	r.attack(t, "lmtp", attackWays, smtpSmuggled())
	r.d.delivered(t, len(attackWays)*len(attacks))
	log := awaitSessions(t, r.d.Log, ": Disconnect from ", strings.Count(r.d.Log(), ": Connect from "))
	requireNoTrace(t, log)
	require.NotRegexp(t, `Disconnect from (1[013-9]|2)`, log)
	require.Len(t, r.d.mails(), len(attackWays)*len(attacks))
	r.requireWarnedOnce(t, "lmtp", len(attackWays))
	r.requireNotices(t, r.d.lmtp, slices.Concat([][2]string{
		{"LHLO client.example\r\n", lmtpReply}, {"XCLIENT ADDR=203.0.113.7\r\n", `220 .*\r\n`}, {"LHLO client.example\r\n", lmtpReply},
	}, lmtpRest(text)), `220 .*\r\n`, `Disconnect from 203\.0\.113\.7:`)
}
