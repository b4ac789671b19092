package l4starttls

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tls"
)

// recordTLS leaves the same traces on the connection as caddy-l4's tls handler does,
// so that whatever reads those works behind an upgrade as well. That handler sets the
// variables and {l4.tls.*} itself, but exports nothing that sets them.
//
// A replacer takes a value that has been set before it asks any function. The tls
// matcher sets some, and so does an upgrade further out; these are set anew.
func recordTLS(cx *layer4.Connection, hello *clientHello, state *tls.ConnectionState) {
	hellos := hello.infos[:] // as it is: no copy for each session
	if before := l4tls.GetClientHelloInfos(cx); len(before) > 0 {
		hellos = append(before, hellos...)
	}
	cx.SetVar("tls_client_hellos", hellos)
	cx.SetVar(layer4.TLSConnectionStatesVarName, append(l4tls.GetConnectionStates(cx), state))
	setValues(cx.Replacer(), "l4.tls.", connectionNames, func(field string) (any, bool) {
		field = strings.ToLower(field)
		if ofClient, ok := strings.CutPrefix(field, "client."); ok && len(state.PeerCertificates) > 0 {
			return clientCertificate(state.PeerCertificates[0], ofClient)
		}
		return connectionValue(state, field)
	})
}

// setValues gives placeholders new values, which are made when somebody reads them: hardly
// anybody does. names are those that may have values already. Where these are an earlier
// function's, which the replacer asks first, the new ones are made at once.
func setValues(repl *caddy.Replacer, prefix string, names []string, value func(field string) (any, bool)) {
	for _, name := range names {
		repl.Delete(name)
	}
	if _, ok := repl.Get(names[0]); ok {
		for _, name := range names {
			v, _ := value(strings.TrimPrefix(name, prefix))
			repl.Set(name, v)
		}
	}
	repl.Map(func(key string) (any, bool) {
		if field, ok := strings.CutPrefix(key, prefix); ok {
			return value(field)
		}
		return nil, false
	})
}

// connectionNames are those of connectionValue.
var connectionNames = []string{
	"l4.tls.version", "l4.tls.server_name", "l4.tls.cipher_suite", "l4.tls.proto", "l4.tls.proto_mutual", "l4.tls.resumed", "l4.tls.ech",
}

// connectionValue is one of {l4.tls.*} but for the client's certificate.
func connectionValue(state *tls.ConnectionState, field string) (any, bool) {
	switch field {
	case "server_name":
		return state.ServerName, true
	case "version":
		return caddytls.ProtocolName(state.Version), true
	case "cipher_suite":
		return tls.CipherSuiteName(state.CipherSuite), true
	case "proto":
		return state.NegotiatedProtocol, true
	case "proto_mutual":
		return true, true
	case "resumed":
		return state.DidResume, true
	case "ech":
		return state.ECHAccepted, true
	}
	return nil, false
}

// clientCertificate resolves {l4.tls.client.*}.
func clientCertificate(cert *x509.Certificate, field string) (any, bool) {
	group, rest, _ := strings.Cut(field, ".")
	switch {
	case group == "san" && rest != "":
		return alternativeName(cert, rest)
	case group == "subject" && rest != "":
		return nameAttribute(&cert.Subject, rest)
	case group == "issuer" && rest != "":
		return nameAttribute(&cert.Issuer, rest)
	}
	switch field {
	case "subject":
		return cert.Subject, true
	case "issuer":
		return cert.Issuer, true
	case "serial":
		return cert.SerialNumber, true
	case "fingerprint":
		return hexSHA256(cert.Raw), true
	case "public_key":
		return publicKey(cert, func(key []byte) string { return fmt.Sprintf("%x", key) }), true
	case "public_key_sha256":
		return publicKey(cert, hexSHA256), true
	case "certificate_pem":
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), true
	case "certificate_der_base64":
		return base64.StdEncoding.EncodeToString(cert.Raw), true
	}
	return nil, false
}

func hexSHA256(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// publicKey shows the key as it is encoded for its kind. An RSA key is nil: caddy-l4
// encodes it in a way that always fails.
func publicKey(cert *x509.Certificate, show func([]byte) string) any {
	switch key := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if point, err := key.Bytes(); err == nil {
			return show(point)
		}
	case ed25519.PublicKey:
		return show(key)
	}
	return nil
}

// alternativeName resolves dns_names, emails, ips and uris, with or without an index.
func alternativeName(cert *x509.Certificate, field string) (any, bool) {
	kind, index, indexed := strings.Cut(field, ".")
	switch kind {
	case "dns_names":
		return listed(cert.DNSNames, index, indexed)
	case "emails":
		return listed(cert.EmailAddresses, index, indexed)
	case "ips":
		return listed(cert.IPAddresses, index, indexed)
	case "uris":
		return listed(cert.URIs, index, indexed)
	}
	return nil, false
}

// nameAttribute resolves the attributes of a subject or an issuer. Those that there
// can be several of may have an index.
func nameAttribute(name *pkix.Name, field string) (any, bool) {
	switch field {
	case "common_name":
		return name.CommonName, true
	case "serial":
		return name.SerialNumber, true
	}
	kind, index, indexed := strings.Cut(field, ".")
	values, ok := map[string][]string{
		"organization":        name.Organization,
		"organizational_unit": name.OrganizationalUnit,
		"country":             name.Country,
		"locality":            name.Locality,
		"province":            name.Province,
		"street_address":      name.StreetAddress,
		"postal_code":         name.PostalCode,
	}[kind]
	if !ok {
		return nil, false
	}
	return listed(values, index, indexed)
}

// listed is a whole list, or what it has at an index; beyond its end that is nothing.
func listed[T any](values []T, index string, indexed bool) (any, bool) {
	if !indexed {
		return values, true
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 {
		return nil, false
	}
	if i >= len(values) {
		return nil, true
	}
	return values[i], true
}
