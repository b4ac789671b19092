package upgrade

import (
	"fmt"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/amqp"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/connect"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/ftp"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/http"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/imap"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/irc"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/ldap"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/line"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/mysql"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/nbd"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/nntp"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/pop3"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/postgres"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/rdp"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/sieve"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/smtp"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/tds"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/telnet"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/vnc"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/xmpp"
)

// A Protocol says how one protocol upgrades to TLS.
type Protocol = dialogue.Protocol

// The protocols, each in a folder of its own.
var (
	AMQP     = amqp.Protocol
	Connect  = connect.Protocol
	FTP      = ftp.Protocol
	HTTP     = http.Protocol
	IMAP     = imap.Protocol
	IRC      = irc.Protocol
	LDAP     = ldap.Protocol
	Line     = line.Protocol
	LMTP     = smtp.LMTP
	MySQL    = mysql.Protocol
	NBD      = nbd.Protocol
	NNTP     = nntp.Protocol
	POP3     = pop3.Protocol
	Postgres = postgres.Protocol
	RDP      = rdp.Protocol
	Sieve    = sieve.Protocol
	SMTP     = smtp.Protocol
	TDS      = tds.Protocol
	Telnet   = telnet.Protocol
	VNC      = vnc.Protocol
	XMPP     = xmpp.Protocol

	XMPPServer = xmpp.Server
)

// protocols is the table of all protocols, sorted by name. Register adds those of other modules.
var protocols = []*Protocol{
	AMQP,
	Connect,
	FTP,
	HTTP,
	IMAP,
	IRC,
	LDAP,
	Line,
	LMTP,
	MySQL,
	NBD,
	NNTP,
	POP3,
	Postgres,
	RDP,
	Sieve,
	SMTP,
	TDS,
	Telnet,
	VNC,
	XMPP,
	XMPPServer,
}

// Protocols returns all protocols, sorted by name.
func Protocols() []*Protocol { return slices.Clone(protocols) }

// Lookup returns the protocol of the given name. The error of an unknown one
// names the choices, and which of them may be meant.
func Lookup(name string) (*Protocol, error) {
	for _, p := range protocols {
		if p.Name == name {
			return p, nil
		}
	}
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.Name
	}
	return nil, fmt.Errorf("unknown protocol %q; %smust be one of: %s", name, suggestion(name), strings.Join(names, ", "))
}

// suggestion asks whether a protocol is meant by another name of it, in any case.
func suggestion(name string) string {
	for _, p := range protocols {
		for _, known := range append([]string{p.Name}, p.Aliases...) {
			if dialogue.EqualASCII(known, name) {
				return fmt.Sprintf("did you mean %q? It ", p.Name)
			}
		}
	}
	return ""
}
