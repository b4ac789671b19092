package smtp

import (
	"errors"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// defaultExtensions are announced before TLS unless a configuration names others. They are
// what senders look for in the answer before TLS, even if they upgrade then: Postfix
// bounces a mail that needs SMTPUTF8 (RFC 6531) if it is not announced there. PIPELINING and
// ENHANCEDSTATUSCODES are those that LMTP must have (RFC 2033 section 5).
var defaultExtensions = []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8"}

// announced are the extensions that a configuration announces before TLS.
func announced(opts *dialogue.Options) []string {
	if opts.Capabilities != nil {
		return opts.Capabilities
	}
	return defaultExtensions
}

// announcement has the lines of our own answer to EHLO behind the first. STARTTLS is in front:
// some monitors know it by the hyphen that only the last line lacks.
func announcement(s *dialogue.Session) []string {
	extensions := s.Capabilities(defaultExtensions...)
	lines := append(make([]string, 0, len(extensions)+2), "STARTTLS")
	if s.PlaintextAuth() && !slices.ContainsFunc(extensions, isSMTPAuth) {
		lines = append(lines, "AUTH PLAIN")
	}
	return append(lines, extensions...)
}

// isSMTPAuth knows the keyword of RFC 4954 section 3, and how it was written before.
func isSMTPAuth(text string) bool {
	verb, _ := dialogue.SplitVerb(text)
	return verb == "AUTH" || strings.HasPrefix(verb, "AUTH=")
}

// checkCapability finds what is no line of an EHLO answer (RFC 5321 section 4.1.1.1), or
// has no place in one before TLS.
func checkCapability(capability string) error {
	if err := dialogue.CheckCapability(capability, []string{"STARTTLS"}, []string{"AUTH"}); err != nil {
		return err
	}
	if keyword, _, _ := strings.Cut(capability, " "); !dialogue.IsKeyword(keyword, "-") {
		return errors.New("must be a keyword, and may have arguments behind a blank, as in \"SIZE 1000\"")
	}
	return nil
}
