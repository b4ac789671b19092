package integration_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// serveLines answers line by line.
func serveLines(conn net.Conn, greeting string, answer func(line string) string) error {
	if _, err := io.WriteString(conn, greeting); err != nil {
		return nil
	}
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil
		}
		if _, err := io.WriteString(conn, answer(line)); err != nil {
			return nil
		}
	}
}

// lineSessions begin a session in each of the protocols that consist of lines.
var lineSessions = map[string]func() func(line string) string{
	"smtp":  func() func(string) string { return new(mailSession).answer },
	"lmtp":  func() func(string) string { return new(mailSession).answer },
	"imap":  func() func(string) string { return new(imapSession).answer },
	"pop3":  func() func(string) string { return new(pop3Session).answer },
	"sieve": func() func(string) string { return sieveAnswer },
	"line":  func() func(string) string { return lineAnswer },

	"connect": func() func(string) string { return lineAnswer }, // in the tunnel
}

// verbOf splits a line into its first word, in upper case, and the rest.
func verbOf(line string) (verb, rest string) {
	verb, rest, _ = strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	return strings.ToUpper(verb), rest
}

// A mailSession is one of SMTP or LMTP, which knows what it has heard.
type mailSession struct {
	sender, text bool
}

func (s *mailSession) answer(line string) string {
	if s.text {
		if s.text = line != ".\r\n"; s.text {
			return ""
		}
		return "250 2.0.0 Ok\r\n"
	}
	verb, _ := verbOf(line)
	switch verb {
	case "EHLO", "LHLO":
		return "250-backend.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
	case "MAIL":
		s.sender = true
	case "RCPT":
		if !s.sender {
			return "503 5.5.1 MAIL first\r\n"
		}
	case "DATA":
		s.text, s.sender = true, false
		return "354 Go ahead\r\n"
	case "QUIT":
		return "221 2.0.0 Bye\r\n"
	case "FAKE":
		return "500 5.5.2 Unknown command\r\n"
	}
	return "250 2.0.0 Ok\r\n"
}

// An imapSession knows whether somebody has logged in.
type imapSession struct{ authenticated bool }

func (s *imapSession) answer(line string) string {
	tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	switch verb, _ := verbOf(command); verb {
	case "CAPABILITY":
		return "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + tag + " OK done\r\n"
	case "LOGIN":
		s.authenticated = true
	case "SELECT":
		if !s.authenticated {
			return tag + " NO log in first\r\n"
		}
	}
	return tag + " OK done\r\n"
}

// A pop3Session knows whether it has heard of a user.
type pop3Session struct{ user bool }

func (s *pop3Session) answer(line string) string {
	switch verb, _ := verbOf(line); verb {
	case "CAPA":
		return "+OK\r\nUSER\r\nTOP\r\n.\r\n"
	case "USER":
		s.user = true
	case "PASS":
		if !s.user {
			return "-ERR USER first\r\n"
		}
	}
	return "+OK done\r\n"
}

const sieveCapabilities = "\"IMPLEMENTATION\" \"backend\"\r\n\"SASL\" \"PLAIN\"\r\n\"SIEVE\" \"fileinto\"\r\n" +
	"\"VERSION\" \"1.0\"\r\nOK \"backend ready\"\r\n"

func sieveAnswer(line string) string {
	switch verb, rest := verbOf(line); {
	case verb == "CAPABILITY":
		return sieveCapabilities
	case verb == "NOOP" && rest != "":
		return "OK (TAG " + rest + ") \"done\"\r\n"
	}
	return "OK \"done\"\r\n"
}

func lineAnswer(line string) string { return "GOT " + strings.TrimRight(line, "\r\n") + "\r\n" }

// Tags of LDAP (RFC 4511 appendix B), and what a backend that has no TLS makes of them.
const (
	ldapBindRequest     = 0x60
	ldapSearchRequest   = 0x63
	ldapExtendedRequest = 0x77
	ldapSASL            = 0xa3 // the choice of authentication in a bind
)

// serveLDAP answers message by message.
func serveLDAP(conn net.Conn) error {
	for r := bufio.NewReader(conn); ; {
		message, err := readLDAP(r)
		if err != nil {
			return unlessEnded(err)
		}
		if _, err := io.WriteString(conn, answerLDAP(message)); err != nil {
			return nil
		}
	}
}

// errNoMessage is that a backend cannot make anything of what has come.
var errNoMessage = errors.New("not a message of the protocol")

// unlessEnded is an error, but for the end of what is read.
func unlessEnded(err error) error {
	if errors.Is(err, errNoMessage) {
		return err
	}
	return nil
}

// readLDAP reads a message, which may be long.
func readLDAP(r *bufio.Reader) (string, error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	length := int64(head[1])
	if octets := int(head[1]) - 0x80; octets >= 0 {
		long := make([]byte, 8)
		if head[0] != 0x30 || octets == 0 || octets > 3 {
			return "", fmt.Errorf("%w: %x", errNoMessage, head)
		}
		if _, err := io.ReadFull(r, long[8-octets:]); err != nil {
			return "", err
		}
		head = append(head, long[8-octets:]...)
		length = int64(binary.BigEndian.Uint64(long))
	}
	if head[0] != 0x30 {
		return "", fmt.Errorf("%w: %x", errNoMessage, head)
	}
	message := bytes.NewBuffer(head)
	_, err := io.CopyN(message, r, length)
	return message.String(), err
}

// answerLDAP says success to simple binds, asks for more in SASL binds, finds nothing,
// and knows no extended operations.
func answerLDAP(message string) string {
	body := message[2:]
	if octets := int(message[1]) - 0x80; octets >= 0 {
		body = body[octets:]
	}
	if len(body) < 2 || len(body) < 3+int(body[1]) {
		return ""
	}
	id := body[:2+int(body[1])]
	operation, response, code := body[len(id)], byte(0), byte(0)
	switch operation {
	case ldapBindRequest:
		response = 0x61
		if bindsBySASL(body[len(id):]) {
			code = 14 // saslBindInProgress
		}
	case ldapSearchRequest:
		response = 0x65 // SearchResultDone
	case ldapExtendedRequest:
		response, code = 0x78, 2 // protocolError
	default:
		return ""
	}
	result := string([]byte{response, 7, 0x0a, 1, code, 0x04, 0, 0x04, 0})
	return string([]byte{0x30, byte(len(id) + len(result))}) + id + result
}

// bindsBySASL reports whether a BindRequest, with lengths of one octet, is by SASL: the
// choice is behind the version, in three octets, and the name.
func bindsBySASL(request string) bool {
	if len(request) < 8 {
		return false
	}
	choice := 7 + int(request[6])
	return choice < len(request) && request[choice] == ldapSASL
}

// servePostgres asks every StartupMessage for SCRAM, and is done with all else.
func servePostgres(conn net.Conn) error {
	message, err := readStartup(conn)
	if err != nil {
		return unlessEnded(err)
	}
	if answer := answerPostgres(message); answer != "" {
		_, _ = io.WriteString(conn, answer)
		_, _ = io.Copy(io.Discard, conn)
	}
	return nil
}

// readStartup reads one of the packets that a session may begin with.
func readStartup(r io.Reader) (string, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	rest := int64(binary.BigEndian.Uint32(head)) - 8
	if rest < 0 || rest > 10000 {
		return "", fmt.Errorf("%w: %x", errNoMessage, head)
	}
	packet := bytes.NewBuffer(head)
	_, err := io.CopyN(packet, r, rest)
	return packet.String(), err
}

// answerPostgres is empty for what is no StartupMessage.
func answerPostgres(packet string) string {
	if packet[4:8] != "\x00\x03\x00\x00" {
		return ""
	}
	mechanisms := "SCRAM-SHA-256\x00\x00"
	answer := binary.BigEndian.AppendUint32([]byte{'R'}, uint32(8+len(mechanisms)))
	return string(append(binary.BigEndian.AppendUint32(answer, 10), mechanisms...))
}
