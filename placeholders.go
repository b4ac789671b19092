package l4starttls

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

var placeholder = regexp.MustCompile(`\{[^{}\s]+\}`)

// unsetPlaceholders are those of a text that have no value at start, such as {env.NAME}.
func unsetPlaceholders(text string) (unset []string) {
	repl := caddy.NewReplacer()
	for _, p := range placeholder.FindAllString(text, -1) {
		if value, _ := repl.GetString(strings.Trim(p, "{}")); value == "" {
			unset = append(unset, p)
		}
	}
	return unset
}

// checkPlaceholders names the placeholders of an option that have no value. That is an
// error if what is left cannot be meant, and else a warning.
func checkPlaceholders(logger *zap.Logger, source, option, text string) error {
	unset := unsetPlaceholders(text)
	if len(unset) == 0 {
		return nil
	}
	what := fmt.Sprintf("%s %q: %s is not set", option, text, strings.Join(unset, ", "))
	left := caddy.NewReplacer().ReplaceAll(text, "")
	if left == "" || strings.HasPrefix(left, ".") || strings.HasSuffix(left, ".") {
		return fmt.Errorf("%s; set it, or write the value here", what)
	}
	warnAtStart(logger, source, "%s, which leaves %q", what, left)
	return nil
}

func (h *Handler) checkPlaceholders() error {
	if err := checkPlaceholders(h.logger, h.Source, "protocol", h.Protocol); err != nil {
		return err
	}
	for _, name := range h.Hostnames {
		if err := checkPlaceholders(h.logger, h.Source, "hostname", name); err != nil {
			return err
		}
	}
	for _, option := range append(h.Limits.texts(), [2]string{"greeting", h.Greeting}) {
		if err := checkPlaceholders(h.logger, h.Source, option[0], option[1]); err != nil {
			return err
		}
	}
	return nil
}

func (u *Upstream) checkPlaceholders() error {
	for _, option := range [][2]string{{"protocol", u.Protocol}, {"hostname", u.Hostname}} {
		if err := checkPlaceholders(u.logger, u.Source, option[0], option[1]); err != nil {
			return err
		}
	}
	// What is not known at start may be known of each connection.
	if u.TLS == nil || caddy.NewReplacer().ReplaceKnown(u.TLS.ServerName, "") != "" {
		return nil
	}
	return checkPlaceholders(u.logger, u.Source, "tls_server_name", u.TLS.ServerName)
}
