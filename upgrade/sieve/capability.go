package sieve

import (
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// checkCapability finds what is no name of a capability (RFC 5804 section 1.7), or has no
// place in the list before TLS.
func checkCapability(capability string) error {
	announced := []string{"IMPLEMENTATION", "SIEVE", "STARTTLS", "VERSION"}
	if err := dialogue.CheckCapability(capability, announced, []string{"SASL", "AUTH", "LOGIN"}); err != nil {
		return err
	}
	if !dialogue.IsKeyword(capability, "-_") {
		return errors.New("must be a single word: capabilities with values are not announced before TLS")
	}
	return nil
}
