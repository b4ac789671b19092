package bench

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// A smtpWay is a session of SMTP of which a transfer is measured.
type smtpWay struct {
	name  string
	proto string
	offer string // of the backend
}

// smtpWays are TLS alone, a filter that leaves after EHLO, and one that stays because the
// backend has a STARTTLS of its own.
var smtpWays = []smtpWay{
	{"tls", "", "250-hello\r\n250-CHUNKING\r\n250 PIPELINING\r\n"},
	{"leaves", "smtp", "250-hello\r\n250-CHUNKING\r\n250 PIPELINING\r\n"},
	{"stays", "smtp", "250-hello\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 PIPELINING\r\n"},
}

// open begins a session, up to a client that has introduced itself.
func (w smtpWay) open(b *testing.B, k *secrets) *session {
	o := smtpOpening
	if o.name = w.proto; o.name == "" {
		o.plain, o.greeting = nil, ""
	}
	s := k.open(b, o)
	s.must(b, say(s.client, "EHLO c.example\r\n"))
	s.must(b, await(s.backend, "EHLO c.example\r\n"))
	s.must(b, say(s.backend, w.offer))
	s.must(b, await(s.client, "250 PIPELINING\r\n"))
	return s
}

// mail is a part of one: lines of 76 octets, and their ends.
var mail = []byte(strings.Repeat(strings.Repeat("VGhlIHF1aWNrIGJyb3du", 4)[:76]+"\r\n", 400))

// mailUp sends a mail in DATA.
func (s *session) mailUp(b *testing.B, size int) (moved int) {
	s.envelope(b)
	s.command(b, "DATA\r\n", "354 go on\r\n")
	moved = s.up(b, mail, size)
	s.command(b, ".\r\n", "250 ok\r\n")
	return moved
}

// binaryUp sends a mail of any octets in BDAT, in large writes.
func (s *session) binaryUp(b *testing.B, size int) (moved int) {
	s.envelope(b)
	size -= size % len(noise)
	head := fmt.Sprintf("BDAT %d LAST\r\n", size)
	s.must(b, say(s.client, head))
	s.must(b, await(s.backend, head))
	moved = s.up(b, noise, size)
	s.must(b, say(s.backend, "250 ok\r\n"))
	s.must(b, await(s.client, "250 ok\r\n"))
	return moved
}

func (s *session) envelope(b *testing.B) {
	s.command(b, "MAIL FROM:<a@c.example>\r\n", "250 ok\r\n")
	s.command(b, "RCPT TO:<b@up.example.com>\r\n", "250 ok\r\n")
}

// up sends whole blocks to the backend, as many as there is room for.
func (s *session) up(b *testing.B, block []byte, size int) int {
	size -= size % len(block)
	s.must(b, stream(s.client, s.backend, block, size))
	return size
}

// stream writes blocks on the one side while it reads on the other.
func stream(to io.Writer, from io.Reader, block []byte, size int) error {
	wrote := make(chan error, 1)
	go func() {
		var err error
		for left := size; left > 0 && err == nil; left -= len(block) {
			_, err = to.Write(block)
		}
		wrote <- err
	}()
	n, err := io.CopyBuffer(discard{}, io.LimitReader(from, int64(size)), make([]byte, 64<<10))
	if err == nil && n < int64(size) {
		err = io.ErrUnexpectedEOF
	}
	return cmp.Or(err, <-wrote)
}

// repliesAtOnce is how many commands are sent without waiting.
const repliesAtOnce = 50

// helps are so many of them, and help is the reply to all: a long one each.
var (
	helps = strings.Repeat("HELP\r\n", repliesAtOnce)
	help  = []byte(strings.Repeat(strings.Repeat("214-"+strings.Repeat("help", 18)+"\r\n", 100)+"214 that is all\r\n", repliesAtOnce))
)

// repliesDown has the backend answer many commands.
func (s *session) repliesDown(b *testing.B, size int) (moved int) {
	for moved < size {
		s.must(b, say(s.client, helps))
		_, err := io.ReadFull(s.backend, make([]byte, len(helps)))
		s.must(b, err)
		s.must(b, stream(s.backend, s.client, help, len(help)))
		moved += len(help)
	}
	return moved
}

// binaryDown has the backend send any octets, which no SMTP server does: it is for
// sessions without a filter.
func (s *session) binaryDown(b *testing.B, size int) (moved int) {
	size -= size % len(noise)
	s.must(b, stream(s.backend, s.client, noise, size))
	return size
}

// transferMiB is the size of one transfer.
const transferMiB = 64

// BenchmarkFilter compares the ways by turns, so that whatever else the machine does
// meanwhile hits them all. The CPU time is that of client, proxy and backend together.
func BenchmarkFilter(b *testing.B) {
	k := newSecrets(b)
	for _, kind := range []struct {
		name     string
		ways     []smtpWay
		transfer func(s *session, b *testing.B, size int) int
	}{
		{"mail-up", smtpWays, (*session).mailUp},
		{"binary-up", smtpWays, (*session).binaryUp},
		{"replies-down", smtpWays, (*session).repliesDown},
		{"binary-down", smtpWays[:2], (*session).binaryDown},
	} {
		b.Run(kind.name, func(b *testing.B) { compare(b, k, kind.ways, kind.transfer) })
	}
}

// compare reports the medians of all turns, and the last way's CPU time beside that of
// the one before.
func compare(b *testing.B, k *secrets, ways []smtpWay, transfer func(s *session, b *testing.B, size int) int) {
	sessions, results := make([]*session, len(ways)), make([]result, len(ways))
	for i, w := range ways {
		sessions[i] = w.open(b, k)
		transfer(sessions[i], b, 1<<20) // for what is done but once
	}
	for b.Loop() {
		for i, s := range sessions {
			before, start := cpuTime(b), time.Now()
			mib := float64(transfer(s, b, transferMiB<<20)) / (1 << 20)
			results[i].rates = append(results[i].rates, mib/time.Since(start).Seconds())
			results[i].costs = append(results[i].costs, (cpuTime(b)-before).Seconds()*1024/mib)
		}
	}
	for i, w := range ways {
		sessions[i].close(b)
		b.ReportMetric(median(results[i].rates), w.name+"-MiB/s")
		b.ReportMetric(median(results[i].costs), w.name+"-cpu-s/GiB")
	}
	last := len(ways) - 1
	b.ReportMetric(median(results[last].costs)/median(results[last-1].costs), ways[last].name+"/"+ways[last-1].name+"-cpu")
	b.ReportMetric(0, "ns/op")
}
