package dialogue

import (
	"cmp"
	"time"
)

// The default limits. They are generous for every client that wants TLS, and small for one
// that wants something else.
const (
	defaultMessage  = 4096
	defaultBytes    = 64 << 10
	defaultCommands = 50
	defaultErrors   = 5
)

// Limits bound what a peer may say before TLS. Of each, zero means the default. A peer
// that goes beyond is told so in its protocol's words, and the connection ends.
type Limits struct {
	// Message bounds a line, a packet or an element, in octets. Default: the protocol's
	// own, Protocol.MaxLine. Beyond it is ErrLineTooLong.
	Message int

	// Bytes bounds all that the peer says, in octets. Default: 64 KiB, or Message if that
	// is more. Beyond it is ErrTooMany.
	Bytes int

	// Commands bounds how many commands a client says. Default: 50. One more is
	// ErrTooMany. The lines of a server's replies do not count, but their octets do.
	Commands int

	// Errors bounds how many commands of a client are refused. Default: 5. The last of
	// them is ErrTooMany.
	Errors int

	// Idle is how long the peer may say nothing: each octet of it renews that, unlike the
	// time for the whole phase. Default: for that whole time. Beyond it is ErrTimeout.
	Idle time.Duration
}

// ForProtocol returns the limits with the defaults put in, those of a protocol where it has
// some.
func (l Limits) ForProtocol(p *Protocol) Limits {
	l.Message = cmp.Or(l.Message, p.MaxLine, defaultMessage)
	l.Bytes = cmp.Or(l.Bytes, max(defaultBytes, l.Message))
	l.Commands = cmp.Or(l.Commands, defaultCommands)
	l.Errors = cmp.Or(l.Errors, defaultErrors)
	return l
}

// MaxLine bounds a line or message, in octets: it is Limits.Message.
func (s *Session) MaxLine() int { return s.limits.Message }

// countCommand counts what a client has said. What a server has said was an answer.
func (s *Session) countCommand() error {
	s.commands++
	if !s.client && s.commands > s.limits.Commands {
		return ErrTooMany
	}
	return nil
}

// TLSAvailable reports whether the upgrade can be granted now: there is a certificate, and
// the client has not had too many upgrades. A server that cannot says so in place of the
// go-ahead, as far as its protocol has words for that. Asked again for the same command, it
// says the same.
func (s *Session) TLSAvailable() bool {
	if s.asked == s.commands && s.asked > 0 {
		return s.available
	}
	s.asked = s.commands
	s.available = s.opts.TLSAvailable == nil || s.opts.TLSAvailable()
	s.refusedUpgrade = s.available && s.opts.AdmitUpgrade != nil && !s.opts.AdmitUpgrade()
	s.limited = s.limited || s.refusedUpgrade
	s.available = s.available && !s.refusedUpgrade
	return s.available
}

// TooManyUpgrades reports whether it is for the client's many upgrades that TLSAvailable
// has said no.
func (s *Session) TooManyUpgrades() bool { return s.refusedUpgrade }

// WasLimited reports whether TooManyUpgrades has been true of any request.
func (s *Session) WasLimited() bool { return s.limited }
