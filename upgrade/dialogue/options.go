package dialogue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Options are what a configuration says of the plaintext phase. A protocol's roles and
// filters know no more of the configuration than this.
type Options struct {
	Hostname      string            // our own name
	Hostnames     []string          // all names of ours; nil for Hostname alone
	PeerName      string            // for a client: the server's name, as TLS will verify it
	Greeting      string            // the text behind the hostname, empty for the protocol's own
	Capabilities  []string          // nil for the protocol's own
	Optional      bool              // a client may stay in plaintext
	PlaintextAuth bool              // and send its password so
	Joined        bool              // a client is joined to a backend
	Passed        bool              // which TLS is passed through to
	Own           map[string]string // the protocol's own options, by name

	// TLSAvailable reports whether there is a certificate to do TLS with. Nil if there is.
	TLSAvailable func() bool

	// AdmitUpgrade reports whether the client may have another upgrade. Nil if it may.
	AdmitUpgrade func() bool

	Limits Limits

	Declared []Option // the protocol's
}

// Get returns one of the protocol's own options, or its default.
func (o *Options) Get(name string) string {
	if value, ok := o.Own[name]; ok {
		return value
	}
	for _, option := range o.Declared {
		if option.Name == name {
			return option.Default
		}
	}
	return ""
}

// An OptionType is what an Option's value must look like.
type OptionType int

const (
	// TextOption is a line of text, without control characters.
	TextOption OptionType = iota
	// DurationOption is a duration in Go's notation, not negative.
	DurationOption
)

// An Option is one that a protocol alone has. Handlers, upstreams and the probe offer it
// under its name, for that protocol only.
type Option struct {
	Name    string // as in a configuration, in snake_case
	Type    OptionType
	Default string
	Usage   string                   // what it is, for people
	Client  bool                     // of a client alone: of starttls_upstream, Dial, Request and the probe
	Server  bool                     // of a server alone: of starttls, Accept, Join and NewListener
	Session bool                     // of what comes behind the negotiation, with a backend: not of the probe
	Check   func(value string) error // what else is to be checked; nil for nothing

	// Conceal, for a secret, lists the forms in which it is said. No error quotes it, and
	// the probe does not show any of them.
	Conceal func(value string) []string
}

// check finds what is wrong with a value.
func (o *Option) check(value string) error {
	shown := fmt.Sprintf("%s %q", o.Name, value)
	if o.Conceal != nil {
		shown = o.Name
	}
	switch o.Type {
	case TextOption:
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%s: must not contain control characters", shown)
		}
	case DurationOption:
		if d, err := time.ParseDuration(value); err != nil || d < 0 {
			return fmt.Errorf("%s: must be a duration such as 50ms, and not negative", shown)
		}
	}
	if o.Check == nil {
		return nil
	}
	if err := o.Check(value); err != nil {
		return fmt.Errorf("%s: %w", shown, err)
	}
	return nil
}

// Concealed lists what must not be shown of a configuration's options.
func (p *Protocol) Concealed(own map[string]string) (secrets []string) {
	for _, o := range p.Options {
		if value := own[o.Name]; o.Conceal != nil && value != "" {
			secrets = append(secrets, o.Conceal(value)...)
		}
	}
	return secrets
}

// CheckOptions finds what is wrong with the options of a configuration that belong to one
// protocol alone: those that the protocol does not have, or not for our side, and values that
// it does not take. client means that we are to play the client.
func (p *Protocol) CheckOptions(own map[string]string, client bool) error {
	for _, name := range slices.Sorted(maps.Keys(own)) {
		i := slices.IndexFunc(p.Options, func(o Option) bool { return o.Name == name })
		if i < 0 {
			return fmt.Errorf("protocol %q has no option %q; %s", p.Name, name, p.optionNames(client))
		}
		if p.Options[i].Client && !client {
			return fmt.Errorf("option %q is for a client alone, as in starttls_upstream; leave it out", name)
		}
		if p.Options[i].Server && client {
			return fmt.Errorf("option %q is for a server alone, as in starttls; leave it out", name)
		}
		if err := p.Options[i].check(own[name]); err != nil {
			return err
		}
	}
	return nil
}

func (p *Protocol) optionNames(client bool) string {
	return cmp.Or(strings.Join(p.OptionNames(client), ", "), "none are its own")
}

// OptionNames are those of the options that the protocol alone has, for one side.
func (p *Protocol) OptionNames(client bool) (names []string) {
	for _, o := range p.Options {
		if client && !o.Server || !client && !o.Client {
			names = append(names, o.Name)
		}
	}
	return names
}
