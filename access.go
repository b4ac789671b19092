package l4starttls

import (
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// accessModule is there for its name alone, so that a global log option can include the
// entries.
type accessModule struct{}

// CaddyModule returns the information that the logger is named by.
func (accessModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.starttls.access"}
}

// checkLogName keeps to what the names of loggers are made of.
func checkLogName(name *string) error {
	if name == nil || *name == "" {
		return nil
	}
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
	}
	if strings.ContainsFunc(*name, odd) || strings.Contains("."+*name+".", "..") {
		return fmt.Errorf("log %q: a logger's name is made of letters, digits, hyphens, underscores, and dots between them", *name)
	}
	return nil
}

// accessLogger is the logger of a configuration by a name.
func accessLogger(ctx caddy.Context, name string) *zap.Logger {
	return ctx.Logger(accessModule{}).Named(name) // no name is no other logger
}

// A report is what is known of a session at its end.
type report struct {
	handler, protocol string
	remote            net.Addr

	outcome  string
	told     upgrade.Outcome
	tls      *tls.ConnectionState // nil in plaintext, and where TLS is passed through
	asked    string               // the upstream's name, as it was verified
	upstream string               // its address, where there is but one
	duration time.Duration
	carried  traffic
	ending   upgrade.Ending
	err      error // why there was no session
}

// fields are those of the entry.
func (r *report) fields() []zap.Field {
	fields := []zap.Field{
		zap.String("remote", r.remote.String()),
		zap.String("handler", r.handler),
		zap.String("protocol", r.protocol),
		zap.String("outcome", r.outcome),
		zap.Duration("duration", r.duration),
		zap.Duration("negotiation", r.told.NegotiationTime),
		zap.Duration("handshake", r.told.HandshakeTime),
		zap.Uint64("bytes_up", r.carried.up),
		zap.Uint64("bytes_down", r.carried.down),
	}
	fields = append(fields, r.names()...)
	if r.tls != nil {
		fields = append(fields, zap.Dict("tls", r.secrecy()...))
	}
	return append(fields, r.end()...)
}

// names are what the peers are called, or call themselves.
func (r *report) names() (fields []zap.Field) {
	name := r.told.ServerName
	switch {
	case r.asked != "":
		name = r.asked
	case r.tls != nil && r.tls.ServerName != "":
		name = r.tls.ServerName
	}
	for _, f := range []struct{ key, value string }{
		{"server_name", name}, {"hello", r.told.Hello}, {"upstream", r.upstream},
	} {
		if f.value != "" {
			fields = append(fields, zap.String(f.key, escaped(f.value)))
		}
	}
	return fields
}

// secrecy is what TLS was made of.
func (r *report) secrecy() []zap.Field {
	fields := []zap.Field{
		zap.String("version", tls.VersionName(r.tls.Version)),
		zap.String("cipher_suite", tls.CipherSuiteName(r.tls.CipherSuite)),
		zap.String("alpn", r.tls.NegotiatedProtocol),
		zap.Bool("resumed", r.tls.DidResume),
	}
	if r.handler == starttlsHandler && len(r.tls.PeerCertificates) > 0 {
		fields = append(fields, zap.String("client_subject", escaped(r.tls.PeerCertificates[0].Subject.String())))
	}
	return fields
}

// end is how it ended.
func (r *report) end() (fields []zap.Field) {
	err := r.err
	if err == nil {
		err = r.ending.Err
	}
	if r.ending.By != upgrade.ByNobody {
		fields = append(fields, zap.String("ended_by", string(r.ending.By)))
	}
	if err != nil {
		fields = append(fields, zap.String("error", escaped(err.Error())))
	}
	return fields
}

// escaped makes a peer's text one that no terminal takes for more than text. A quote is
// left as it is, since whatever writes the entry has quotes of its own.
func escaped(text string) string {
	const maxEscaped = 1024
	if len(text) > maxEscaped {
		text = text[:maxEscaped]
	}
	quoted := strconv.QuoteToASCII(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
