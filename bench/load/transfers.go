package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// streamCounts are how many transfers there are at a time.
var streamCounts = []int{1, 4}

// A move is a kind of transfer.
type move struct {
	name, title string
	run         func(s *session, t *target, size int) error
}

var moves = []move{
	{"raw-up", "any octets up", rawUp},
	{"raw-down", "any octets down", rawDown},
	{"mail-up", "a mail up, lines of 76 octets", mailUp},
	{"binary-up", "a mail up by BDAT, large writes", binaryUp},
	{"replies-down", "long replies down", repliesDown},
}

// mailMoves are those of SMTP, which a filter sees.
var mailMoves = []string{"mail-up", "binary-up", "replies-down"}

// measureTransfers moves as much through each proxy, in one stream and in several.
func (l *lab) measureTransfers(r *results) error {
	for round := range l.settings.rounds {
		for _, m := range moves {
			for _, streams := range streamCounts {
				for _, t := range l.of("t") {
					if !strings.Contains(strings.Join(t.moves, " "), m.name) {
						continue
					}
					if err := l.transfer(r, t, m, streams); err != nil {
						return fmt.Errorf("%s, %s: %w", t.name, m.name, err)
					}
				}
			}
		}
		progress("transfers", round+1, l.settings.rounds)
	}
	return nil
}

// transfer measures one step.
func (l *lab) transfer(r *results, t *target, m move, streams int) error {
	sessions := make([]*session, streams)
	for i := range sessions {
		opened := *t
		opened.talk = t.ready()
		s, err := opened.open(l.backend.secrets.client, 2*l.settings.patience)
		if err != nil {
			return err
		}
		defer s.abort()
		sessions[i] = s
	}
	size := l.settings.mib << 20 / streams
	errs := make([]error, streams)
	before, begun := t.process.cpuTime(), time.Now()
	var all sync.WaitGroup
	for i, s := range sessions {
		all.Go(func() { errs[i] = m.run(s, t, size) })
	}
	all.Wait()
	took := time.Since(begun)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	cpu := (t.process.cpuTime() - before).Seconds()
	r.transfers.add(m.name, t.name, streams, float64(l.settings.mib)/took.Seconds(), cpu*1024/float64(l.settings.mib))
	return nil
}

// ready is how a client begins that has much to transfer.
func (t *target) ready() talk {
	switch {
	case t.talk.clear || t.speaksPostgres():
		return t.talk
	case len(t.talk.plain) == 0:
		return implicitMail
	}
	return smtpMail
}

func (t *target) speaksPostgres() bool { return strings.Contains(t.name, "postgres") }

func rawUp(s *session, t *target, size int) error {
	if t.speaksPostgres() {
		return cmp.Or(write(s, binary.BigEndian.AppendUint64([]byte{'U'}, uint64(size))), pour(s, size), s.say([]turn{{"", pgReady}})) //nolint:gosec // it is positive
	}
	return cmp.Or(write(s, fmt.Appendf(nil, "XUP %d\r\n", size)), pour(s, size), s.say([]turn{{"", "250 "}}))
}

func rawDown(s *session, t *target, size int) error {
	ask := fmt.Appendf(nil, "XDOWN %d\r\n", size)
	if t.speaksPostgres() {
		ask = binary.BigEndian.AppendUint64([]byte{'D'}, uint64(size)) //nolint:gosec // it is positive
	}
	return cmp.Or(write(s, ask), sink(s, size))
}

func mailUp(s *session, _ *target, size int) error {
	if err := s.say([]turn{{"DATA\r\n", "354 "}}); err != nil {
		return err
	}
	for moved := 0; moved < size; moved += len(mail) {
		if err := write(s, mail); err != nil {
			return err
		}
	}
	return s.say([]turn{{".\r\n", "250 "}})
}

func binaryUp(s *session, _ *target, size int) error {
	return cmp.Or(write(s, fmt.Appendf(nil, "BDAT %d LAST\r\n", size)), pour(s, size), s.say([]turn{{"", "250 "}}))
}

// helpsAtOnce is how many commands are sent without waiting.
const helpsAtOnce = 50

func repliesDown(s *session, _ *target, size int) error {
	helps := []byte(strings.Repeat("HELP\r\n", helpsAtOnce))
	for moved := 0; moved < size; moved += helpsAtOnce * len(help) {
		if err := cmp.Or(write(s, helps), sink(s, helpsAtOnce*len(help))); err != nil {
			return err
		}
	}
	return nil
}

func write(to io.Writer, p []byte) error {
	_, err := to.Write(p)
	return err
}
