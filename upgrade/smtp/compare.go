package smtp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxMissing bounds how many of a backend's extensions are told of.
const maxMissing = 32

// notCompared are keywords that one of the two answers may well lack: what there is inside
// TLS only (RFC 8689 section 2), ways to log in, and what is never for clients.
var notCompared = append([]string{"AUTH", "REQUIRETLS"}, smtpStripped...)

// A comparison is one of a backend's answer to EHLO with our own before TLS, which is the
// only one that a client in plaintext has to go by.
type comparison struct {
	ours    []string // what we announce
	foreign []string // of that, what the backend has not announced
	missing []string // what only the backend announces, as far as there is room
	more    bool     // there was not enough
}

// compareWith begins a comparison with what a configuration announces.
func compareWith(opts *dialogue.Options) *comparison {
	c := new(comparison)
	for _, extension := range announced(opts) {
		if keyword := dialogue.FirstWord([]byte(extension)); isCompared(keyword) {
			c.ours = append(c.ours, keyword)
		}
	}
	c.foreign = slices.Clone(c.ours)
	return c
}

func isCompared(keyword string) bool {
	return !slices.Contains(notCompared, keyword) && !strings.HasPrefix(keyword, "AUTH=")
}

// see takes a keyword of the backend's answer.
func (c *comparison) see(keyword string) {
	if i := slices.Index(c.foreign, keyword); i >= 0 {
		c.foreign = slices.Delete(c.foreign, i, i+1)
	}
	switch {
	case !isCompared(keyword), !dialogue.IsKeyword(keyword, "-"), slices.Contains(c.ours, keyword), slices.Contains(c.missing, keyword):
	case len(c.missing) == maxMissing:
		c.more = true
	default:
		c.missing = append(c.missing, strings.Clone(keyword))
	}
}

// warning says what differs, or nothing. The same answers make the same text.
func (c *comparison) warning() string {
	var differences []string
	if len(c.missing) > 0 {
		slices.Sort(c.missing)
		names := strings.Join(c.missing, ", ")
		if c.more {
			names += " and others"
		}
		differences = append(differences, "lacks the backend's "+names)
	}
	if len(c.foreign) > 0 {
		slices.Sort(c.foreign)
		differences = append(differences, "announces "+strings.Join(c.foreign, ", ")+", which the backend does not")
	}
	if len(differences) == 0 {
		return ""
	}
	return fmt.Sprintf("the answer to EHLO before TLS, which is all that clients in plaintext get to see, %s: "+
		"give capabilities the extensions that the backend has", strings.Join(differences, ", and "))
}

// compared takes the end of an answer to EHLO, the first of which is compared.
func (f *filter) compared(x *dialogue.Exchange, verb string) {
	c := f.comparison
	if c == nil {
		return
	}
	f.comparison = nil
	if warning := c.warning(); warning != "" {
		x.Warn(warning)
	}
	if verb == "introduction" {
		f.mediate(c.foreign)
	}
}

// mediate stays between a client in plaintext that has been told of extensions and a backend
// that lacks them, where the one would take for a command what the other did not send as one.
func (f *filter) mediate(foreign []string) {
	if slices.Contains(foreign, "PIPELINING") {
		f.lenient = true
		f.OneAtATime()
	}
	if slices.Contains(foreign, "CHUNKING") {
		f.lenient = true // see chunk
	}
}
