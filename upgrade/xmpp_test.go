package upgrade

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The transcripts have to know the id.
func init() { xmppStreamID = func() string { return "0123456789" } }

const (
	xmppTestHeader = "<stream:stream to='example.org' xmlns='jabber:client'" +
		" xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	xmppTestDeclaration = "<?xml version='1.0'?>"
)

func TestMatchXMPP(t *testing.T) {
	requireMatch(t, XMPP, xmppTestHeader)
	requireMatch(t, XMPP, xmppTestDeclaration+xmppTestHeader)
	requireMatch(t, XMPP, xmppTestDeclaration+"\r\n"+xmppTestHeader)
	requireMatch(t, XMPP, `<?xml version="1.0" encoding="UTF-8"?><stream:stream version="1.0"`+
		` xmlns:stream = "http://etherx.jabber.org/streams" xmlns = 'jabber:client' from='a&amp;b>@c' >`)
	requireMatch(t, XMPP, "<stream:stream\nxmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>") // to be told why not
	for name, bytes := range map[string]string{
		"HTTP":             "G",
		"ClientHello":      "\x16",
		"server to server": "<stream:stream xmlns='jabber:server'",
		"other streams":    "<stream:stream xmlns='jabber:client' xmlns:stream='http://e/'",
		"other element":    "<stream:streams",
		"stanza":           "<i",
		"other document":   xmppTestDeclaration + "<h",
		"stylesheet":       "<?xml-",
		"version 2 of XML": "<?xml version='2.0'?>",
		"UTF-16":           "<?xml version='1.0' encoding='UTF-16'?>",
		"DTD":              "<!",
		"comment":          xmppTestDeclaration + "<!",
		"NUL":              "<stream:stream\x00",
		"nothing in it":    "<stream:stream>",
		"empty":            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'/>",
		"no default":       "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>",
		"tag in tag":       "<stream:stream to='<",
		"close":            "</",
	} {
		t.Run(name, func(t *testing.T) { requireNoMatch(t, XMPP, bytes) })
	}
}

func TestXMPPHeaderIsEscaped(t *testing.T) {
	conn := newConn(&scriptConn{}, XMPP, nil, false)
	s := newSession(conn)
	s.SetServerName(`a'"<>&b`)
	require.Contains(t, xmppOwnHeader(s), " from='a&#39;&#34;&lt;&gt;&amp;b' ")
}
