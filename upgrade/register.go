package upgrade

import (
	"fmt"
	"slices"
	"strings"
)

// Register adds a protocol of another module to those that Lookup and Protocols know, and so to
// Caddy's handlers, matcher and commands. The package dialogue has what such a protocol is made of, and
// the package dialoguetest plays its transcripts.
//
// Register is for the init functions of packages: it must not be called at the same time as anything
// else of this package. It panics if p has no name, if the name is not of lower-case letters,
// digits and hyphens, if p has none of Accept, Request and EarlyDial, or if the name, or one of the
// aliases, is another protocol's.
func Register(p *Protocol) {
	if err := registrable(p); err != nil {
		panic("upgrade: Register: " + err.Error())
	}
	at, _ := slices.BinarySearchFunc(protocols, p.Name, func(other *Protocol, name string) int {
		return strings.Compare(other.Name, name)
	})
	protocols = slices.Insert(slices.Clone(protocols), at, p)
}

func registrable(p *Protocol) error {
	switch {
	case p == nil || p.Name == "":
		return fmt.Errorf("a protocol needs a name")
	case strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("the name %q is not of lower-case letters, digits and hyphens", p.Name)
	case p.Accept == nil && p.Request == nil && !p.EarlyDial:
		return fmt.Errorf("protocol %q has no role: neither Accept nor Request, nor EarlyDial", p.Name)
	}
	for _, other := range protocols {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			if name == other.Name || slices.Contains(other.Aliases, name) {
				return fmt.Errorf("%q is a name of protocol %q", name, other.Name)
			}
		}
	}
	return nil
}
