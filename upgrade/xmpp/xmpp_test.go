package xmpp_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/xmpp"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, xmpp.Protocol, xmpp.Server) }

const (
	testHeader = "<stream:stream to='example.org' xmlns='jabber:client'" +
		" xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	testDeclaration = "<?xml version='1.0'?>"
)

func TestMatch(t *testing.T) {
	dialoguetest.Match(t, xmpp.Protocol, testHeader)
	dialoguetest.Match(t, xmpp.Protocol, testDeclaration+testHeader)
	dialoguetest.Match(t, xmpp.Protocol, testDeclaration+"\r\n"+testHeader)
	dialoguetest.Match(t, xmpp.Protocol, `<?xml version="1.0" encoding="UTF-8"?><stream:stream version="1.0"`+
		` xmlns:stream = "http://etherx.jabber.org/streams" xmlns = 'jabber:client' from='a&amp;b>@c' >`)
	dialoguetest.Match(t, xmpp.Protocol, "<stream:stream\nxmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>") // to be told why not
	for name, bytes := range map[string]string{
		"HTTP":             "G",
		"ClientHello":      "\x16",
		"server to server": "<stream:stream xmlns='jabber:server'",
		"other streams":    "<stream:stream xmlns='jabber:client' xmlns:stream='http://e/'",
		"other element":    "<stream:streams",
		"stanza":           "<i",
		"other document":   testDeclaration + "<h",
		"stylesheet":       "<?xml-",
		"version 2 of XML": "<?xml version='2.0'?>",
		"UTF-16":           "<?xml version='1.0' encoding='UTF-16'?>",
		"DTD":              "<!",
		"comment":          testDeclaration + "<!",
		"NUL":              "<stream:stream\x00",
		"nothing in it":    "<stream:stream>",
		"empty":            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>",
		"no default":       "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>",
		"tag in tag":       "<stream:stream to='<",
		"close":            "</",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, xmpp.Protocol, bytes) })
	}
}

func TestHeaderIsEscaped(t *testing.T) {
	require.Contains(t, xmpp.OwnHeader(`a'"<>&b`), " from='a&#39;&#34;&lt;&gt;&amp;b' ")
}

// A stream of a client's is not one of a server's, and is known as soon as it says so.
func TestMatchServer(t *testing.T) {
	header := strings.ReplaceAll(testHeader, "jabber:client", "jabber:server")
	dialoguetest.Match(t, xmpp.Server, header)
	dialoguetest.Match(t, xmpp.Server, testDeclaration+header)
	dialoguetest.NoMatch(t, xmpp.Server, "<stream:stream xmlns='jabber:client'")
	dialoguetest.NoMatch(t, xmpp.Server, "<stream:stream xmlns:stream='http://e/'")
}
