package ftp

import (
	"bytes"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

var rules = dialogue.CommandRules{
	Line:   2048, // of the servers that people know, some cut a line there
	Answer: 2048, // there are none

	SyntaxError: "501 Syntax error\r\n",
	TooLong:     "500 Line too long\r\n",
}

// known are the commands whose replies are known, and that open no connections but those
// which are looked at: of RFC 959, 1123 (with an X), 2389, 2428, 2640, 3659, 7151, and what
// is in use beside them. AUTH, CCC, PBSZ, PROT and REIN never reach a backend.
var known = verbs("ABOR ACCT ALLO APPE AUTH AVBL CCC CDUP CLNT CSID CWD DELE DSIZ EPRT EPSV FEAT HASH HELP HOST LANG LIST " +
	"LPRT MDTM MFCT MFF MFMT MKD MLSD MLST MODE NLST NOOP OPTS PASS PASV PBSZ PORT PROT PWD QUIT RANG REIN REST RETR RMD " +
	"RNFR RNTO SITE SIZE SMNT STAT STOR STOU STRU SYST TYPE USER XCRC XCUP XCWD XMD5 XMKD XPWD XRMD XSHA XSHA1 XSHA256 XSHA512")

// transfers are those that need a data connection.
var transfers = verbs("APPE LIST MLSD NLST RETR STOR STOU")

func verbs(list string) map[string]bool {
	set := map[string]bool{}
	for _, verb := range strings.Fields(list) {
		set[verb] = true
	}
	return set
}

// A filter joins a client to a backend that greets afresh, and whose TLS, if it has some, is
// ours. It never leaves: each data connection is agreed on in between. It swallows the
// greeting, unless the client began with TLS and waits for it.
type filter struct {
	dialogue.CommandFilter
	direct  bool // the client is to have the greeting
	greeted bool // the backend has sent it before

	secure     bool // the client is inside TLS
	required   bool // and must have its data connections there
	upgraded   bool // it is the backend that is inside TLS
	noTLS      bool // neither can be
	refuseAuth bool // the client is in plaintext, and may not log in but as nobody
	anonymous  bool // which it has begun to do

	introduction []byte // what the client has established in plaintext
	introduced   int    // replies to that which are still to come

	reply  replyReader
	within bool // amid a reply of several lines

	midCommand, midReply bool // a part of a line has been passed on

	buffer, private bool // the client has said PBSZ, and PROT P
	data            passive
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	f := &filter{
		direct: s.Client == dialogue.Unheard && !s.Upgraded, upgraded: s.Upgraded,
		noTLS: s.Backend == dialogue.Introduced, secure: !s.Upgraded && !s.Cleartext, refuseAuth: s.Cleartext && !s.PlaintextAuth,
	}
	f.required = f.secure && !s.Options.Optional
	if s.Client == dialogue.Introduced {
		f.introduction = s.Kept
	}
	f.Init(f, rules)
	f.greeted = s.Backend == dialogue.Greeted
	return f
}

// Start implements dialogue.Filter.
func (f *filter) Start(x *dialogue.Exchange) {
	if f.greeted {
		f.Replied(x)
		return
	}
	f.CommandFilter.Start(x)
}

// BackendEnded reports a backend that ended before its greeting.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if f.Next() == dialogue.Greeting {
		x.CloseFor(dialogue.ErrBackend)
	}
	f.Forget()
}

// Telnet's commands in front of ABOR, STAT and QUIT (RFC 959 section 4.1.3) mean nothing
// here: nothing waits behind what they are to interrupt.
const (
	telnetIAC = "\xff"
	telnetIP  = "\xff\xf4"
	telnetDM  = "\xff\xf2"
)

// FromClient implements dialogue.Filter. It takes Telnet's commands out.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	if f.upgraded {
		if n, mine := f.passCommand(x, b); !mine {
			return n
		}
	}
	switch {
	case bytes.HasPrefix(b, []byte(telnetIP)), bytes.HasPrefix(b, []byte(telnetDM)):
		return len(telnetIP)
	case string(b) == telnetIAC:
		return 0
	}
	return f.CommandFilter.FromClient(x, b)
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	if f.upgraded {
		if n, mine := f.passReply(x, b); !mine {
			return n
		}
	}
	return f.CommandFilter.FromBackend(x, b)
}

// Reply implements dialogue.Grammar.
func (f *filter) Reply(x *dialogue.Exchange, line []byte) {
	first := !f.within
	code, last := f.reply.read(line)
	f.within = code != "" && !last
	verb := f.Next()
	switch {
	case verb == dialogue.Greeting:
		f.greeting(x, code, last, line)
	case code == "":
		x.ToClient(line) // which is an answer to nothing
	case verb == introduction:
		f.introducedTo(x, last)
	case verb == ownPBSZ, verb == ownPROT:
		f.protectedBy(x, verb, code, last, line)
	case verb == askedEPSV, verb == askedPASV:
		f.passiveReply(x, verb, code, last, line)
	case code == "227", code == "228", code == "229":
		x.CloseFor(dialogue.ErrBackend) // the client would go there by itself
	case verb == "FEAT" && code[0] != '1':
		f.features(x, code, first, last, line)
		f.ended(x, last)
	default:
		x.ToClient(line)
		f.data.used = f.data.used || code == "150" || code == "125"
		f.ended(x, last && code[0] != '1') // which another reply follows
	}
}

func (f *filter) ended(x *dialogue.Exchange, ended bool) {
	if ended {
		f.Replied(x)
	}
}

// greeting waits for 220. What comes before it, 120, says how long that takes.
func (f *filter) greeting(x *dialogue.Exchange, code string, last bool, line []byte) {
	switch {
	case code == "220", code == "120":
		if f.direct {
			x.ToClient(line)
		}
		if last && code == "220" {
			f.Replied(x)
			f.introduce(x)
		}
	case code != "" && isRefusal(code) && last:
		x.Refused()
		x.Close(line) // a client past the greeting takes it for its first command's answer
	case code != "" && isRefusal(code):
		x.ToClient(line)
	default:
		x.CloseFor(dialogue.ErrBackend)
	}
}

// introduction is the verb of what a client has said before it chose to stay in plaintext.
const introduction = "introduction"

// introduce tells the backend what a client in plaintext has established, which has had its
// answers.
func (f *filter) introduce(x *dialogue.Exchange) {
	for _, line := range bytes.SplitAfter(f.introduction, []byte("\n")) {
		if len(line) > 0 {
			f.Forward(x, introduction, line)
			f.introduced++
		}
	}
	f.introduction = nil
	if f.introduced == 0 {
		f.GoOn(x)
	}
}

func (f *filter) introducedTo(x *dialogue.Exchange, last bool) {
	if !last {
		return
	}
	f.Replied(x)
	if f.introduced--; f.introduced == 0 {
		f.GoOn(x)
	}
}
