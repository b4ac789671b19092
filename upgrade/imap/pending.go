package imap

import (
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxIMAPTag is the longest tag that is passed on. Dovecot takes 126 octets.
const maxIMAPTag = 126

// What a command that has no answer yet means to the filter if it succeeds.
type imapKind byte

const (
	imapOther imapKind = iota
	imapLogin
	imapCompress
)

// An imapSent is a command that has been passed on.
type imapSent struct {
	tag  string
	kind imapKind

	// An untagged BAD may have been the answer (RFC 9051 section 7.1.3): a server
	// that cannot find the tag has no other way. One with a tag may still come.
	doubtful bool
}

// imapPending remembers the commands that have no answer yet, in their order. A
// tag may be used more than once: then the first command with it is answered first.
type imapPending []imapSent

// add makes room for a command if it must and may, and reports whether there is any.
func (p *imapPending) add(tag string, kind imapKind) bool {
	if len(*p) >= dialogue.MaxPending {
		i := slices.IndexFunc(*p, func(c imapSent) bool { return c.doubtful })
		if i < 0 {
			return false
		}
		*p = slices.Delete(*p, i, i+1)
	}
	*p = append(*p, imapSent{tag: tag, kind: kind})
	return true
}

// answered takes out the command that a tagged response belongs to. last means that
// no command came after it.
func (p *imapPending) answered(tag string) (c imapSent, last, ok bool) {
	i := slices.IndexFunc(*p, func(c imapSent) bool { return c.tag == tag })
	if i < 0 {
		return imapSent{}, false, false
	}
	c, last = (*p)[i], i == len(*p)-1
	*p = slices.Delete(*p, i, i+1)
	return c, last, true
}

// doubt marks the command that an untagged BAD may have answered. last means that
// no command came after it.
func (p imapPending) doubt() (last bool) {
	i := slices.IndexFunc(p, func(c imapSent) bool { return !c.doubtful })
	if i >= 0 {
		p[i].doubtful = true
	}
	return i == len(p)-1
}

// lastTag is the tag of the command that was passed on last.
func (p imapPending) lastTag() string {
	if len(p) == 0 {
		return ""
	}
	return p[len(p)-1].tag
}

// login reports whether a login may yet succeed.
func (p imapPending) login() bool { return slices.ContainsFunc(p, imapSent.mayLogIn) }

// loginLast reports whether the command that was passed on last is such a login.
func (p imapPending) loginLast() bool { return len(p) > 0 && p[len(p)-1].mayLogIn() }

func (c imapSent) mayLogIn() bool { return c.kind == imapLogin && !c.doubtful }
