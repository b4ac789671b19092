package irc_test

import (
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
