package attacks

import (
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// ftpRows are about TLS, active mode and passwords in plaintext.
func ftpRows() []Row {
	s := &speller{}
	for _, command := range []string{"CCC", "PROT C", "PORT 127,0,0,1,4,5", "USER joe"} {
		s.spell(command)
	}
	rows := s.rows
	add := adder(&rows)
	for _, command := range []string{
		"AUTH TLS", "AUTH SSL", "ADAT AA", "CCC", "PBSZ 0", "PROT C", "PROT P", "MIC AA", "CONF AA", "ENC AA",
		"PORT 127,0,0,1,4,5", "EPRT |1|127.0.0.1|1029|", "LPRT 4,4,127,0,0,1,2,4,5", "CPSV", "SPSV", "LPSV", "REIN",
	} {
		verb, _, _ := strings.Cut(command, " ")
		for name, telnet := range telnetCommands {
			add("Telnet's commands", name+" before "+command, 0, telnet+command+"\r\n")
			add("Telnet's commands", name+" in "+command, 0, verb[:1]+telnet+command[1:]+"\r\n")
			add("Telnet's commands", name+" behind "+verb, 0, verb+telnet+command[len(verb):]+"\r\n")
			add("Telnet's commands", name+" at the end before "+command, 0, "NOOP"+telnet+"\r\n"+command+"\r\n")
		}
		add("one of them", command, 0, command+"\r\n")
		add("greeting refuses", command, lenient.RefuseGreeting, "NOOP\r\n", command+"\r\n")
		add("logged in", command, 0, "USER anonymous\r\n", "PASS a@\r\n", command+"\r\n")
		add("login refused", command, lenient.RefuseLogin, "USER anonymous\r\n", "PASS a@\r\n", command+"\r\n")
		add("many commands", command, 0, strings.Repeat("NOOP\r\n", 2000)+command+"\r\n")
		add("amid replies of several lines", command, 0, "STAT\r\nHELP\r\nFEAT\r\n"+command+"\r\n")
		add("amid a data connection", command, 0, "PBSZ 0\r\nPROT P\r\nEPSV\r\n"+command+"\r\nPASV\r\n"+command+"\r\n")
	}
	add("another user", "behind nobody", 0, "USER anonymous\r\n", "USER joe\r\n", "PASS secret\r\n")
	add("another user", "a password alone", 0, "PASS secret\r\n")
	add("another user", "an account", 0, "USER joe\r\n", "ACCT secret\r\n")
	add("another user", "a longer name", 0, "USER anonymous joe\r\n", "PASS secret\r\n", "USER ftp\x00joe\r\n", "USER joe anonymous\r\n", "PASS secret\r\n")
	return rows
}

// telnetCommands are commands of Telnet's, as FTP's servers take them out of lines.
var telnetCommands = map[string]string{
	"IP": "\xff\xf4", "DM": "\xff\xf2", "NOP": "\xff\xf1", "DO": "\xff\xfd\x01", "WILL": "\xff\xfb\x01", "IP and DM": "\xff\xf4\xff\xf2",
	"IAC": "\xff", "DO alone": "\xff\xfd",
}
