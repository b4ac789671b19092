package upgrade

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// registered removes what a test registers.
func registered(t *testing.T, p *Protocol) {
	before := protocols
	t.Cleanup(func() { protocols = before })
	Register(p)
}

func none(*dialogue.Session) error { return nil }

// A registered protocol is found, and the others stay where they are, sorted.
func TestRegister(t *testing.T) {
	before := Protocols()
	p := &Protocol{Name: "mtqp", Aliases: []string{"mtrk"}, Accept: none}
	registered(t, p)

	found, err := Lookup("mtqp")
	require.NoError(t, err)
	require.Same(t, p, found)
	_, err = Lookup("MTRK")
	require.ErrorContains(t, err, `did you mean "mtqp"?`)

	after := Protocols()
	require.True(t, slices.IsSortedFunc(after, func(a, b *Protocol) int { return strings.Compare(a.Name, b.Name) }))
	require.Equal(t, before, slices.DeleteFunc(after, func(other *Protocol) bool { return other == p }))
}

// What cannot be registered is a mistake in a program, and changes nothing.
func TestRegisterPanics(t *testing.T) {
	before := Protocols()
	for why, p := range map[string]*Protocol{
		"a protocol needs a name":                    {Accept: none},
		`the name "MTQP" is not of lower-case`:       {Name: "MTQP", Accept: none},
		`protocol "mtqp" has no role`:                {Name: "mtqp"},
		`"smtp" is a name of protocol "smtp"`:        {Name: "smtp", Accept: none},
		`"submission" is a name of protocol "smtp"`:  {Name: "submission", Accept: none},
		`"postgresql" is a name of protocol "postgr`: {Name: "mtqp", Aliases: []string{"postgresql"}, Accept: none},
	} {
		t.Run(why, func(t *testing.T) {
			defer func() { require.Contains(t, recover(), why) }()
			Register(p)
		})
	}
	require.Panics(t, func() { Register(nil) })
	require.Equal(t, before, Protocols())
}
