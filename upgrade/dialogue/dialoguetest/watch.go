package dialoguetest

import (
	"io"
	"net"
	"sync"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A watched is a filter of which we want to know when it leaves. It has the methods that a
// filter may have, and does what would be done for one without.
type watched struct {
	dialogue.Filter
	x    *dialogue.Exchange
	data *dataService
}

// A wordy is one with words of its own.
type wordy struct{ *watched }

// watch is the protocol with the filter that it makes watched.
func watch(p *upgrade.Protocol) (*upgrade.Protocol, *watched) {
	w := &watched{data: new(dataService)}
	watching := *p
	if p.Join == nil {
		return p, w
	}
	watching.Join = func(s dialogue.Situation) dialogue.Filter {
		if w.Filter = p.Join(s); w.Filter == nil {
			return nil
		}
		if _, ok := w.Filter.(errorReplier); ok {
			return wordy{w}
		}
		return w
	}
	return &watching, w
}

type errorReplier interface{ ErrorReply(why error) []byte }

// state is the outcome that the filter has come to.
func (w *watched) state() string {
	switch {
	case w.x == nil || w.x.Detached():
		return "detached"
	case w.x.Closed():
		return "closed"
	}
	return "following"
}

// Start implements dialogue.Filter.
func (w *watched) Start(x *dialogue.Exchange) {
	w.x = x
	x.LendData(w.data)
	w.Filter.Start(x)
}

// BackendEnded implements dialogue.BackendEnder.
func (w *watched) BackendEnded(x *dialogue.Exchange) {
	if f, ok := w.Filter.(dialogue.BackendEnder); ok {
		f.BackendEnded(x)
	}
}

// ClientEnded implements dialogue.ClientEnder.
func (w *watched) ClientEnded(x *dialogue.Exchange, rest []byte) {
	if f, ok := w.Filter.(dialogue.ClientEnder); ok {
		f.ClientEnded(x, rest)
	}
}

// ErrorReply words the end of a session.
func (w wordy) ErrorReply(why error) []byte { return w.Filter.(errorReplier).ErrorReply(why) }

// A backend takes what arrives at it.
type backend struct {
	mu  sync.Mutex
	got []byte
	end bool
}

func (b *backend) read(conn io.Reader) {
	for {
		chunk := make([]byte, 512)
		n, err := conn.Read(chunk)
		b.mu.Lock()
		b.got = append(b.got, chunk[:n]...)
		b.end = err != nil
		b.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (b *backend) take() (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	got, end := string(b.got), b.end
	b.got, b.end = nil, false
	return got, end
}

// A catcher keeps what is written to it, and ends there.
type catcher struct {
	net.Conn
	caught []byte
}

func (c *catcher) Write(p []byte) (int, error) {
	c.caught = append(c.caught, p...)
	return len(p), nil
}

func (*catcher) Read([]byte) (int, error) { return 0, io.EOF }
