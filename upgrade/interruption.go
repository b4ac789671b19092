package upgrade

import (
	"context"
	"sync"
)

// An interruption is one that interruptWith prepares.
type interruption struct {
	conn    *Conn
	end     func() bool    // nil: nothing is watched
	running sync.WaitGroup // until it has come

	once  sync.Once
	clean bool // it has not come, and will not
}

// An afterFuncer is a context that context.AfterFunc would ask, and make more of than is needed
// here.
type afterFuncer interface {
	AfterFunc(f func()) (stop func() bool)
}

// interruptWith has the end of ctx interrupt whatever waits for the connection below, until
// stop.
func (c *Conn) interruptWith(ctx context.Context) *interruption {
	i := &interruption{conn: c}
	i.running.Add(1)
	switch own, ok := ctx.(afterFuncer); {
	case ok:
		i.end = own.AfterFunc(i.interrupt)
	case ctx.Done() != nil:
		i.end = context.AfterFunc(ctx, i.interrupt)
	}
	return i
}

func (i *interruption) interrupt() {
	_ = i.conn.raw.SetDeadline(longAgo)
	i.running.Done()
}

// stop ends that, and reports whether ctx has interrupted nothing. When stop has returned, an
// interruption does not come any more. It may be called more than once.
func (i *interruption) stop() bool {
	i.once.Do(func() {
		if i.clean = i.end == nil || i.end(); !i.clean {
			i.running.Wait()
		}
	})
	return i.clean
}
