package dialoguetest

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// outcomes has what a dialogue can end with, and the error that belongs to it.
var outcomes = map[string]error{
	"upgraded": nil, "cleartext": nil, "detached": nil, "following": nil, "closed": nil,
	"gone": io.EOF, "malformed": dialogue.ErrMalformed, "not offered": dialogue.ErrNotOffered, "not tls": dialogue.ErrNotTLS,
	"pipelined": dialogue.ErrPipelined, "plaintext": dialogue.ErrPlaintext, "quit": dialogue.ErrQuit, "refused": dialogue.ErrRefused,
	"timeout": dialogue.ErrTimeout, turnedAway: nil, "too long": dialogue.ErrLineTooLong, "too many": dialogue.ErrTooMany,
}

// checks has what can be learnt in a plaintext phase.
var checks = map[string]func(o upgrade.Outcome) string{
	"hello":           func(o upgrade.Outcome) string { return o.Hello },
	"server_name":     func(o upgrade.Outcome) string { return o.ServerName },
	"plaintext_login": plaintextLogin,
}

func plaintextLogin(o upgrade.Outcome) string {
	switch {
	case !o.PlaintextLoginKnown:
		return "unknown"
	case o.PlaintextLogin:
		return "offered"
	}
	return "none"
}

// serverFacts are learnt by servers, and all others by clients.
var serverFacts = []string{"hello", "server_name"}

// configure applies the options to a configuration and, for a join, to a situation.
func (d *Dialogue) configure(p *upgrade.Protocol, config *upgrade.Config, s *dialogue.Situation) error {
	for _, option := range d.options {
		name, value := option[0], option[1]
		isOwn := slices.ContainsFunc(p.Options, func(o dialogue.Option) bool { return o.Name == name })
		switch {
		case isOwn && config.Options == nil:
			config.Options = map[string]string{name: value}
		case isOwn:
			config.Options[name] = value
		case !setConfig(config, name, value) && (s == nil || !setSituation(config, s, name, value)):
			return fmt.Errorf("unknown option %q", name)
		}
	}
	return nil
}

func setConfig(config *upgrade.Config, name, value string) bool {
	switch name {
	case "greeting":
		config.Greeting = value
	case "capabilities":
		config.Capabilities = words(value)
	case "optional":
		config.Optional = true
	case "plaintext_auth":
		config.PlaintextAuth = true
	case "tls_unavailable":
		config.TLSAvailable = func() bool { return false }
	case "no_more_upgrades":
		config.AdmitUpgrade = func(net.Addr) bool { return false }
	default:
		return false
	}
	return true
}

// words splits a list at its blanks, but for those in quoted strings.
func words(list string) (words []string) {
	for list = strings.TrimLeft(list, " "); list != ""; list = strings.TrimLeft(list, " ") {
		word, rest, _ := strings.Cut(list, " ")
		if quoted, err := strconv.QuotedPrefix(list); err == nil {
			word, _ = strconv.Unquote(quoted)
			rest = list[len(quoted):]
		}
		words, list = append(words, word), rest
	}
	return words
}

func setSituation(config *upgrade.Config, s *dialogue.Situation, name, value string) bool {
	switch name {
	case "cleartext":
		config.Optional, s.Cleartext = true, true
	case "implicit_tls":
		s.ImplicitTLS, s.Client = true, dialogue.Unheard
	case "data": // see joins.go
	case "introduction":
		s.Client, s.Kept = dialogue.Introduced, []byte(value+"\r\n")
	case "not_offered":
		s.Client, s.Backend, s.Cleartext, s.PlaintextAuth = dialogue.Unheard, dialogue.Introduced, true, true
		config.TLS.ServerName = "mail.example.com"
	case "kept":
		kept, err := strconv.Unquote(value)
		s.Kept = []byte(kept)
		return err == nil
	case "unheard":
		s.Client = dialogue.Unheard
	case "backend_upgraded": // for the Joined to say
	case "heard":
		heard, err := strconv.Unquote(value)
		s.Kept = []byte(heard)
		return err == nil
	default:
		return false
	}
	return true
}
