package interop

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// gomailTools has a server of a Go module, which stands for maddy and for Stalwart.
var gomailTools = build{module: "testdata/gomail", packages: []string{"."}}

// startGoMail runs the server as one of the two.
func startGoMail(t testing.TB, kind string) (server *process, submission, imap string) {
	t.Helper()
	dir, err := gomailTools.programs()
	if err != nil {
		unavailable(t, "%v", err)
	}
	submission, imap = freeAddr(t), freeAddr(t)
	server = startProcess(t, filepath.Join(dir, "gomail"), kind, submission, imap)
	waitTCP(t, submission)
	waitTCP(t, imap)
	return server, submission, imap
}

// startMailHostBefore has the example mailhost in front of the server, with some header of the PROXY protocol.
// Neither has a server for POP3 and ManageSieve here.
func startMailHostBefore(t testing.TB, submission, imap, header string) *mailExample {
	t.Helper()
	e := &mailExample{words: map[string]string{"send_proxy_protocol": header}, ports: map[string]string{}}
	for _, number := range []string{"587", "465", "143", "993", "110", "995", "4190"} {
		e.ports[number] = port(t, freeAddr(t))
	}
	e.bind("587", "465", "143", "993", "110", "995")
	e.words["127.0.0.1:10587"], e.words["127.0.0.1:10143"] = submission, imap
	e.start(t, "mailhost", "")
	return e
}

// TestMailHostBeforeGoMail submits a mail and reads it, on the ports for STARTTLS and on those with TLS from the
// start. The server learns the client's address of either version of the header, and of TLS from version 2.
func TestMailHostBeforeGoMail(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	for _, test := range []struct {
		kind, header string
		passwords    bool
	}{
		{"maddy", "send_proxy_protocol", true},
		{"maddy", "send_proxy_protocol v1", true},
		{"stalwart", "send_proxy_protocol", true},
		{"stalwart", "send_proxy_protocol v1", false},
	} {
		t.Run(test.kind+" "+test.header, func(t *testing.T) {
			t.Parallel()
			server, submission, imap := startGoMail(t, test.kind)
			e := startMailHostBefore(t, submission, imap, test.header)
			if !test.passwords {
				e.requireNoPasswords(t)
				return
			}
			for i, suffix := range []string{"", "s"} {
				numbers := [][2]string{{"587", "143"}, {"465", "993"}}[i]
				text := message("by port " + numbers[0])
				e.curl(t, "smtp"+suffix, numbers[0], "/client.example", "--mail-from", mailAddress, "--mail-rcpt", mailAddress, "-T", messageFile(t, text))
				got := e.curl(t, "imap"+suffix, numbers[1], "/INBOX;MAILINDEX="+[]string{"1", "2"}[i])
				require.Contains(t, got, "Received: from client.example (["+proxyClient+"]) by mail.example.com\r\n")
				requireSameMail(t, text, got)
			}
			require.Regexp(t, `imap: login from 127\.0\.0\.9:\d+\n`, server.Log())
			require.NotContains(t, server.Log(), "login from 127.0.0.1")
		})
	}
}

// requireNoPasswords has a server that does not know that the client has TLS.
func (e *mailExample) requireNoPasswords(t *testing.T) {
	t.Helper()
	d := upgraded(t, e.caddyServer, "smtp", "127.0.0.1:"+e.ports["587"], mailHost)
	d.send("EHLO client.example")
	require.NotContains(t, d.expect(`(?m)^250 .*\n`), "AUTH")
	d = upgraded(t, e.caddyServer, "imap", "127.0.0.1:"+e.ports["143"], mailHost)
	d.send(`a LOGIN alice "open sesame"`)
	d.expect(`(?m)^a NO .*TLS is required`)
}
