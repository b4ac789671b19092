package pop3

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// checkCapability finds what is no line of a CAPA answer (RFC 2449 section 5), or has no
// place in one before TLS.
func checkCapability(capability string) error {
	if err := dialogue.CheckCapability(capability, []string{"STLS"}, []string{"SASL", "USER", "APOP", "AUTH", "LOGIN"}); err != nil {
		return err
	}
	if keyword, _, _ := strings.Cut(capability, " "); !dialogue.IsKeyword(keyword, "-_+") {
		return errors.New("must be a keyword, and may have arguments behind a blank, as in \"EXPIRE 60\"")
	}
	return nil
}
