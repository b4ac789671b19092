// Package l4starttls makes STARTTLS work in Caddy's layer-4 app: protocols that
// begin in plaintext and ask for TLS in the middle of a conversation, such as SMTP,
// IMAP, POP3, LDAP, XMPP and PostgreSQL.
//
// The starttls handler speaks the plaintext part with the client, upgrades the
// connection with certificates that Caddy manages, and passes the secured stream
// down the handler chain:
//
//	{
//		layer4 {
//			:587 {
//				route {
//					starttls smtp mail.example.com
//					proxy localhost:2587
//				}
//			}
//		}
//	}
//
// Protocols in which the client speaks first can share a port with others. The
// starttls matcher recognizes their upgrade requests:
//
//	:5432 {
//		@pg starttls postgres
//		route @pg {
//			starttls postgres db.example.com
//			proxy localhost:5433
//		}
//	}
//
// The starttls_upstream handler does the same outwards, for upstreams that demand an
// upgrade:
//
//	127.0.0.1:1389 {
//		route {
//			starttls_upstream ldap {
//				tls_server_name ldap.example.com
//			}
//			proxy ldap.example.com:389
//		}
//	}
//
// What the protocols say lives in the package upgrade, which knows nothing of
// Caddy; this package knows nothing of the protocols' bytes.
package l4starttls

import "github.com/caddyserver/caddy/v2"

func init() {
	caddy.RegisterModule(&App{})
	caddy.RegisterModule(&Handler{})
	caddy.RegisterModule(&Matcher{})
	caddy.RegisterModule(&ProxyProtocol{})
	caddy.RegisterModule(&Upgraded{})
	caddy.RegisterModule(&Upstream{})
}
