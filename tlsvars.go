package l4starttls

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tls"
)

// recordTLS leaves the same traces on the connection as caddy-l4's tls handler does,
// so that whatever reads those works behind an upgrade as well. The placeholders are
// set here because not every version of caddy-l4 has them.
func recordTLS(cx *layer4.Connection, hello *tls.ClientHelloInfo, state *tls.ConnectionState) {
	hellos := append(l4tls.GetClientHelloInfos(cx), l4tls.ClientHelloInfo{ClientHelloInfo: *hello})
	cx.SetVar("tls_client_hellos", hellos)
	cx.SetVar(layer4.TLSConnectionStatesVarName, append(l4tls.GetConnectionStates(cx), state))
	repl := cx.Replacer()
	repl.Set("l4.tls.server_name", state.ServerName)
	repl.Set("l4.tls.version", caddytls.ProtocolName(state.Version))
	repl.Set("l4.tls.cipher_suite", tls.CipherSuiteName(state.CipherSuite))
	repl.Set("l4.tls.proto", state.NegotiatedProtocol)
	repl.Set("l4.tls.proto_mutual", true)
	repl.Set("l4.tls.resumed", state.DidResume)
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		repl.Map(func(key string) (any, bool) {
			field, ok := strings.CutPrefix(key, "l4.tls.client.")
			if !ok {
				return nil, false
			}
			return clientCertificate(cert, field)
		})
	}
}

// clientCertificate resolves {l4.tls.client.*}, by the names that Caddy's HTTP app
// uses for {http.request.tls.client.*}.
func clientCertificate(cert *x509.Certificate, field string) (any, bool) {
	if names, ok := strings.CutPrefix(field, "san."); ok {
		return alternativeName(cert, names)
	}
	switch field {
	case "subject":
		return cert.Subject, true
	case "subject.common_name":
		return cert.Subject.CommonName, true
	case "issuer":
		return cert.Issuer, true
	case "issuer.common_name":
		return cert.Issuer.CommonName, true
	case "serial":
		return cert.SerialNumber, true
	case "fingerprint":
		return fmt.Sprintf("%x", sha256.Sum256(cert.Raw)), true
	case "certificate_pem":
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), true
	case "certificate_der_base64":
		return base64.StdEncoding.EncodeToString(cert.Raw), true
	}
	return nil, false
}

// alternativeName resolves dns_names, emails, ips and uris, with or without an index.
func alternativeName(cert *x509.Certificate, field string) (any, bool) {
	kind, index, indexed := strings.Cut(field, ".")
	var names []string
	switch kind {
	case "dns_names":
		names = cert.DNSNames
	case "emails":
		names = cert.EmailAddresses
	case "ips":
		names = texts(cert.IPAddresses)
	case "uris":
		names = texts(cert.URIs)
	default:
		return nil, false
	}
	if !indexed {
		return names, true
	}
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 {
		return nil, false
	}
	if i >= len(names) {
		return nil, true
	}
	return names[i], true
}

func texts[T fmt.Stringer](values []T) []string {
	all := make([]string, len(values))
	for i, value := range values {
		all[i] = value.String()
	}
	return all
}
