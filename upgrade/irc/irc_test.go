package irc_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/irc"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, irc.Protocol) }

func TestMatch(t *testing.T) {
	for _, first := range []string{"CAP ", "NICK ", "USER ", "PASS ", "STARTTLS\r\n", "STARTTLS\n", "cap ", "StartTls\n"} {
		dialoguetest.Match(t, irc.Protocol, first)
	}
	for name, bytes := range map[string]string{
		"HTTP":            "G",
		"ClientHello":     "\x16",
		"another command": "NICE",
		"a parameter":     "STARTTLS ",
		"a bare CR":       "STARTTLS\rx",
		"no blank":        "NICK\r",
		"Unicode":         "\xc5",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, irc.Protocol, bytes) })
	}
}

func TestCheckCapability(t *testing.T) {
	for _, good := range []string{"multi-prefix", "draft/languages=2,en,fr", "example.com/a_b", "away-notify="} {
		require.NoError(t, irc.Protocol.CheckCapability(good), good)
	}
	for _, login := range []string{"sasl", "SASL=PLAIN,EXTERNAL"} {
		require.ErrorIs(t, irc.Protocol.CheckCapability(login), dialogue.ErrOffersLogin, login)
	}
	for bad, why := range map[string]string{
		"TLS": "announced anyway", "": "must be the name", ":a": "must be the name", "a b": "must be the name", "a=b c": "may have a value",
	} {
		require.ErrorContains(t, irc.Protocol.CheckCapability(bad), why, bad)
	}
}

// Of what a server says before TLS, lines for people are kept: from a server, to nobody in
// particular, and with nothing in them but text.
func TestNoticesThatAreKept(t *testing.T) {
	kept := ":irc NOTICE * :*** Looking up\r\nNOTICE auth :*** Checking\r\n"
	said := kept + ":a!b@c NOTICE * :a\r\n:a@c NOTICE * :b\r\n:irc NOTICE joe :c\r\n@a=b :irc NOTICE * :d\r\n:irc NOTICE * :\x02e\r\n:irc 670 * :go\r\n"
	s := dialogue.NewSession(irc.Protocol, new(dialogue.Options), strings.NewReader(said), io.Discard, true)
	require.NoError(t, irc.Protocol.Request(s))
	require.Equal(t, kept, string(s.Result().Kept))
}
