package sieve

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// inquire hears the capabilities, which a server says by itself, and again inside TLS
// (RFC 5804 section 2.2).
func inquire(s *dialogue.Session, _ bool) ([]string, error) { return expect(s) }
