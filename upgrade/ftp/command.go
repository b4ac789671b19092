package ftp

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

const (
	noDataYet     = "425 Use EPSV or PASV first"
	needsPrivate  = "521 Data connections need PROT P"
	deniedByRules = "534 Request denied for policy reasons"
)

// Command implements dialogue.Grammar.
func (f *filter) Command(x *dialogue.Exchange, verb string, line []byte) {
	argument := argumentOf(line)
	switch {
	case !known[verb]:
		f.Refuse(x, unknownCommand+"\r\n")
	case hasTelnet(line):
		f.Refuse(x, rules.SyntaxError)
	case verb == "AUTH", verb == "CCC", verb == "PBSZ", verb == "PROT":
		f.Refuse(x, f.security(x, verb, argument)+"\r\n")
	case verb == "REIN", verb == "PORT", verb == "LPRT":
		f.Refuse(x, notImplemented+"\r\n")
	case verb == "EPRT":
		f.Refuse(x, "522 Active mode is not supported, use EPSV\r\n")
	case verb == "EPSV", verb == "PASV":
		f.passive(x, verb, argument)
	case transfers[verb] && !f.data.ready():
		f.Refuse(x, f.notReady()+"\r\n")
	case f.refuseAuth && !f.mayLogIn(verb, argument):
		x.RefusedLogin()
		f.Refuse(x, needsTLS+"\r\n")
	case verb == "FEAT":
		f.Forward(x, verb, line)
	default:
		f.Forward(x, "", line)
	}
}

// argumentOf is what is behind the verb.
func argumentOf(line []byte) string {
	text := bytes.Trim(dialogue.TrimTerminator(line), " \t")
	at := bytes.IndexAny(text, " \t")
	if at < 0 {
		return ""
	}
	return string(bytes.TrimLeft(text[at:], " \t"))
}

// hasTelnet finds Telnet's commands within a line, where servers take them out, with what
// follows: only the octet itself, doubled, is a part of a name (RFC 854).
func hasTelnet(line []byte) bool {
	for {
		at := bytes.IndexByte(line, telnetIAC[0])
		switch {
		case at < 0:
			return false
		case at+1 == len(line) || line[at+1] != telnetIAC[0]:
			return true
		}
		line = line[at+2:]
	}
}

// security answers what is about TLS, of which the backend knows nothing.
func (f *filter) security(x *dialogue.Exchange, verb, argument string) string {
	switch {
	case f.upgraded, f.noTLS:
		return notImplemented // as by a server without TLS
	case !f.secure && verb == "AUTH":
		return "503 AUTH must come before USER"
	case !f.secure:
		return needsSecurity
	case verb == "AUTH":
		return "503 TLS is active already"
	case verb == "CCC":
		return deniedByRules // the control connection stays inside TLS
	case verb == "PBSZ":
		return f.bufferSize(argument)
	}
	return f.protection(x, argument)
}

// bufferSize takes any size: TLS has its own (RFC 4217 section 9).
func (f *filter) bufferSize(argument string) string {
	if argument == "" || len(argument) > 10 {
		return "501 PBSZ needs a number"
	}
	for i := range len(argument) {
		if !isDigit(argument[i]) {
			return "501 PBSZ needs a number"
		}
	}
	f.buffer = true
	return "200 PBSZ=0"
}

// protection is for data connections that are still to come: one that the client could make
// already is withdrawn.
func (f *filter) protection(x *dialogue.Exchange, argument string) string {
	level := dialogue.UpperASCII([]byte(argument))
	switch {
	case !f.buffer:
		return "503 PBSZ must come first"
	case level == "C" && f.required:
		return deniedByRules
	case level == "C", level == "P":
		if private := level == "P"; f.private != private {
			f.private = private
			f.data.withdraw(x)
		}
		return "200 Protection level is " + level
	case level == "S", level == "E":
		return "536 Protection level is not supported by TLS"
	}
	return "504 Unknown protection level"
}

// mayLogIn lets a client in plaintext log in as nobody: the password is none then.
func (f *filter) mayLogIn(verb, argument string) bool {
	switch verb {
	case "USER":
		f.anonymous = isAnonymous(argument)
		return f.anonymous
	case "PASS", "ACCT":
		return f.anonymous
	}
	return true
}

// notReady is why there cannot be a data connection yet.
func (f *filter) notReady() string {
	if f.required && !f.private {
		return needsPrivate
	}
	return noDataYet
}
