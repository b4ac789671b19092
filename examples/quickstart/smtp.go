package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// smtpReplies are the replies to all commands but DATA.
var smtpReplies = map[string]string{
	"EHLO": "250-backend\r\n250 8BITMIME",
	"HELO": "250 backend",
	"MAIL": "250 2.1.0 Ok",
	"RCPT": "250 2.1.5 Ok",
	"RSET": "250 2.0.0 Ok",
	"NOOP": "250 2.0.0 Ok",
	"QUIT": "221 2.0.0 Bye",
}

// serveSMTP accepts any mail, and prints it.
func serveSMTP(conn net.Conn) error {
	_, err := fmt.Fprint(conn, "220 backend ESMTP\r\n")
	verb, lines := "", bufio.NewReader(conn)
	for err == nil && verb != "QUIT" {
		line, readErr := lines.ReadString('\n')
		if readErr != nil {
			return unlessEOF(readErr)
		}
		verb, _, _ = strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		reply, ok := smtpReplies[verb]
		switch {
		case verb == "DATA":
			reply, err = takeMail(conn, lines)
		case !ok:
			reply = "502 5.5.1 Not implemented"
		}
		if err == nil {
			_, err = fmt.Fprint(conn, reply+"\r\n")
		}
	}
	return err
}

// takeMail prints what comes before the line that is a dot.
func takeMail(conn net.Conn, lines *bufio.Reader) (reply string, err error) {
	if _, err := fmt.Fprint(conn, "354 End with a dot\r\n"); err != nil {
		return "", err
	}
	fmt.Println("a mail has arrived:")
	for {
		line, err := lines.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return "250 2.0.0 Accepted", err
		}
		fmt.Println(strings.TrimRight("    "+strings.TrimPrefix(line, "."), " \r\n"))
	}
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
