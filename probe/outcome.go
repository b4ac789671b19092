package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// outcome sorts what went wrong before TLS was up, and says it.
func (p *prober) outcome(ctx context.Context, r *Report, err error) (outcome, text string) {
	var unreachable *unreachableError
	switch {
	case errors.Is(err, upgrade.ErrNotOffered):
		return NotOffered, err.Error()
	case p.turnedAway(r, err):
		return Failed, strings.Replace(err.Error(), upgrade.ErrRefused.Error(), "server turned us away before it was asked for TLS", 1)
	case errors.Is(err, upgrade.ErrRefused):
		return Refused, err.Error()
	case errors.As(err, &unreachable):
		return Unreachable, err.Error()
	case isTimeout(err), ctx.Err() != nil:
		return TimedOut, fmt.Sprintf("no answer within %s", p.Timeout)
	}
	return Failed, err.Error()
}

// turnedAway reports whether a server refused before we had said a word: it did not want the
// connection, which says nothing of TLS. The greeting of an NBD server of old is a refusal of
// the upgrade.
func (p *prober) turnedAway(r *Report, err error) bool {
	return errors.Is(err, upgrade.ErrRefused) && !r.spoke("client") && p.Protocol != upgrade.NBD
}

// spoke reports whether a side has said anything in plaintext.
func (r *Report) spoke(side string) bool {
	for _, u := range r.Dialogue {
		if u.From == side {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	return errors.Is(err, upgrade.ErrTimeout) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded)
}

// headerPatience is what servers have at least for a PROXY protocol header. Postfix waits for it
// for 5 seconds, and then turns the client away with a 421; Dovecot for 3, and then ends the
// connection.
const headerPatience = 2 * time.Second

// hint says what may be the matter with a server that is of another kind than it was taken for.
func (p *prober) hint(r *Report, err error) string {
	switch {
	case refusesName(err):
		return "perhaps the server has no certificate for that name: see --server-name"
	case p.ProxyProtocol != 0 && r.Outcome != Unreachable && (p.ImplicitTLS || r.Times.Handshake == nil):
		return "perhaps the server takes no PROXY protocol header, or not from our address: try without --proxy-protocol"
	case r.Outcome == Failed && !r.heard:
		return "the server ends the connection before it has said a word: it may not like our address, " +
			"or wait for a PROXY protocol header: try --proxy-protocol v2"
	case p.ImplicitTLS:
		return hintOfImplicit(r, err)
	case errors.Is(err, upgrade.ErrExpectsTLS), r.Outcome == TimedOut && !r.heard:
		return "perhaps TLS from the first byte: try --implicit" + p.orHeader()
	case p.turnedAway(r, err) && r.Times.Negotiate.took() >= headerPatience:
		return "perhaps the server waits for a PROXY protocol header: try --proxy-protocol v2"
	}
	return ""
}

func hintOfImplicit(r *Report, err error) string {
	switch {
	case errors.Is(err, upgrade.ErrNotTLS):
		return "the server speaks plaintext first: try without --implicit"
	case r.Outcome == TimedOut:
		return "perhaps TLS has to be asked for: try without --implicit"
	}
	return ""
}

// orHeader is another reason why a server is silent that should speak first.
func (p *prober) orHeader() string {
	if !p.Protocol.ServerFirst {
		return ""
	}
	return "; or the server waits for a PROXY protocol header: try --proxy-protocol v2"
}

// took is how long a phase has taken, if it was begun.
func (m *Milliseconds) took() time.Duration {
	if m == nil {
		return 0
	}
	return time.Duration(*m)
}

// refusesName tells of the alerts that a server has for a name without a certificate: the one
// meant for it, and the one that Go's servers, and so Caddy, send.
func refusesName(err error) bool {
	return isAlert(err, alertUnrecognizedName) || isAlert(err, alertInternalError)
}
