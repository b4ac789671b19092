package lenient

var ircReadings = []reading{
	{"STARTTLS", "irc", 0, "starttls x\r\n", []string{"STARTTLS"}},
	{"WEBIRC", "irc", 0, "WEBIRC pw gateway host 192.0.2.5\r\n", []string{"WEBIRC"}},
	{"CR is nothing", "irc", 0, "START\rTLS\n", []string{"STARTTLS"}},
	{"NUL is a blank", "irc", 0, "\x00STARTTLS\x00x\r\n", []string{"STARTTLS"}},
	{"a source", "irc", 0, " :a  STARTTLS\r\n", []string{"STARTTLS"}},
	{"tags", "irc", 0, "@a=b :c STARTTLS\r\n", []string{"STARTTLS"}},
	{"nothing but a source", "irc", 0, ":STARTTLS\r\n", nil},
	{"a parameter", "irc", 0, "PING STARTTLS\r\nNICK :STARTTLS\r\n", nil},
	{"half of a registration", "irc", 0, "NICK a\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"registered", "irc", 0, "NICK a\r\nUSER a 0 * :a\r\nSTARTTLS\r\nWEBIRC a b c d\r\n", nil},
	{"registration refused", "irc", RefuseLogin, "NICK a\r\nUSER a 0 * :a\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"passwords", "irc", Cleartext, "pass a\r\nNICK a\r\nUSER a 0 * :a\r\nOPER a b\r\nAUTHENTICATE PLAIN\r\n", []string{"PASS", "OPER", "AUTHENTICATE"}},
}
