package interop

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scanTimeout is for scanners, which make many connections.
const scanTimeout = 4 * time.Minute

// A scanner is a program that people check their servers with.
type scanner struct {
	program string
	args    []string
	knows   map[string][]string // the options for the protocols that it has upgrades for
	sees    []string            // patterns of what it prints of a server
	cannot  map[string]cannot   // protocols that it gives up on
	status  string              // that it ends with
}

// cannot is why a scanner does not upgrade: what it prints.
type cannot struct {
	options []string
	prints  string
}

// scanners are Debian's.
var scanners = []scanner{{
	program: "sslscan", args: []string{"--no-colour", "--no-heartbleed", "--no-groups", "--no-ciphersuites"},
	knows: map[string][]string{
		"ftp": {"--starttls-ftp"}, "imap": {"--starttls-imap"}, "irc": {"--starttls-irc"}, "mysql": {"--starttls-mysql"},
		"pop3": {"--starttls-pop3"}, "postgres": {"--starttls-psql"}, "smtp": {"--starttls-smtp"},
		"xmpp": {"--starttls-xmpp"}, "xmpp-server": {"--starttls-xmpp", "--xmpp-server"},
	},
	sees: []string{`(?m)^TLSv1\.3 +enabled`, `(?m)^TLSv1\.1 +disabled`, `Altnames: DNS:mail\.example\.com`},
	// It reads an answer up to the first zero in it.
	cannot: map[string]cannot{"ldap": {[]string{"--starttls-ldap"}, "STARTLS LDAP connection to .* failed with unknown error"}},
}, {
	program: "testssl", args: []string{"--quiet", "--color", "0", "--nodns", "none", "--warnings", "off", "--protocols"},
	knows: map[string][]string{
		"ftp": {"--starttls", "ftp"}, "imap": {"--starttls", "imap"}, "lmtp": {"--starttls", "lmtp"}, "mysql": {"--starttls", "mysql"},
		"nntp": {"--starttls", "nntp"}, "pop3": {"--starttls", "pop3"}, "postgres": {"--starttls", "postgres"},
		"smtp": {"--starttls", "smtp"}, "xmpp": {"--starttls", "xmpp", "--xmpphost", mailHost},
	},
	sees: []string{`TLS 1\.3 +offered \(OK\)`, `TLS 1\.1 +not offered`},
	cannot: map[string]cannot{
		"ldap":        {[]string{"--starttls", "ldap"}, `LDAP\+STARTTLS over sockets not supported yet`},
		"irc":         {[]string{"--starttls", "irc"}, "momentarily only ftp, .* and mysql allowed"},
		"telnet":      {[]string{"--starttls", "telnet"}, "STARTTLS protocol telnet is not yet supported"},
		"sieve":       {[]string{"--starttls", "sieve"}, "unrecognized STARTTLS protocol"},
		"xmpp-server": {[]string{"--starttls", "xmpp-server"}, "unrecognized STARTTLS protocol"},
	},
}, {
	// By way of openssl, which has no SSLv2 and no SSLv3, and so they count as failures.
	program: "testssl", args: []string{"--quiet", "--color", "0", "--nodns", "none", "--warnings", "off", "--protocols", "--ssl-native"},
	knows: map[string][]string{"ldap": {"--starttls", "ldap"}}, status: "exit status 1",
	sees: []string{`TLS 1\.3 +offered \(OK\)`, `TLS 1\.1 +not offered`, `SSLv3 +Local problem`},
}}

// TestScanners has the scanners look at all protocols that they have upgrades for. The table has
// what they name but cannot do, too.
func TestScanners(t *testing.T) {
	t.Parallel()
	need(t, "sslscan", "testssl")
	r := startUniversal(t, opensslKnows)
	for _, s := range scanners {
		for proto, options := range s.knows {
			t.Run(s.program+" "+proto, func(t *testing.T) {
				t.Parallel()
				out, err := s.scan(t, r.addr[proto], options)
				if s.status == "" {
					require.NoError(t, err, out)
				} else {
					require.EqualError(t, err, s.status, out)
				}
				for _, pattern := range s.sees {
					require.Regexp(t, pattern, out)
				}
			})
		}
		for proto, no := range s.cannot {
			t.Run(s.program+" cannot "+proto, func(t *testing.T) {
				t.Parallel()
				out, _ := s.scan(t, r.addr[proto], no.options)
				require.Regexp(t, no.prints, out)
			})
		}
	}
}

func (s *scanner) scan(t testing.TB, addr string, options []string) (string, error) {
	t.Helper()
	return run(t, scanTimeout, "", s.program, slices.Concat(s.args, options, []string{addr})...)
}

// nmapServices are nmap's names for the protocols that it has upgrades for. XMPP between servers is
// not one: there it opens a stream for clients.
var nmapServices = map[string]string{
	"ftp": "ftp", "imap": "imap", "ldap": "ldap", "lmtp": "lmtp", "mysql": "mysql", "nntp": "nntp", "pop3": "pop3",
	"postgres": "postgresql", "smtp": "smtp", "xmpp": "xmpp",
}

// TestNmap has it ask all protocols for ciphers and certificates. It goes by the name of a port's
// service, so it is given a list of those. In XMPP it looks for the certificate behind what a server says inside
// TLS, and there is none here.
func TestNmap(t *testing.T) {
	t.Parallel()
	need(t, "nmap")
	r := startUniversal(t, slices.Collect(maps.Keys(nmapServices)))
	var ports []string
	services := ""
	for proto, service := range nmapServices {
		ports = append(ports, port(t, r.addr[proto]))
		services += service + "\t" + port(t, r.addr[proto]) + "/tcp\t0.1\n"
	}
	dir := t.TempDir()
	writeFile(t, dir, "nmap-services", services)
	out, err := run(t, scanTimeout, "", "env", "NMAPDIR="+dir, "nmap", "-n", "-Pn", "--unprivileged", "-p", strings.Join(ports, ","),
		"--script", "+ssl-cert,+ssl-enum-ciphers", "127.0.0.1")
	require.NoError(t, err, out)
	for wanted, count := range map[string]int{
		"TLSv1.3:": len(ports), "TLS_AKE_WITH_AES_128_GCM_SHA256": len(ports), "Subject Alternative Name: DNS:" + mailHost: len(ports) - 1,
	} {
		require.Equal(t, count, strings.Count(out, wanted), "%s\n%s", wanted, out)
	}
}

// TestScannersOfRDP has them ask a front of xrdp. nmap counts any answer that selects something as success, so that CredSSP, which
// it asks for along with TLS, is in its list, too; standard RDP security would be there as "Native RDP". Its scripts for
// certificates, testssl.sh and s_client know no upgrade of RDP.
func TestScannersOfRDP(t *testing.T) {
	t.Parallel()
	need(t, "sslscan", "nmap")
	f := startFront(t, "rdp", []string{rdpHost}, startXrdp(t, xrdpPlain))
	out, err := run(t, scanTimeout, "", "sslscan", "--no-colour", "--no-heartbleed", "--no-groups", "--rdp", f.addr)
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^TLSv1\.3 +enabled`, out)
	require.Regexp(t, `(?m)^TLSv1\.1 +disabled`, out)
	require.Contains(t, out, "Altnames: DNS:"+rdpHost)
	out, err = run(t, scanTimeout, "", "nmap", "-n", "-Pn", "--unprivileged", "-p", port(t, f.addr), "--script", "+rdp-enum-encryption", "127.0.0.1")
	require.NoError(t, err, out)
	require.Contains(t, out, "SSL: SUCCESS")
	require.NotContains(t, out, "Native RDP")
	require.NotContains(t, out, "RDSTLS")
}
