package imap

import (
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// checkCapability finds what is no capability (RFC 9051 section 9, "capability"), or has no
// place in the list before TLS.
func checkCapability(capability string) error {
	if err := dialogue.CheckCapability(capability, []string{"STARTTLS", "IMAP4rev1", "LOGINDISABLED"}, []string{"AUTH", "LOGIN"}); err != nil {
		return err
	}
	if !dialogue.IsKeyword(capability, "-+=._/:") {
		return errors.New("must be a single word; give several capabilities without quotes around them")
	}
	return nil
}
