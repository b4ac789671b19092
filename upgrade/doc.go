// Package upgrade provides connections that start in plaintext and become TLS.
//
// Many protocols ask for TLS in the middle of a plaintext conversation: SMTP,
// IMAP and POP3 with STARTTLS and STLS, LDAP with StartTLS, PostgreSQL with
// SSLRequest, XMPP with a stream element. This package speaks that plaintext
// part, for servers and for clients, and guards the one place where such
// protocols break: not a byte that was read in plaintext is ever taken for a byte
// that came over TLS.
//
// A server that knows its protocol only by name wraps its listener:
//
//	ln := upgrade.NewListener(inner, upgrade.IMAP, &upgrade.Config{
//		TLS:      tlsConfig,
//		Hostname: "mail.example.com",
//	})
//
// A client dials, and gets a connection that is upgraded and verified:
//
//	conn, err := upgrade.Dial(ctx, "tcp", "mail.example.com:587", upgrade.SMTP, nil)
//
// A program with a protocol of its own holds the plaintext conversation
// itself, and calls StartTLS when both sides have agreed on it:
//
//	conn := upgrade.Server(raw, &upgrade.Config{TLS: tlsConfig})
//	line, err := conn.ReadLine()
//	...
//	err = conn.StartTLS(ctx) // the same conn, now TLS
//
// A proxy joins a client and a backend that begins afresh in plaintext with Join, or a client in
// plaintext and a server that it has upgraded to with ServeUpgraded.
//
// Each protocol is one [Protocol] value in a folder of its own: what the server
// says, what the client says, and how a client that is past the greeting is
// joined to a backend that starts afresh.
package upgrade
