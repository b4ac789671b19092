package interop

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// siteSteps are a request for a page.
var siteSteps = [][2]string{
	{"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", `HTTP/1\.1 200 OK\r\n(.*\r\n)+\r\na site`},
}

// ippGetPrinters is CUPS-Get-Printers.
const ippGetPrinters = "\x01\x01\x40\x02\x00\x00\x00\x01\x01\x47\x00\x12attributes-charset\x00\x05utf-8" +
	"\x48\x00\x1battributes-natural-language\x00\x02en\x03"

// httpMatrix asks cupsd for its printers.
func httpMatrix(up string) matrixDialogue {
	if up == "optional" {
		return matrixDialogue{steps: siteSteps}
	}
	return matrixDialogue{offer: `(?i)upgrade`, talk: func(c *matrixClient, _ string) {
		c.say(fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/ipp\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			len(ippGetPrinters), ippGetPrinters), ``)
		c.all = readRest(c.t, c.Conn)
		require.Regexp(c.t, `\AHTTP/1\.1 200 OK\r\n(?s:.*)printer-name\x00\x04test`, c.all)
		require.Equal(c.t, 1, strings.Count(c.all, "HTTP/1.1 "), c.all)
	}}
}

// xmppServerSteps are a stream, and a question about a key of dialback.
var xmppServerSteps = [][2]string{
	{xmppServerHeader, `(<\?xml [^>]*>)?<stream:stream [^>]*>\s*<stream:features>.*<dialback .*</stream:features>`},
	{
		"<db:verify xmlns:db='jabber:server:dialback' from='peer.example.com' to='" + xmppHost + "' id='a'>key</db:verify>",
		`<db:verify [^>]*(type='invalid'[^>]*/>|>.*</db:verify>)`,
	},
	{"</stream:stream>", `</stream:stream>`},
}

// nntpMatrix logs in and looks at the list of groups. INN offers its upgrade without a certificate, too, and nobody
// takes that out where no upgrade is done.
func nntpMatrix(up string) matrixDialogue {
	talk := func(c *matrixClient, way string) {
		if way == "starttls" || up == "starttls" {
			require.NotContains(c.t, c.all, "STARTTLS")
		}
		c.say("QUIT\r\n", `205 .*\r\n`)
	}
	return matrixDialogue{greeting: `20[01] .*\r\n`, talk: talk, steps: [][2]string{
		{"CAPABILITIES\r\n", `101 .*\r\n([A-Z].*\r\n)+\.\r\n`},
		{"AUTHINFO USER " + mailUser + "\r\n", `381 .*\r\n`},
		{"AUTHINFO PASS " + mailPassword + "\r\n", `281 .*\r\n`},
		{"LIST ACTIVE\r\n", `215 .*\r\n(\S+ \d+ \d+ .\r\n)+\.\r\n`},
	}}
}

// telnetMatrix refuses what telnetd asks for, says who it is, and ends the program.
func telnetMatrix(up string) matrixDialogue {
	const question, answer = `who are you\? `, `(joe\r\n)?hello joe\r?\n`
	d := matrixDialogue{greeting: `(?s:.*)\$`, greetsInTLS: true, steps: [][2]string{
		{noOptions, `(?s:.*)!`}, {noOptions, `(?s:.*)` + question}, {"joe\r\n", answer},
	}}
	if up == "optional" {
		d.greeting, d.steps = question, [][2]string{{"joe\n", answer}}
	}
	d.talk = func(c *matrixClient, _ string) {
		c.say("bye\r\n", ``)
		require.Regexp(c.t, `\A(bye\r\n)?\z`, readRest(c.t, c.Conn))
	}
	return d
}

// ftpMatrix logs in and looks at the list of files. In TLS, FEAT has AUTH TLS, too (RFC 4217 section 6).
func ftpMatrix(string) matrixDialogue {
	return matrixDialogue{greeting: `220 .*\r\n`, talk: listFTP, steps: [][2]string{
		{"USER " + mailUser + "\r\n", `331 .*\r\n`},
		{"PASS " + mailPassword + "\r\n", `230 .*\r\n`},
		{"FEAT\r\n", `211-.*\r\n( .*\r\n)+211 .*\r\n`},
	}}
}

// listFTP has the data connection in TLS where the control connection is.
func listFTP(c *matrixClient, way string) {
	if way != "plain" {
		c.say("PBSZ 0\r\n", `200 .*\r\n`)
		c.say("PROT P\r\n", `200 .*\r\n`)
	}
	where := c.say("EPSV\r\n", `229 .*\(\|\|\|(\d+)\|\)\r\n`)[1]
	data, err := net.Dial("tcp", "127.0.0.1:"+where)
	require.NoError(c.t, err)
	defer data.Close()
	require.NoError(c.t, data.SetDeadline(time.Now().Add(clientTimeout)))
	c.say("LIST\r\n", ``)
	if way != "plain" {
		data = tls.Client(data, c.tls)
	}
	list, err := io.ReadAll(data)
	require.NoError(c.t, err)
	require.Contains(c.t, string(list), " "+matrixFile+"\r\n")
	data.Close() // ProFTPD waits for that
	c.expect(`150 .*\r\n226 .*\r\n`)
	c.say("QUIT\r\n", `221 .*\r\n`)
}
