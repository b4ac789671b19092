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
func (r *Report) WriteText(out io.Writer) error { return r.write(out, new(text)) }

// WriteColor is WriteText for a terminal: how the probe ended has a colour.
func (r *Report) WriteColor(out io.Writer) error { return r.write(out, &text{color: true}) }

func (r *Report) write(out io.Writer, t *text) error {
	t.report(r)
	_, err := io.WriteString(out, t.String())
	return err
}

// A text has a label and a value in each row.
type text struct {
	strings.Builder
	color bool
}

func (t *text) line(text string) { _, _ = t.WriteString(text + "\n") }

// row is where everything passes that may be the peer's.
func (t *text) row(label, value string) { t.colored(label, value, "") }

// Colours of ANSI X3.64 that terminals have.
const (
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
	plain  = "\x1b[0m"
)

func (t *text) colored(label, value, color string) {
	value = escape(value)
	if t.color && color != "" {
		value = color + value + plain
	}
	t.line(fmt.Sprintf("%-17s %s", label+":", value))
}

// verdict is green if there are no problems, and else a row for each.
func (t *text) verdict(label, good string, problems []string) {
	if len(problems) == 0 {
		t.colored(label, good, green)
	}
	for _, problem := range problems {
		t.colored(label, problem, red)
	}
}

func (t *text) report(r *Report) {
	for _, u := range r.Dialogue {
		for _, line := range u.lines() {
			t.line(line)
		}
	}
	if len(r.Dialogue) > 0 {
		t.line("")
	}
	how := r.Protocol
	if r.ImplicitTLS {
		how += ", TLS from the first byte"
	}
	t.row("Server", r.Address+" ("+how+")")
	for _, a := range r.Tried {
		if a.Error != "" {
			t.row("Tried", a.Address+", "+a.Error)
		} else {
			t.row("Connected", a.Address)
		}
	}
	if !r.ImplicitTLS {
		t.row("Login before TLS", r.PlaintextLogin)
	}
	if r.TLS != nil {
		t.tls(r)
	}
	for _, v := range r.Versions {
		t.row(v.Version, map[string]string{"yes": "accepted", "no": "refused", "unknown": "not known"}[v.Accepted]+after(", ", v.Error))
	}
	t.row("Time", r.Times.String())
	t.result(r)
	for _, c := range r.Certificates {
		_, _ = t.WriteString(c.PEM) // which is base64
	}
}

func (t *text) tls(r *Report) {
	t.row("TLS", strings.Join([]string{
		r.TLS.Version, r.TLS.CipherSuite, cmp.Or(r.TLS.Group, "no group"), cmp.Or(r.TLS.ALPN, "no") + " ALPN",
	}, ", "))
	if r.ClientCertificate != certificateNotAsked {
		t.row("Client", "certificate "+r.ClientCertificate)
	}
	for _, c := range r.Certificates {
		t.certificate(c)
	}
	t.verdict("Verification", "ok, for "+r.ServerName, r.Verification.Problems)
	if r.TLSARecord != "" {
		t.row("TLSA to publish", r.TLSARecord)
	}
	if r.DANE != nil {
		t.dane(r.DANE)
	}
	if r.MTASTS != nil {
		t.mtasts(r.MTASTS)
	}
	if len(r.Capabilities) > 0 || r.CapabilitiesError != "" {
		t.row("Inside TLS", cmp.Or(after("not known, ", r.CapabilitiesError), strings.Join(r.Capabilities, ", ")))
	}
}

func (t *text) certificate(c *Certificate) {
	t.row("Certificate", cmp.Or(c.Subject, "no subject"))
	if len(c.Names) > 0 {
		t.row("  names", strings.Join(c.Names, ", "))
	}
	t.row("  issuer", cmp.Or(c.Issuer, "no name"))
	t.row("  valid", c.NotBefore.Format(time.DateTime)+" to "+c.NotAfter.Format(time.DateTime)+" UTC, "+lifetime(c.left))
	t.row("  SHA-256", c.SHA256)
	t.row("  key's SHA-256", c.KeySHA256)
}

func (t *text) dane(d *DANE) {
	for _, record := range d.Records {
		verdict := ", does not match"
		if record.Matches {
			verdict = ", matches"
		}
		t.row("TLSA published", record.String()+verdict+after(": ", record.Problem))
	}
	t.verdict("DANE", "ok, "+d.Resolver+" says that DNSSEC validates the records", d.Problems)
}

func (t *text) mtasts(p *MTASTS) {
	if p.Mode != "" {
		t.row("MTA-STS policy", p.Mode+", for "+strconv.Itoa(p.MaxAge)+" s, "+strings.Join(p.MX, ", ")+after(", id ", p.ID))
	}
	t.verdict("MTA-STS", "ok", p.Problems)
}

// result comes last, with what a person may want to know of it.
func (t *text) result(r *Report) {
	if r.Hint != "" {
		t.row("Hint", r.Hint)
	}
	if r.Warning != "" {
		t.colored("Warning", r.Warning, yellow)
	}
	color := red
	if r.Outcome == Verified {
		color = green
	}
	t.colored("Result", r.Outcome+after(", ", r.Error), color)
}

// after is text with something in front, or nothing.
func after(front, text string) string {
	if text == "" {
		return ""
	}
	return front + text
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
