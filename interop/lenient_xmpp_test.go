package interop

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	xmppUpgrade  = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	xmppOpened   = `(?s:(<\?xml [^>]*>)?<stream:stream [^>]*>\s*<stream:features>.*</stream:features>)`
	xmppRefused  = `(?s:.*)<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>`
	xmppBadBegin = `(?s:.*)<stream:error><`
)

// xmppNegotiated is what Prosody says of an upgrade that it has granted.
const xmppNegotiated = `TLS negotiation|<proceed|<starttls`

// xmppAttacks put a request for a second upgrade behind what a parser may stumble over.
func xmppAttacks() (attacks []attack) {
	deep := func(n int) string {
		return "<presence>" + strings.Repeat("<a>", n) + strings.Repeat("</a>", n) + "</presence>"
	}
	for _, send := range []string{
		xmppUpgrade, "<starttls xmlns=\"urn:ietf:params:xml:ns:xmpp-tls\"></starttls>", " \n" + xmppUpgrade,
		"<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/>", "<starttls\n\txmlns='urn:ietf:params:xml:ns:xmpp-tls'\n/>",
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-&#116;ls'/>",
		"<presence><![CDATA[x]]></presence>" + xmppUpgrade, "<presence><![CDATA[]]]]></presence>" + xmppUpgrade,
		"<presence><![CDATA[</presence>]]></presence>" + xmppUpgrade, "<presence><![CDATA[<a>]]></presence>" + xmppUpgrade,
		deep(9) + xmppUpgrade, deep(200) + xmppUpgrade, "<presence a='>'/>" + xmppUpgrade, xmppHeader + xmppUpgrade,
		"\x00" + xmppUpgrade,
	} {
		attacks = append(attacks, attack{name: spelled(send), ends: true, steps: [][2]string{{send, xmppRefused}}})
	}
	for condition, sends := range map[string][]string{
		"restricted-xml": {
			"<!-- x -->" + xmppUpgrade, "<presence><!-- x --></presence>" + xmppUpgrade, "<?x y?>" + xmppUpgrade,
			"<presence><?x y?></presence>" + xmppUpgrade, "<!DOCTYPE x>" + xmppUpgrade,
		},
		"not-well-formed":  {"<presence a=1/>" + xmppUpgrade, "<presence>&x;<" + xmppUpgrade, "</presence>" + xmppUpgrade},
		"policy-violation": {deep(300) + xmppUpgrade, "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>" + xmppUpgrade},
	} {
		for _, send := range sends {
			attacks = append(attacks, attack{name: spelled(send), ends: true, steps: [][2]string{
				{send, xmppBadBegin + condition + ` (?s:.*)</stream:stream>`},
			}})
		}
	}
	return attacks
}

// TestLenientProsody asks a Prosody with TLS of its own for that, inside TLS.
func TestLenientProsody(t *testing.T) {
	t.Parallel()
	addr, prosody := startProsodyWith(t, prosodyTLS(t)+"\nlog = { { levels = { min = \"debug\" }, to = \"console\" } }")
	r := &attackRun{startAttackRoutes(t, "", map[string]string{"xmpp": addr}), "xmpp", nil, nil}
	r.begin = func(string) attackBegin {
		return attackBegin{steps: [][2]string{{xmppHeader, xmppOpened}}, offer: "starttls|proceed"}
	}
	ways := []string{"starttls", "tls"}
	r.attack(t, "xmpp", ways, xmppAttacks())
	log := awaitSessions(t, prosody.Log, "Client disconnected", strings.Count(prosody.Log(), "Client connected"))
	require.GreaterOrEqual(t, strings.Count(log, "Client connected"), len(ways)*len(xmppAttacks()))
	require.NotRegexp(t, xmppNegotiated, log)
	for _, way := range ways {
		t.Run("session "+way, func(t *testing.T) { r.requireOddSession(t, way) })
	}

	c := &matrixClient{t: t, Conn: r.dial(t, "xmpp", "plain", addr)}
	_, err := c.Write([]byte(xmppHeader + "<presence><![CDATA[x]]></presence>" + xmppUpgrade))
	require.NoError(t, err)
	c.expect(`(?s:.*)<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`)
	eventually(t, startTimeout, "Prosody to log the upgrade", func() bool { return matches(xmppNegotiated, prosody.Log()) })
}

// requireOddSession logs in and sends itself a message, with CDATA and elements that are
// deeply nested, before the filter has left and after.
func (a *attackRun) requireOddSession(t *testing.T, way string) {
	const nested = 100
	deep := strings.Repeat("<a xmlns='urn:x'>", nested) + "x" + strings.Repeat("</a>", nested)
	bind := strings.Replace(xmppSteps[3][0], ">test<", "><![CDATA[test]]><", 1)
	require.Contains(t, bind, "CDATA")
	login := [2]string{strings.Replace(xmppSteps[1][0], plainResponse(), "<![CDATA["+plainResponse()+"]]>", 1), xmppSteps[1][1]}
	c := &matrixClient{t: t, Conn: a.dial(t, "xmpp", way, a.addr["xmpp "+way])}
	c.hold(matrixDialogue{offer: "starttls", steps: [][2]string{
		xmppSteps[0], login, xmppSteps[2], {bind, xmppSteps[3][1]},
		{
			"<message to='" + xmppUser + "@" + xmppHost + "/test' id='m1'><body><![CDATA[a < b]]></body>" + deep + "</message>",
			`(?s:<message .*<body>a &lt; b</body>(<a[^>]*>){100}x(</a>){100}</message>)`,
		},
		{"</stream:stream>", `</stream:stream>`},
	}}, way)
}
