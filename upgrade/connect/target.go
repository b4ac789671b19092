package connect

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A target is a host and a port, as in a CONNECT. An IPv6 address has no brackets here.
type target struct{ host, port string }

// String puts brackets around an IPv6 address.
func (t target) String() string {
	if strings.Contains(t.host, ":") {
		return "[" + t.host + "]:" + t.port
	}
	return t.host + ":" + t.port
}

// parseTarget reads a target. It has a port in any case (RFC 9110 section 9.3.6).
func parseTarget(text string) (t target, ok bool) {
	letters := "*-._" // a * is in a configuration alone
	if inside, isAddress := strings.CutPrefix(text, "["); isAddress {
		t.host, t.port, ok = strings.Cut(inside, "]:")
		letters = ":."
	} else {
		t.host, t.port, ok = strings.Cut(text, ":")
	}
	port, err := strconv.ParseUint(t.port, 10, 16)
	sane := err == nil && port > 0 && t.port == strconv.FormatUint(port, 10)
	return t, ok && sane && t.host != "" && len(t.host) <= 255 && dialogue.IsKeyword("a"+t.host, letters)
}

// isOf reports whether the target's host is of a name. A wildcard is for one label.
func (t target) isOf(name string) bool {
	if parent, isWildcard := strings.CutPrefix(name, "*."); isWildcard {
		_, rest, _ := strings.Cut(t.host, ".")
		return rest != "" && !strings.HasPrefix(t.host, ".") && dialogue.EqualASCII(rest, parent)
	}
	return dialogue.EqualASCII(t.host, name)
}

func checkTargets(list string) error {
	for _, each := range strings.Fields(list) {
		if _, ok := parseTarget(each); !ok {
			return errors.New("must be hosts with ports, as in \"origin.example.com:443\"")
		}
	}
	return nil
}

func checkTarget(text string) error {
	if t, ok := parseTarget(text); !ok || strings.Contains(t.host, "*") {
		return errors.New("must be one host with a port, as in \"origin.example.com:443\"")
	}
	return nil
}

// checkAuth does not quote what it is about.
func checkAuth(auth string) error {
	if user, _, ok := strings.Cut(auth, ":"); !ok || user == "" {
		return errors.New("must be a user and a password, as in \"user:password\"")
	}
	return nil
}

// encode is the encoding of RFC 7617.
func encode(auth string) string { return base64.StdEncoding.EncodeToString([]byte(auth)) }

// conceal lists the forms in which a password is said.
func conceal(auth string) []string {
	_, password, _ := strings.Cut(auth, ":")
	return []string{encode(auth), auth, password}
}
