package xmpp

// The transcripts have to know the id.
func init() { xmppStreamID = func() string { return "0123456789" } }

// OwnHeader is for the test of what it escapes.
func OwnHeader(name string) string { return clients.answer(name, "") }
