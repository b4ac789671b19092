package interop

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// hardenedClients are what clients in plaintext say first, and what those hear that
// cannot be served: each protocol's word for a server that is not available.
var hardenedClients = map[string]struct{ send, want string }{
	"smtp":     {"EHLO client.example\r\nAUTH PLAIN " + plainResponse() + "\r\n", `\A421 4\.\d\.\d .*\r\n\z`},
	"lmtp":     {"LHLO client.example\r\n", `\A421 4\.\d\.\d .*\r\n\z`},
	"imap":     {"a LOGIN alice \"open sesame\"\r\n", `\A\* BYE \[UNAVAILABLE\] .*\r\n\z`},
	"pop3":     {"USER alice\r\nPASS open sesame\r\n", `\A-ERR .*\r\n\z`},
	"sieve":    {"AUTHENTICATE \"PLAIN\" \"" + plainResponse() + "\"\r\n", `\ABYE .*\r\n\z`},
	"irc":      {"PASS sesame\r\nNICK joe\r\n", `\AERROR :Closing Link: .*\r\n\z`},
	"ldap":     {ldapBind, `\A\x30.\x02\x01\x02\x61.\x0a\x01\x34`}, // unavailable(52)
	"postgres": {pgStartup(pgGuest), `\AE(?s:.*)\x00C(57P03|08006)\x00`},
	"xmpp": {
		xmppHeader + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAG9wZW4gc2VzYW1l</auth>",
		`<stream:error>(?s:.*)</stream:error></stream:stream>`,
	},
}

// ldapBind is the user's login, with the message id 2.
const ldapBind = "\x30\x31\x02\x01\x02\x60\x2c\x02\x01\x03\x04\x1a" + ldapUser + "\x80\x0b" + ldapPassword

// TestHardenedFailures has servers with a certificate of another CA, with one for
// another name, and that are down. The client must hear so in its own protocol. What
// it had to say, its password above all, must not go up.
func TestHardenedFailures(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	servers := startHardened(t, ca)
	handlers := make(map[string]string)
	taps := make(map[string]*tap)
	for proto, server := range servers {
		tap := startTap(t, server.addr)
		taps[proto] = tap
		handlers[proto+" wrong CA"] = upgradeUpstream(proto, tap.addr, upName(proto), other)
		handlers[proto+" wrong name"] = upgradeUpstream(proto, tap.addr, "wrong.example.com", ca)
		handlers[proto+" down"] = upgradeUpstream(proto, freeAddr(t), upName(proto), ca)
		handlers[proto] = upgradeUpstream(proto, server.addr, upName(proto), ca)
	}
	r := startRoutes(t, nil, handlers)
	for proto, client := range hardenedClients {
		for _, failure := range []string{"wrong CA", "wrong name", "down"} {
			t.Run(proto+" "+failure, func(t *testing.T) {
				reply := plainReply(t, r.addr[proto+" "+failure], client.send)
				require.Regexp(t, client.want, reply)
				require.NotContains(t, reply, "backend.example.com", "the server in plaintext was quoted")
			})
		}
		require.Greater(t, len(taps[proto].up.String()), 100, "no handshake was tried with the server for "+proto)
		taps[proto].requireNone(t, "sesame", plainResponse(), "AGFsaWNlAG9wZW4gc2VzYW1l", pgGuest, "alice")
	}
	for proto, server := range servers {
		if dialogue := matrixDialogues[proto]; dialogue != nil {
			t.Run(proto+" logs in", func(t *testing.T) { r.requireFirstLogin(t, proto, server, dialogue("starttls")) })
		}
	}
}

// upName is the name to verify, which in XMPP is the domain.
func upName(proto string) string { return matrixName(proto, upHost) }

// startHardened runs all servers that demand TLS.
func startHardened(t testing.TB, ca *authority) map[string]*hardened {
	t.Helper()
	d, servers := hardenedDovecot(t, ca)
	servers["smtp"] = hardenedPostfix(t, ca, d, "")
	servers["ldap"] = hardenedSlapd(t, ca)
	servers["xmpp"] = hardenedProsody(t, ca)
	irc, log := startInspIRCd(t, ca, ircNeedsTLS)
	servers["irc"] = &hardened{addr: irc, log: logOf(log)}
	db := hardenedPostgres(t, ca)
	servers["postgres"] = &hardened{addr: db.addr, log: db.Log}
	return servers
}

// loginLogged is what servers log of those who got as far as a login.
var loginLogged = map[string]string{
	"smtp":     `sasl_username=`,
	"imap":     `imap-login: .*user=<alice>`,
	"pop3":     `pop3-login: .*user=<alice>`,
	"sieve":    `managesieve-login: .*user=<alice>`,
	"irc":      `QuitUser: \w+=joe`,
	"ldap":     ` BIND `,
	"xmpp":     `Authenticated`,
	"postgres": `user=guest`,
}

// requireFirstLogin requires that nobody has logged in before, and that the log would
// have said so.
func (r *routes) requireFirstLogin(t testing.TB, proto string, server *hardened, d matrixDialogue) {
	t.Helper()
	require.NotRegexp(t, loginLogged[proto], server.log())
	c := &matrixClient{t: t, Conn: r.dial(t, proto, "plain", r.addr[proto])}
	c.hold(d, "plain")
	eventually(t, startTimeout, "the log of "+proto, func() bool { return matches(loginLogged[proto], server.log()) })
}

// TestHardenedFailuresToTools shows what people get to read.
func TestHardenedFailuresToTools(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ca, other := newAuthority(t), newAuthority(t)
	db, slapd := hardenedPostgres(t, ca), hardenedSlapd(t, ca)
	_, mail := hardenedDovecot(t, ca)
	r := startRoutes(t, nil, map[string]string{
		"postgres":      upgradeUpstream("postgres", db.addr, upHost, other),
		"ldap":          upgradeUpstream("ldap", slapd.addr, upHost, other),
		"imap":          upgradeUpstream("imap", mail["imap"].addr, upHost, other),
		"postgres down": upgradeUpstream("postgres", freeAddr(t), upHost, ca),
		"ldap down":     upgradeUpstream("ldap", freeAddr(t), upHost, ca),
		"imap down":     upgradeUpstream("imap", freeAddr(t), upHost, ca),
	})
	for suffix, text := range map[string]string{
		"": "Upstream certificate could not be verified", " down": "Upstream not available",
	} {
		for _, mode := range []string{"disable", "prefer"} {
			out, err := psql(t, pgLogin(t, r.addr["postgres"+suffix])+" sslmode="+mode, "SELECT 1")
			require.Error(t, err)
			require.Contains(t, out, "FATAL:  "+text)
		}
		out, err := r.front("ldap", "ldap"+suffix).ldap(t, "ldapwhoami")
		require.Error(t, err)
		require.Contains(t, out, "Server is unavailable (52)")
		require.Contains(t, out, "additional info: "+text)
		out, err = run(t, clientTimeout, "", "curl", "-sSv", "-u", mailUser+":"+mailPassword, "imap://"+r.addr["imap"+suffix]+"/")
		require.Error(t, err)
		require.Contains(t, out, "* BYE [UNAVAILABLE] "+text)
	}
}
