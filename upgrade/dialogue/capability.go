package dialogue

import (
	"errors"
	"slices"
	"strings"
)

// What is wrong with a configured capability, for Protocol.CheckCapability of any protocol.
var (
	// ErrOffersLogin means that the capability offers a way to log in, which a client must not
	// take before TLS.
	ErrOffersLogin = errors.New("offers to log in before TLS")

	errAnnounced = errors.New("is announced anyway; leave it out")
	errArgument  = errors.New("looks like the argument of the one in front of it; put quotes around both, as in \"SIZE 1000\"")
)

// mechanisms of SASL that people know. Alone they are the arguments of something else.
var mechanisms = []string{
	"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "GSSAPI", "GSS-SPNEGO", "EXTERNAL", "ANONYMOUS",
	"XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS",
}

// CheckCapability finds what is wrong with a capability that is a keyword and its arguments.
// The first group of keywords are those that are announced anyway, the second those that
// offer to log in.
func CheckCapability(capability string, announced, logins []string) error {
	keyword, _, _ := strings.Cut(capability, " ")
	name, _, _ := strings.Cut(keyword, "=")
	switch {
	case containsFold(announced, keyword):
		return errAnnounced
	case containsFold(logins, keyword), containsFold(logins, name):
		return ErrOffersLogin
	case strings.Trim(keyword, "0123456789") == "" && keyword != "", containsFold(mechanisms, capability):
		return errArgument
	}
	return nil
}

func containsFold(words []string, word string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return EqualASCII(w, word) })
}

// IsKeyword reports whether a word consists of ASCII letters, digits and the given
// punctuation, and does not begin with the latter.
func IsKeyword(word, punctuation string) bool {
	alphanumeric := func(r rune) bool {
		return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
	}
	for i, r := range word {
		if !alphanumeric(r) && (i == 0 || !strings.ContainsRune(punctuation, r)) {
			return false
		}
	}
	return word != ""
}
