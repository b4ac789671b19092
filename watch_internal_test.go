package l4starttls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Whatever comes of a negotiation has a name, of which there are as many as the code has.
func TestFailuresHaveNames(t *testing.T) {
	for want, errs := range map[string][]error{
		"shutdown":       {upgrade.ErrShutdown},
		"violation":      {upgrade.ErrPipelined, upgrade.ErrNotTLS, dialogue.ErrAmbiguousEnd},
		"limited":        {upgrade.ErrTooManyConnections, fmt.Errorf("%w, behind %w", upgrade.ErrQuit, upgrade.ErrTooManyUpgrades)},
		"quit":           {upgrade.ErrQuit},
		"plaintext":      {upgrade.ErrPlaintext},
		"distrusted":     {fmt.Errorf("%w: %w", dialogue.ErrHandshake, upgrade.ErrDistrusted)},
		"no_certificate": {fmt.Errorf("%w: %w", dialogue.ErrHandshake, errNoCertificate)},
		"no_policy":      {fmt.Errorf("%w: %w", errNoPolicy, dialogue.ErrHandshake)},
		"no_alpn":        {upgrade.ErrNoALPN},
		"unverified":     {fmt.Errorf("%w: %w", dialogue.ErrHandshake, &tls.CertificateVerificationError{Err: errors.New("x")})},
		"not_offered":    {dialogue.Refusal(upgrade.ErrNotOffered, "no")},
		"refused":        {dialogue.Refusal(upgrade.ErrRefused, "no")},
		"handshake":      {fmt.Errorf("%w: %w", dialogue.ErrHandshake, os.ErrDeadlineExceeded)},
		"timeout":        {upgrade.ErrTimeout, os.ErrDeadlineExceeded},
		"too_much":       {upgrade.ErrTooMany, upgrade.ErrLineTooLong},
		"malformed":      {upgrade.ErrMalformed},
		"unreachable":    {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}},
		"backend":        {upgrade.ErrBackend},
		"gone":           {io.EOF, errGone, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, upgrade.ErrTruncated},
		"error":          {errors.New("anything else")},
	} {
		require.Contains(t, outcomes(), want)
		for _, err := range errs {
			require.Equal(t, want, failure(fmt.Errorf("upgrade: smtp: %w", err)), "%v", err)
		}
	}
	require.Len(t, outcomes(), len(failures)+6)
}

// What is logged by default is limited for each kind, and says what was left out.
func TestNoticesAreLimited(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	logger, now, n := zap.New(core), time.Now(), newNotices()
	n.now = func() time.Time { return now }
	for range 100 {
		n.log(logger, zap.InfoLevel, "one")
	}
	n.log(logger, zap.WarnLevel, "another")
	require.Len(t, logs.FilterMessage("one").All(), noticesAtOnce)
	require.Len(t, logs.FilterMessage("another").All(), 1)
	now = now.Add(noticeInterval)
	logs.TakeAll()
	n.log(logger, zap.InfoLevel, "one")
	n.log(logger, zap.InfoLevel, "one")
	entries := logs.All()
	require.Len(t, entries, 2)
	require.EqualValues(t, 100-noticesAtOnce, entries[0].ContextMap()["left_out"])
	require.NotContains(t, entries[1].ContextMap(), "left_out", "it was said")
}

// A peer's text reaches no terminal as more than text.
func TestPeersTextIsEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"mail.example.com": "mail.example.com",
		"a\x1b[31m\r\nb":   `a\x1b[31m\r\nb`,
		"\u202eé\xff":      `\u202e\u00e9\xff`,
		`say "no" \ yes`:   `say "no" \\ yes`,
	} {
		require.Equal(t, want, escaped(text))
	}
	require.LessOrEqual(t, len(escaped(strings.Repeat("x", 1<<20))), 1024)
}

// A stoppable is a session of a test's registry.
type stoppable struct {
	*session
	client net.Conn
}

func newStoppable(t *testing.T, r *sessionRegistry) *stoppable {
	t.Helper()
	below, client := net.Pipe()
	t.Cleanup(func() { _, _ = below.Close(), client.Close() })
	return &stoppable{r.begin(context.Background(), sessionKind{starttlsHandler, "smtp"}, below), client}
}

// closed reports whether the connection is.
func (s *stoppable) closed() bool {
	_ = s.client.SetReadDeadline(time.Now())
	_, err := s.client.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

// Each kind of session has its own end when the process ends.
func TestStopOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSessionRegistry()
		negotiating, raw, serving, leaving := newStoppable(t, r), newStoppable(t, r), newStoppable(t, r), newStoppable(t, r)
		raw.serve(new(upgrade.Account), nil)
		shutDownAt, begun := time.Duration(0), time.Now()
		serving.serve(new(upgrade.Account), func(time.Time) error {
			shutDownAt = time.Since(begun)
			serving.end()
			return nil
		})
		leaving.serve(new(upgrade.Account), func(time.Time) error { return errors.New("it has left") })
		context.AfterFunc(&negotiating.negotiation, negotiating.end)
		time.AfterFunc(time.Second, leaving.end)
		time.AfterFunc(10*time.Millisecond, raw.end)
		go r.stop(10 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, context.Cause(&negotiating.negotiation), upgrade.ErrShutdown)
		require.True(t, raw.closed(), "TLS that is passed through has no grace")
		require.False(t, serving.closed())
		late := newStoppable(t, r)
		require.ErrorIs(t, context.Cause(&late.negotiation), upgrade.ErrShutdown, "a client that comes later")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 10*time.Second, shutDownAt)
		require.False(t, late.closed())
		time.Sleep(goodbyeTime)
		synctest.Wait()
		require.True(t, late.closed(), "one that does not end is ended")
	})
}

// When all have ended there is nothing to wait for.
func TestStopDoesNotWaitForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newSessionRegistry()
		s := newStoppable(t, r)
		s.serve(new(upgrade.Account), func(time.Time) error { return nil })
		time.AfterFunc(time.Second, s.end)
		begun := time.Now()
		r.stop(time.Hour)
		require.Equal(t, time.Second, time.Since(begun))
		r.stop(time.Hour)
		require.Equal(t, time.Second, time.Since(begun), "nor the second time")
	})
}

// All collectors can be had in one registry, and in another one behind it.
func TestMetricsCanBeRegisteredAgain(t *testing.T) {
	r := newSessionRegistry()
	m := newMetrics(r)
	kind := sessionKind{upstreamHandler, "imap"}
	m.expect(kind)
	use := m.expiry.use("up.example.com")
	s := r.begin(context.Background(), kind, nil)
	for range 2 {
		registry := prometheus.NewPedanticRegistry()
		require.NoError(t, m.register(registry))
		require.NoError(t, m.register(registry), "by two apps of one configuration")
		n, err := testutil.GatherAndCount(registry)
		require.NoError(t, err)
		require.Equal(t, len(outcomes())+3, n, "negotiations, sessions, and bytes both ways")
	}
	s.end()
	use.release()
	use.release()
	require.Empty(t, m.expiry.uses)
}
