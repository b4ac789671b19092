package probe

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteText writes a report for people.
func (r *Report) WriteText(out io.Writer) error {
	t := new(text)
	for _, u := range r.Dialogue {
		for _, line := range u.lines() {
			t.line(line)
		}
	}
	if len(r.Dialogue) > 0 {
		t.line("")
	}
	t.row("Server", r.Address+" ("+r.Protocol+")")
	for _, a := range r.Tried {
		if a.Error != "" {
			t.row("Tried", a.Address+", "+a.Error)
		} else {
			t.row("Connected", a.Address)
		}
	}
	t.row("Login before TLS", r.PlaintextLogin)
	if r.TLS != nil {
		t.tls(r)
	}
	t.row("Time", r.Times.String())
	result := r.Outcome
	if r.Error != "" {
		result += ", " + r.Error
	}
	t.row("Result", result)
	_, err := io.WriteString(out, t.String())
	return err
}

// A text has a label and a value in each row.
type text struct{ strings.Builder }

func (t *text) line(text string) { _, _ = t.WriteString(text + "\n") }

// row is where everything passes that may be the peer's.
func (t *text) row(label, value string) {
	t.line(fmt.Sprintf("%-17s %s", label+":", escape(value)))
}

func (t *text) tls(r *Report) {
	t.row("TLS", strings.Join([]string{
		r.TLS.Version, r.TLS.CipherSuite, cmp.Or(r.TLS.Group, "no group"), cmp.Or(r.TLS.ALPN, "no") + " ALPN",
	}, ", "))
	for _, c := range r.Certificates {
		t.row("Certificate", cmp.Or(c.Subject, "no subject"))
		if len(c.Names) > 0 {
			t.row("  names", strings.Join(c.Names, ", "))
		}
		t.row("  issuer", cmp.Or(c.Issuer, "no name"))
		t.row("  valid", c.NotBefore.Format(time.DateTime)+" to "+c.NotAfter.Format(time.DateTime)+" UTC, "+daysLeft(c.DaysLeft))
	}
	if r.Verification.Verified {
		t.row("Verification", "ok, for "+r.ServerName)
	}
	for _, problem := range r.Verification.Problems {
		t.row("Verification", problem)
	}
}

func daysLeft(days int) string {
	if days < 0 {
		return "expired"
	}
	return strconv.Itoa(days) + " days left"
}

// String names the phases.
func (t *Times) String() string {
	var phases []string
	for _, phase := range []struct {
		name string
		took *Milliseconds
	}{{"resolve", t.Resolve}, {"connect", t.Connect}, {"negotiate", t.Negotiate}, {"handshake", t.Handshake}} {
		if phase.took != nil {
			phases = append(phases, phase.name+" "+phase.took.String()+" ms")
		}
	}
	return strings.Join(phases, ", ")
}

// escape makes a text of one line, on which a terminal does not act: what is not to
// be seen, be it a control character or an octet that is not UTF-8, is spelt out.
func escape(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if shown := text[:size]; strconv.IsPrint(r) && r != utf8.RuneError {
			b.WriteString(shown)
		} else {
			quoted := strconv.Quote(shown)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}
