package library

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const ldapUser = "cn=alice,dc=example,dc=com"

// startFakeLDAP runs a server that upgrades, and lets one user bind.
func startFakeLDAP(t testing.TB) (addr string) {
	t.Helper()
	inner := listen(t)
	ln := upgrade.NewListener(inner, upgrade.LDAP, &upgrade.Config{TLS: newPKI(t).server})
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveFakeLDAP(conn.(*upgrade.Conn))
		}
	}()
	return inner.Addr().String()
}

func serveFakeLDAP(conn *upgrade.Conn) {
	defer conn.Close()
	for {
		request, err := ber.ReadPacket(conn)
		if err != nil || len(request.Children) < 2 || len(request.Children[1].Children) < 3 {
			return
		}
		bind := request.Children[1]
		code := ldap.LDAPResultInvalidCredentials
		if bind.Children[1].Data.String() == ldapUser && bind.Children[2].Data.String() == password {
			code = ldap.LDAPResultSuccess
		}
		answer := ber.NewSequence("")
		answer.AppendChild(request.Children[0])
		result := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationBindResponse, nil, "")
		result.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""))
		for range 2 {
			result.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
		}
		answer.AppendChild(result)
		if _, err := conn.Write(answer.Bytes()); err != nil {
			return
		}
	}
}

func TestDialLDAP(t *testing.T) { requireLDAP(t, startFakeLDAP(t)) }

func TestDialLDAPToOpenLDAP(t *testing.T) {
	addr := startSlapd(t)
	client := requireLDAP(t, addr)
	found, err := client.Search(ldap.NewSearchRequest("dc=example,dc=com", ldap.ScopeWholeSubtree, ldap.NeverDerefAliases,
		0, 10, false, "(sn=Liddell)", []string{"cn"}, nil))
	require.NoError(t, err)
	require.Len(t, found.Entries, 1)
	require.Equal(t, ldapUser, found.Entries[0].DN)
}

// requireLDAP binds, which these servers allow inside TLS alone, and not with a wrong password.
func requireLDAP(t *testing.T, addr string) *ldap.Conn {
	client, err := DialLDAP(within(t, 20*time.Second), addr, newPKI(t).client)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	client.SetTimeout(20 * time.Second)
	require.True(t, ldap.IsErrorWithCode(client.Bind(ldapUser, "wrong"), ldap.LDAPResultInvalidCredentials))
	require.NoError(t, client.Bind(ldapUser, password))
	require.ErrorContains(t, client.StartTLS(nil), "already encrypted")
	return client
}

func TestDialLDAPVerifies(t *testing.T) {
	config := *newPKI(t).client
	config.TLS = config.TLS.Clone()
	config.TLS.ServerName = "other.example.com"
	_, err := DialLDAP(within(t, 20*time.Second), startFakeLDAP(t), &config)
	require.ErrorContains(t, err, "certificate is valid for "+host+", not other.example.com")
}

// startSlapd runs an OpenLDAP server that takes passwords inside TLS only.
func startSlapd(t testing.TB) (addr string) {
	t.Helper()
	slapd, slapadd := program(t, "slapd"), program(t, "slapadd")
	p, dir := newPKI(t), testkit.ServerDir(t)
	writeFile(t, dir, "cert.pem", string(p.cert), 0o644)
	writeFile(t, dir, "key.pem", string(p.key), 0o600)
	config := writeFile(t, dir, "slapd.conf", fmt.Sprintf(slapdConf, dir), 0o644)
	entries := writeFile(t, dir, "entries.ldif", "dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: Example\n\n"+
		"dn: "+ldapUser+"\nobjectClass: person\nsn: Liddell\nuserPassword: "+password+"\n", 0o644)
	out, err := exec.Command(slapadd, "-q", "-f", config, "-l", entries).CombinedOutput()
	require.NoError(t, err, "%s", out)
	addr = testkit.FreeAddress(t)
	start(t, addr, slapd, "-f", config, "-h", "ldap://"+addr, "-d", "stats")
	return addr
}

const slapdConf = `
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_ldif
pidfile %[1]s/slapd.pid
argsfile %[1]s/slapd.args
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
security simple_bind=128
database ldif
suffix "dc=example,dc=com"
directory %[1]s
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth
`
