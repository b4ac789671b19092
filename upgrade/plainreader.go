package upgrade

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A plainReader is what the plaintext phase reads from. It bounds the wait for each octet
// by Limits.Idle, where that is sooner than the end of the phase.
type plainReader struct {
	*prefixconn.Conn
	ctx   context.Context // its end is a deadline in the past, which must not be undone
	idle  time.Duration
	until time.Time // when the phase is over
}

// begin sets the deadline of the phase, for reading and writing. A context that has ended
// before had its own deadline overwritten, so that its end is the error.
func (r *plainReader) begin(until time.Time) error {
	r.until = until
	return errors.Join(r.SetDeadline(until), context.Cause(r.ctx))
}

// setUntil sets the deadline for reading alone.
func (r *plainReader) setUntil(until time.Time) {
	r.until = until
	_ = r.SetReadDeadline(until)
}

// Read reads once, within the time for that.
func (r *plainReader) Read(p []byte) (int, error) {
	if r.idle > 0 {
		until := time.Now().Add(r.idle)
		if r.until.Before(until) {
			until = r.until
		}
		if err := errors.Join(r.SetReadDeadline(until), context.Cause(r.ctx)); err != nil {
			return 0, err
		}
	}
	return r.Conn.Read(p)
}

// pause waits, unless the context or the phase ends before.
func (r *plainReader) pause(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	ctx, cancel := context.WithDeadlineCause(r.ctx, r.until, ErrTimeout)
	defer cancel()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// admitUpgrade reports whether the client may have another upgrade.
func (c *Conn) admitUpgrade() bool {
	return c.client || c.config.AdmitUpgrade == nil || c.config.AdmitUpgrade(c.RemoteAddr())
}

// withLimit adds to the end of a negotiation that the client was refused the upgrade for
// having had too many.
func withLimit(s *dialogue.Session, err error) error {
	if !s.WasLimited() {
		return err
	}
	return fmt.Errorf("%w, behind %w", err, ErrTooManyUpgrades)
}
