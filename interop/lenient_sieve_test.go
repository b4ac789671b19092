package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sieveRest is a login and an end.
var sieveRest = [][2]string{
	{`AUTHENTICATE "PLAIN" "` + plainResponse() + `"` + "\r\n", `OK.*\r\n`}, {"LISTSCRIPTS\r\n", `OK.*\r\n`}, {"LOGOUT\r\n", `OK.*\r\n`},
}

const sieveCapabilities = `("([A-RT-WYZ]|SIEVE|SASL).*\r\n)+OK.*\r\n` // neither STARTTLS nor XCLIENT

func sieveBegin(way string) attackBegin {
	b := attackBegin{greeting: sieveCapabilities, greetsInTLS: true, offer: "XCLIENT|Begin TLS"}
	if way == "plain" {
		b.greeting = `(".*\r\n)+OK.*\r\n`
		b.steps = [][2]string{{`AUTHENTICATE "PLAIN" "AGFsaWNlAHdyb25n"` + "\r\n", `NO.*\r\n`}}
	}
	b.steps = append(b.steps, [2]string{"CAPABILITY\r\n", sieveCapabilities})
	return b
}

// sieveAttacks are spellings of both commands, and what looks like a literal and is none,
// or is one that Dovecot does not read.
func sieveAttacks() []attack {
	attacks := each(`NO .*\r\n`, "XCLIENT ADDR={ip}\r\n", "XCLIENT ADDR={ip} PORT=1\r\n", "xclient addr={ip}\n", "XCLIENT\tADDR={ip}\r\n",
		" XCLIENT ADDR={ip}\r\n", "XCLIENT\x00 ADDR={ip}\r\n", "XCLIENT ADDR={ip}\x00\r\n", "XCLIENT \"ADDR={ip}\"\r\n",
		"XCLIENT ADDR={ip} {3+}\r\nabc\r\n", "XCLIENT ADDR={ip} {0+}\r\n\r\n", "XCLIENT {18+}\r\nADDR={ip}\r\n",
		"STARTTLS\r\n", "starttls\n", " STARTTLS\r\n", "STARTTLS \r\n", "STARTTLS\t\r\n", "STARTTLS now\r\n", "STARTTLS \"\"\r\n",
		"STARTTLS\x00\r\n", "STARTTLS\x00x\r\n", "STARTTLS\v\r\n", "STARTTLS\r\r\n", "\u017fTARTTLS\r\n", "STARTTLS {0+}\r\n\r\n",
		"STARTTLS"+strings.Repeat(" ", 9000)+"\r\n", "XCLIENT ADDR={ip}"+smtpBlanks+"\r\n")
	for _, hidden := range []string{"XCLIENT ADDR={ip} PORT=1\r\n", "STARTTLS\r\n"} {
		size := len(strings.ReplaceAll(hidden, "{ip}", claimed(0)))
		for _, hides := range []string{`NOOP "a{%d+}`, "X {%d+}", "{%d+}", "NOOP {%d+}", "NOOP a{%d+}", `NOOP "a" {%d+}`, "NOOP {%d}", "CAPABILITY {%d+}", "LOGOUTX {%d+}"} {
			attacks = append(attacks, attack{name: spelled(hides + " " + hidden), ends: true, steps: [][2]string{
				{fmt.Sprintf(hides, size) + "\r\n" + hidden + "\r\nLOGOUT\r\n", `(?s:.*)(OK|BYE).*\r\n`},
			}})
		}
	}
	return attacks
}

// TestLenientDovecotSieve is TestLenientDovecotIMAP for ManageSieve.
func TestLenientDovecotSieve(t *testing.T) {
	t.Parallel()
	r := startTrustingDovecot(t, "sieve", sieveBegin, sieveRest)
	attacks := sieveAttacks()
	r.attack(t, "sieve", attackWays, attacks)
	r.requireUnmoved(t, 10)
	r.requireWarnedOnce(t, "sieve", len(attackWays))
	r.requireNotices(t, r.d.sieve, slices.Concat([][2]string{{"XCLIENT ADDR=203.0.113.7 PORT=1\r\n", `(".*\r\n)*OK.*\r\n`}}, sieveRest),
		`(".*\r\n)+OK.*\r\n`, `Login: user=<alice>, .* rip=203\.0\.113\.7,`)
}
