package smtp

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

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
