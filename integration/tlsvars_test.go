package integration_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tls"
	"github.com/stretchr/testify/require"
)

// traces are what terminated TLS leaves on a connection, for other modules to read.
type traces struct {
	placeholders map[string]any // absent: unknown
	hellos       any
	states       any
}

func tracesOf(cx *layer4.Connection) traces {
	found := traces{map[string]any{}, cx.GetVar("tls_client_hellos"), cx.GetVar("tls_connection_states")}
	for _, name := range tlsPlaceholders() {
		if value, ok := cx.Replacer().Get(name); ok {
			found.placeholders[name] = value
		}
	}
	return found
}

// tlsPlaceholders are all that caddy-l4's tls handler sets, and some that it does not.
func tlsPlaceholders() (names []string) {
	for _, field := range []string{
		"server_name", "version", "cipher_suite", "proto", "proto_mutual", "resumed", "ech", "Version", "SERVER_NAME", "nothing", "",
	} {
		names = append(names, "l4.tls."+field)
	}
	for _, field := range []string{
		"subject", "issuer", "serial", "fingerprint", "public_key", "public_key_sha256",
		"certificate_pem", "certificate_der_base64", "Subject", "nothing", "san", "subject.", "san.", "serial.0", "",
	} {
		names = append(names, "l4.tls.client."+field)
	}
	for _, group := range []string{"subject", "issuer", "Issuer"} {
		names = append(names, "l4.tls.client."+group+".common_name", "l4.tls.client."+group+".serial", "l4.tls.client."+group+".serial.0")
		for _, field := range []string{
			"organization", "organizational_unit", "country", "locality", "province", "street_address", "postal_code", "nothing", "",
		} {
			names = append(names, withIndices("l4.tls.client."+group+"."+field)...)
		}
	}
	for _, field := range []string{"dns_names", "emails", "ips", "uris", "nothing", "DNS_Names"} {
		names = append(names, withIndices("l4.tls.client.san."+field)...)
	}
	return names
}

func withIndices(name string) (all []string) {
	for _, index := range []string{"", ".0", ".1", ".2", ".-1", ".x", ".", ".0.0", "0"} {
		all = append(all, name+index)
	}
	return all
}

// What reads the traces of caddy-l4's tls handler finds the same ones, of the same
// types, behind an upgrade.
func TestTracesOfTLSAreThoseOfTheTLSHandler(t *testing.T) {
	ca := newDetailedCertificate(t, "Test CA", newKey(t, "ecdsa"), nil)
	policy := "connection_policy {\n alpn postgresql\n client_auth {\n mode verify_if_given\n trust_pool inline {\n trust_der " +
		base64.StdEncoding.EncodeToString(ca.Certificate[0]) + "\n }\n }\n }"
	line, seen := newProbe(t)
	s := newSite(t, "postgres")
	s.lines, s.after = []string{policy}, line
	direct := freeAddress(t)
	c := startCaddy(t, s.String()+direct+" {\n route {\n tls {\n"+policy+"\n }\n"+line+"\n }\n }\n")
	c.awaitCertificates(s.hostnames()...)

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, kind := range []string{"none", "ecdsa", "rsa", "ed25519"} {
			t.Run(tls.VersionName(version)+" "+kind, func(t *testing.T) {
				config := c.trust()
				config.ServerName, config.NextProtos, config.MaxVersion = s.hostnames()[0], []string{"h2", "postgresql"}, version
				if kind != "none" {
					config = withCertificate(config, newDetailedCertificate(t, "alice", newKey(t, kind), ca))
				}
				handshake(t, direct, "", config)
				want := await(t, seen).traces
				handshake(t, s.address, sslRequest, config)
				got := await(t, seen).traces
				require.Equal(t, kind != "none", want.placeholders["l4.tls.client.subject"] != nil)
				require.Equal(t, want.placeholders, got.placeholders)
				require.Equal(t, helloOf(t, want), helloOf(t, got))
				require.Equal(t, stateOf(t, want), stateOf(t, got))
			})
		}
	}
}

// The list of placeholders is compared with the source, since a function that resolves
// them cannot be asked for their names.
func TestEveryPlaceholderOfTheTLSHandlerIsCompared(t *testing.T) {
	pkg, err := build.Import("github.com/mholt/caddy-l4/modules/l4tls", ".", build.FindOnly)
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, "handler.go"), nil, 0)
	require.NoError(t, err)
	compared := map[string]bool{}
	for _, name := range tlsPlaceholders() {
		for segment := range strings.SplitSeq(name, ".") {
			compared[segment] = true
		}
	}
	found := 0
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); !ok || f.Name.Name != "addTLSVarsToReplacer" {
			continue
		}
		for text := range fieldNames(t, decl) {
			found++
			require.True(t, compared[text], "{l4.tls.*} has %q", text)
		}
	}
	require.Greater(t, found, 20)
}

// fieldNames are the string literals of a declaration that look like parts of a
// placeholder's name.
func fieldNames(t *testing.T, decl ast.Node) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	ast.Inspect(decl, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			if regexp.MustCompile(`^[a-z][a-z0-9_]*\.?$`).MatchString(text) {
				names[strings.TrimSuffix(text, ".")] = true
			}
		}
		return true
	})
	return names
}

// handshake connects, asks for the upgrade if there is a request, does the handshake,
// and hangs up.
func handshake(t *testing.T, address, request string, config *tls.Config) {
	t.Helper()
	raw, err := net.DialTimeout("tcp", address, patience)
	require.NoError(t, err)
	defer func() { _ = raw.Close() }()
	require.NoError(t, raw.SetDeadline(time.Now().Add(patience)))
	if request != "" {
		writes(t, raw, request)
		requireReads(t, raw, "S")
	}
	require.NoError(t, tls.Client(raw, config).Handshake())
}

func helloOf(t *testing.T, left traces) map[string]any {
	t.Helper()
	hellos, ok := left.hellos.([]l4tls.ClientHelloInfo)
	require.True(t, ok, "%T", left.hellos)
	require.Len(t, hellos, 1)
	require.NotNil(t, hellos[0].Conn)
	fields := exportedFields(hellos[0].ClientHelloInfo, "Conn")
	fields["l4tls"] = exportedFields(hellos[0], "ClientHelloInfo")
	return fields
}

func stateOf(t *testing.T, left traces) map[string]any {
	t.Helper()
	states, ok := left.states.([]*tls.ConnectionState)
	require.True(t, ok, "%T", left.states)
	require.Len(t, states, 1)
	return exportedFields(*states[0], "TLSUnique")
}

// exportedFields takes a struct apart, but for a field that no two connections have
// in common.
func exportedFields(of any, but string) map[string]any {
	fields := map[string]any{}
	value := reflect.ValueOf(of)
	for _, field := range reflect.VisibleFields(value.Type()) {
		if field.IsExported() && field.Name != but && len(field.Index) == 1 {
			fields[field.Name] = value.FieldByIndex(field.Index).Interface()
		}
	}
	return fields
}

func newKey(t *testing.T, kind string) (key crypto.Signer) {
	t.Helper()
	var err error
	switch kind {
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("unknown kind %q", kind)
	}
	require.NoError(t, err)
	return key
}

// newDetailedCertificate has a value for everything that there is a placeholder for,
// and two where there can be several.
func newDetailedCertificate(t *testing.T, name string, key crypto.Signer, by *tls.Certificate) *tls.Certificate {
	t.Helper()
	two := func(s string) []string { return []string{name + " " + s, name + " other " + s} }
	template := &x509.Certificate{
		SerialNumber: big.NewInt(4711), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{
			CommonName: name, SerialNumber: name + "-1", Organization: two("organization"), OrganizationalUnit: two("unit"),
			Country: []string{"AT", "CH"}, Locality: two("locality"), Province: two("province"),
			StreetAddress: two("street"), PostalCode: two("code"),
		},
		DNSNames: []string{"a.example.com", "b.example.com"}, EmailAddresses: []string{"a@example.com", "b@example.com"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")},
		URIs:        []*url.URL{{Scheme: "https", Host: "a.example.com"}, {Scheme: "spiffe", Host: "b.example.com", Path: "/b"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	return testkit.Issue(t, template, key, by)
}
