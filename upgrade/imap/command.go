package imap

import (
	"bytes"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An imapRun is as much of a command as its sender sends without waiting: a line, and
// with each literal that does not wait, its octets and a line more. It is judged as
// a whole, and then passed on or refused as a whole.
type imapRun struct {
	filter *filter
	b      []byte // all that has arrived
	size   int    // of the run, as far as it has been read
	from   int    // where the octets of its last literal begin
	need   int    // so many octets must arrive before there is a verdict, if not zero

	tag, verb string
	args      imapArgs // nil for commands without a grammar of their own here
	strict    bool     // they must keep to it

	scan    dialogue.ArgumentScan // of the last line
	refusal string                // what to answer behind the tag, instead of passing it on
	later   bool                  // after a login it would do no harm
	long    bool                  // a line without an end
}

// The answers to what is not passed on.
const (
	imapInvalid   = " BAD Invalid command\r\n"
	imapTooLong   = " BAD Command too long\r\n"
	imapNoLiteral = " BAD Literal not accepted\r\n"
	imapWithheld  = " BAD Command not available\r\n"
	imapBadArgs   = " BAD Invalid arguments\r\n"
	imapNoLogin   = " NO [PRIVACYREQUIRED] STARTTLS required\r\n"
)

// read reads the client's next run.
func (f *filter) read(b []byte) *imapRun {
	r := &imapRun{filter: f, b: b, args: f.args, strict: f.args != nil}
	for first := !f.rest; ; first = false {
		line := r.line()
		if r.long {
			if first {
				r.begin(b[:r.size]) // whose command it is
			}
			r.refuse(imapTooLong, true)
		}
		if line == nil {
			return r
		}
		r.scan = dialogue.ScanArguments(line, false)
		args := line
		if first {
			args = r.begin(line)
		} else if imapDisguised(b[r.from:r.size]) {
			r.refuse(imapNoLiteral, true)
		}
		if !r.scan.Sound() {
			r.refuse(imapInvalid, false)
		}
		r.checkArgs(args)
		if r.refusal != "" || !r.scan.Literal || r.scan.Waits || !r.octets() {
			return r
		}
	}
}

// line takes the run's next line, or finds that it has not arrived.
func (r *imapRun) line() []byte {
	n := bytes.IndexByte(r.b[r.size:], '\n') + 1
	switch {
	case n == 0 && len(r.b) < dialogue.MaxFiltered:
		r.need = len(r.b) + 1
		return nil
	case n == 0 || r.size+n > dialogue.MaxFiltered:
		r.size, r.long = min(len(r.b), dialogue.MaxFiltered), true
		return nil
	}
	r.size += n
	return r.b[r.size-n : r.size]
}

// octets takes the octets of a literal that does not wait.
func (r *imapRun) octets() bool {
	if r.scan.Octets > int64(dialogue.MaxFiltered-r.size) {
		r.refuse(imapTooLong, true)
		return false
	}
	n := r.size + int(r.scan.Octets)
	if len(r.b) < n {
		r.need = n
		return false
	}
	if !r.args.literal(r.b[r.size:n]) {
		r.refuse(imapBadArgs, false)
		return false
	}
	r.from, r.size = r.size, n
	return true
}

// refuse settles the verdict, of which the first counts.
func (r *imapRun) refuse(why string, later bool) {
	if r.refusal == "" {
		r.refusal, r.later = why, later
	}
}

// begin looks at the first line of a command as the most lenient server does, and
// returns its arguments.
func (r *imapRun) begin(line []byte) (args []byte) {
	text, _, _ := strings.Cut(dialogue.TrimLine(line), "\x00")
	tag, rest := imapCut(strings.TrimLeft(text, " \t"))
	verb, arguments := imapCut(rest)
	r.tag, r.verb = "*", imapUpper(verb)
	if imapTag(tag) && len(tag) <= maxIMAPTag {
		r.tag = strings.Clone(tag)
	}
	indented := strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t")
	switch {
	case r.verb == "STARTTLS":
		r.refuse(r.filter.refusal, false)
	case r.tag == "*" || indented || !imapVerb(r.verb):
		r.refuse(imapInvalid, r.verb == "") // IDLE ends with a line that has no verb
	default:
		r.command()
	}
	return []byte(arguments)
}

// command looks at a command by its name.
func (r *imapRun) command() {
	login := r.verb == "LOGIN" || r.verb == "AUTHENTICATE"
	switch {
	case r.verb[0] == 'X':
		// Commands like XCLIENT grant to our address what is not for the client. None
		// that begins so is known to be of use before a login.
		r.refuse(imapWithheld, true)
	case login && r.filter.noLogin:
		r.refuse(imapNoLogin, false)
	case r.verb == "ID":
		r.args, r.strict = new(imapIDArgs), true
	case r.verb == "LOGIN":
		r.args = new(imapLoginArgs)
	case r.verb == "AUTHENTICATE" && r.scan.Literal:
		r.refuse(imapInvalid, false)
	}
}

// checkArgs checks what a line has of arguments, and whether a literal that does not
// wait may follow. One does so before the login only where the command is known to
// have one, since a server that refuses a command without reading all of it takes the
// octets for commands.
func (r *imapRun) checkArgs(args []byte) {
	now := r.scan.Literal && !r.scan.Waits
	switch {
	case r.refusal != "":
		return
	case now && (r.args == nil || r.filter.rest || !r.filter.takesAtOnce(r.scan.Octets)):
		r.refuse(imapNoLiteral, true)
		return
	case r.args == nil:
		return
	}
	args = dialogue.TrimTerminator(args)
	if r.scan.Literal {
		args = bytes.TrimSuffix(args[:bytes.LastIndexByte(args, '{')], []byte("~"))
	}
	r.strict = r.strict || now
	if ok := r.args.line(args, r.scan); !ok && r.strict {
		r.refuse(imapBadArgs, false)
	}
}

// imapVerb reports whether a command's name is made of the characters of one.
func imapVerb(verb string) bool {
	return verb != "" && !strings.ContainsFunc(verb, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_./", r)
	})
}

// imapDisguised reports whether a literal and the rest of its line are, for a server
// that has not seen the literal, a command that the filter keeps from the backend, or
// one that has the backend ask for more.
func imapDisguised(text []byte) bool {
	for line := range bytes.Lines(text) {
		if _, waits, ok := dialogue.AnnouncedLiteral(dialogue.TrimLine(line)); ok && waits && len(line) < len(text) {
			return true
		}
		words := bytes.FieldsFunc(line, func(r rune) bool { return r <= ' ' })
		if len(words) < 2 {
			continue
		}
		switch imapUpper(words[1]) {
		case "STARTTLS", "XCLIENT", "XFORWARD", "AUTHENTICATE":
			return true
		case "ID":
			if len(words) > 2 && words[2][0] == '(' {
				return true
			}
		}
	}
	return false
}
