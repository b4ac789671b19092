package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
)

const message = "From: Caddy <caddy@localhost>\r\nSubject: Hello\r\n\r\nIt came over TLS.\r\n"

// imapAnswers are what precedes the OK of each command. Anybody may log in, to an
// INBOX of one message.
var imapAnswers = map[string]string{
	"CAPABILITY": "* CAPABILITY IMAP4rev1\r\n",
	"LOGIN":      "",
	"NOOP":       "",
	"LIST":       "* LIST () \"/\" INBOX\r\n",
	"SELECT":     "* FLAGS (\\Seen)\r\n* 1 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 1] Valid\r\n",
	"FETCH":      fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s)\r\n", len(message), message),
	"LOGOUT":     "* BYE until next time\r\n",
}

// serveIMAP has one message for everybody.
func serveIMAP(conn net.Conn) error {
	_, err := fmt.Fprint(conn, "* OK backend ready\r\n")
	verb, lines := "", bufio.NewReader(conn)
	for err == nil && verb != "LOGOUT" {
		line, readErr := lines.ReadString('\n')
		if readErr != nil {
			return unlessEOF(readErr)
		}
		tag, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		verb, _, _ = strings.Cut(strings.ToUpper(rest), " ")
		if answer, ok := imapAnswers[verb]; ok {
			_, err = fmt.Fprintf(conn, "%s%s OK %s done\r\n", answer, tag, verb)
		} else {
			_, err = fmt.Fprintf(conn, "%s BAD unknown command\r\n", tag)
		}
	}
	return err
}
