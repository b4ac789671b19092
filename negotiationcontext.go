package l4starttls

import (
	"context"
	"slices"
	"sync"
)

// A negotiationContext is the context of a session's negotiation. It ends when the process ends, and
// has the place for the client's ClientHello. Those of package context that can do the same
// cost each connection eight allocations; this one is a part of the session.
//
// When it has ended, Err is the cause itself, which is what context.Cause finds, too.
type negotiationContext struct {
	context.Context // for values; it does not end

	hello *clientHello // nil if there is no client whose ClientHello is ours

	mu    sync.Mutex
	cause error         // nil as long as it has not ended
	done  chan struct{} // nil as long as nobody has asked for it
	after []*afterEnd
}

// An afterEnd is a function that AfterFunc was given.
type afterEnd struct {
	context *negotiationContext
	f       func()
}

// Done implements context.Context.
func (n *negotiationContext) Done() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done == nil {
		n.done = make(chan struct{})
		if n.cause != nil {
			close(n.done)
		}
	}
	return n.done
}

// Err implements context.Context.
func (n *negotiationContext) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cause
}

// Value implements context.Context.
func (n *negotiationContext) Value(key any) any {
	if key == (helloKey{}) && n.hello != nil {
		return n.hello
	}
	return n.Context.Value(key)
}

// AfterFunc is what context.AfterFunc calls.
func (n *negotiationContext) AfterFunc(f func()) (stop func() bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := &afterEnd{n, f}
	if n.cause != nil {
		go f()
	} else {
		n.after = append(n.after, a)
	}
	return a.stop
}

// stop reports whether the function was not called and will not be.
func (a *afterEnd) stop() bool {
	n := a.context
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.after, a)
	if i < 0 {
		return false
	}
	n.after = slices.Delete(n.after, i, i+1)
	return true
}

// end ends the context, once.
func (n *negotiationContext) end(cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cause != nil {
		return
	}
	n.cause = cause
	if n.done != nil {
		close(n.done)
	}
	for _, a := range n.after {
		go a.f()
	}
	n.after = nil
}
