package upgrade_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

func TestLookupSuggestsWhatIsMeant(t *testing.T) {
	for name, meant := range map[string]string{
		"submission": "smtp", "SMTP": "smtp", "smtps": "smtp", "mail": "smtp", "imaps": "imap", "pop3s": "pop3",
		"managesieve": "sieve", "postgresql": "postgres", "pgsql": "postgres", "jabber": "xmpp", "ldaps": "ldap",
	} {
		_, err := upgrade.Lookup(name)
		require.ErrorContains(t, err, `unknown protocol "`+name+`"; did you mean "`+meant+`"? It must be one of: `)
	}
	_, err := upgrade.Lookup("gopher")
	require.ErrorContains(t, err, `unknown protocol "gopher"; must be one of: `)
}

// A second name of a protocol is neither a protocol's name nor a name of two.
func TestAliasesAreNobodyElses(t *testing.T) {
	var seen []string
	for _, p := range upgrade.Protocols() {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			require.NotContains(t, seen, name)
			seen = append(seen, name)
		}
	}
}

// Each protocol that announces anything takes some words and refuses others.
func TestConfiguredCapabilities(t *testing.T) {
	const (
		fine      = ""
		login     = "offers to log in before TLS"
		announced = "is announced anyway"
		argument  = "looks like the argument of the one in front of it"
		word      = "must be a "
	)
	for name, capabilities := range map[string]map[string]string{
		"smtp": {
			"8BITMIME": fine, "SIZE 1000": fine, "FUTURERELEASE 1 2": fine, "AUTH PLAIN": login, "auth=LOGIN": login, "STARTTLS": announced,
			"1000": argument, "PLAIN": argument, "scram-sha-256": argument, "": word, `"SIZE"`: word, "A,B": word, "-X": word,
			"\u017fTARTTLS": word,
		},
		"imap": {
			"ID": fine, "LITERAL+": fine, "APPENDLIMIT=1000": fine, "LOGIN-REFERRALS": fine, "AUTH=PLAIN": login, "LOGIN": login,
			"starttls": announced, "IDLE AUTH=PLAIN": word, "1000": argument, "PLAIN": argument, "A]": word,
		},
		"pop3": {
			"TOP": fine, "EXPIRE 60": fine, "LOGIN-DELAY 900": fine, "USER": login, "SASL PLAIN": login, "stls": announced,
			"60": argument, ".": word, "LOGIN": login,
		},
		"sieve": {
			"NOTIFY": fine, "SASL": login, "SASL PLAIN": login, "STARTTLS": announced, "VERSION": announced, "MAXREDIRECTS 5": word, "5": argument,
		},
	} {
		p, err := upgrade.Lookup(name)
		require.NoError(t, err)
		for capability, want := range capabilities {
			err := p.CheckCapability(capability)
			if want == fine {
				require.NoError(t, err, "%s %q", name, capability)
				continue
			}
			require.ErrorContains(t, err, want, "%s %q", name, capability)
			require.Equal(t, want == login, errors.Is(err, dialogue.ErrOffersLogin))
		}
	}
}
