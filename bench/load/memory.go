package main

import (
	"fmt"
	"sync"
	"time"
)

// A usage is memory, in octets.
type usage struct {
	live     int64 // of a Go program: data and stacks in use
	resident int64 // what no other process shares
}

// each is what one of n costs above what there was before.
func (u usage) each(before usage, n int) usage {
	return usage{(u.live - before.live) / int64(n), (u.resident - before.resident) / int64(n)}
}

func (p *process) memory() (u usage, err error) {
	if p.live != nil {
		u.live, err = p.live()
	}
	u.resident = p.resident()
	return u, err
}

// measureMemory has many sessions wait, and negotiations stall, each time in a process that
// has done nothing before.
func (l *lab) measureMemory(r *results) error {
	for _, t := range l.of("m") {
		if err := l.fresh(t, func(before usage) error { return l.idle(r, t, before) }); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for _, t := range l.of("n") {
		if err := l.fresh(t, func(before usage) error { return l.stall(r, t, before) }); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return nil
}

// fresh starts the proxy anew, and warms it up with one session.
func (l *lab) fresh(t *target, measure func(before usage) error) error {
	if err := t.process.stop(); err != nil {
		return err
	}
	if err := t.process.start(); err != nil {
		return err
	}
	warm := *t
	if warm.talk.inside != nil {
		s, err := warm.open(l.backend.secrets.client, l.settings.patience)
		if err != nil {
			return err
		}
		s.abort()
		time.Sleep(200 * time.Millisecond)
	}
	before, err := t.process.memory()
	if err != nil {
		return err
	}
	return measure(before)
}

// idle has sessions wait, as they are opened and when they have moved something.
func (l *lab) idle(r *results, t *target, before usage) error {
	opened := *t
	opened.talk = t.ready()
	sessions, err := l.openMany(&opened, l.settings.idle)
	defer func() { abortAll(sessions) }()
	if err != nil {
		return err
	}
	asOpened, err := t.process.memory()
	if err != nil {
		return err
	}
	if err := l.moveSome(t, sessions); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	after, err := t.process.memory()
	r.idle = append(r.idle, idleMemory{t.name, asOpened.each(before, len(sessions)), after.each(before, len(sessions))})
	return err
}

// openers are how many sessions are opened at a time.
const openers = 16

func (l *lab) openMany(t *target, n int) ([]*session, error) {
	var mu sync.Mutex
	var sessions []*session
	var failed error
	var all sync.WaitGroup
	for i := range openers {
		all.Go(func() {
			for range (n + i) / openers {
				s, err := t.open(l.backend.secrets.client, 10*l.settings.patience)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					sessions = append(sessions, s)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return sessions, failed
}

// some is how much each session moves, in both directions.
const some = 64 << 10

func (l *lab) moveSome(t *target, sessions []*session) error {
	for _, s := range sessions {
		var err error
		switch {
		case len(t.moves) == 0: // PgBouncer, which knows queries alone
			for range 20 {
				if err = s.say([]turn{{pgQuery, pgReady}}); err != nil {
					return err
				}
			}
		case t.moves[0] == "raw-up":
			if err = rawUp(s, t, some); err == nil {
				err = rawDown(s, t, some)
			}
		default:
			if err = mailUp(s, t, some); err == nil {
				err = repliesDown(s, t, 1)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stall has negotiations stall.
func (l *lab) stall(r *results, t *target, before usage) error {
	stalled := *t
	stalled.talk = talk{clear: true, inside: t.stalled.plain}
	sessions, err := l.openMany(&stalled, l.settings.stalled)
	defer func() { abortAll(sessions) }()
	if err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	after, err := t.process.memory()
	r.stalled = append(r.stalled, stalledMemory{t.name, after.each(before, len(sessions))})
	return err
}

func abortAll(sessions []*session) {
	for _, s := range sessions {
		s.abort()
	}
	time.Sleep(300 * time.Millisecond)
}
