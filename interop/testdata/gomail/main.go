// Command gomail is a mail server that stands for two that Debian has none of. Both are behind Caddy,
// without TLS, and learn from the PROXY protocol who their clients are:
//
//	gomail maddy|stalwart <address for SMTP> <address for IMAP>
//
// As maddy it has the packages that maddy has, for SMTP and for the PROXY protocol: it learns the client's
// address, and takes passwords of everybody, as maddy does with "tls off". As Stalwart it takes passwords
// only if the header says that the client has come over TLS. It believes 127.0.0.1 alone, and its one user
// is alice, whose password is "open sesame".
package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	c0va23 "github.com/c0va23/go-proxyprotocol"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"github.com/emersion/go-smtp"
	"github.com/pires/go-proxyproto"
)

const (
	user     = "alice"
	password = "open sesame"
	proxy    = "127.0.0.1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 || kinds[args[0]].listen == nil {
		return errors.New("usage: gomail maddy|stalwart <address for SMTP> <address for IMAP>")
	}
	m := &mail{kind: kinds[args[0]], users: imapmemserver.New(), mailbox: imapmemserver.NewUser(user, password)}
	m.users.AddUser(m.mailbox)
	if err := m.mailbox.Create("INBOX", nil); err != nil {
		return err
	}
	submission, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	imap, err := net.Listen("tcp", args[2])
	if err != nil {
		return err
	}
	ended := make(chan error)
	go func() { ended <- m.smtp().Serve(m.kind.listen(submission)) }()
	go func() { ended <- m.imap().Serve(m.kind.listen(imap)) }()
	return <-ended
}

// A kind is what one of the servers makes of the header.
type kind struct {
	listen func(net.Listener) net.Listener
	// secure reports whether a client may send its password.
	secure func(net.Conn) bool
}

var kinds = map[string]kind{
	"maddy":    {listen: listenAsMaddy, secure: func(net.Conn) bool { return true }},
	"stalwart": {listen: listenAsStalwart, secure: cameOverTLS},
}

func listenAsMaddy(l net.Listener) net.Listener {
	listener := c0va23.NewDefaultListener(l).WithSourceChecker(func(addr net.Addr) (bool, error) { return isProxy(addr), nil })
	return &listener
}

func listenAsStalwart(l net.Listener) net.Listener {
	return &proxyproto.Listener{Listener: l, ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if isProxy(o.Upstream) {
			return proxyproto.REQUIRE, nil
		}
		return proxyproto.REJECT, nil
	}}
}

func isProxy(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.String() == proxy
}

// clientSSL is the bit of PP2_TYPE_SSL that says that the client has connected over TLS.
const clientSSL = 1

func cameOverTLS(conn net.Conn) bool {
	c, ok := conn.(*proxyproto.Conn)
	if !ok || c.ProxyHeader() == nil {
		return false
	}
	tlvs, err := c.ProxyHeader().TLVs()
	if err != nil {
		return false
	}
	for _, tlv := range tlvs {
		if tlv.Type == proxyproto.PP2_TYPE_SSL && len(tlv.Value) > 0 {
			return tlv.Value[0]&clientSSL != 0
		}
	}
	return false
}

// A mail server has one mailbox, in memory.
type mail struct {
	kind
	users   *imapmemserver.Server
	mailbox *imapmemserver.User
}

func (m *mail) smtp() *smtp.Server {
	s := smtp.NewServer(m)
	s.Domain = "mail.example.com"
	s.AllowInsecureAuth = true // The session decides.
	return s
}

func (m *mail) imap() *imapserver.Server {
	return imapserver.New(&imapserver.Options{
		InsecureAuth: true, // The session decides.
		NewSession: func(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &mailboxSession{Session: m.users.NewSession(), mail: m, conn: c.NetConn()}, nil, nil
		},
	})
}
