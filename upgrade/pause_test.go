package upgrade

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A timedServer answers the first thing that it hears, or does not, and notes when it has heard what.
type timedServer struct {
	net.Conn
	answer string
	heard  []string
	at     []time.Time
}

func (s *timedServer) Write(p []byte) (int, error) {
	s.heard, s.at = append(s.heard, string(p)), append(s.at, time.Now())
	return len(p), nil
}

func (s *timedServer) Read(p []byte) (int, error) {
	n := copy(p, s.answer)
	s.answer = s.answer[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (*timedServer) SetDeadline(time.Time) error { return nil }

// Between a request that has no reply to wait for and the ClientHello there is a pause, for
// servers that would lose the latter. It is no longer than anything else allows.
func TestRequestPausesWhereThereIsNoReply(t *testing.T) {
	for name, test := range map[string]struct {
		options   map[string]string
		answer    string
		timeout   time.Duration
		cancelled time.Duration
		hello     bool
		begins    time.Duration
		isFor     error
	}{
		"by default":         {begins: 50 * time.Millisecond, hello: true, isFor: ErrTruncated},
		"longer":             {options: map[string]string{"pause": "3s"}, begins: 3 * time.Second, hello: true, isFor: ErrTruncated},
		"off":                {options: map[string]string{"pause": "0"}, hello: true, isFor: ErrTruncated},
		"behind a reply":     {options: map[string]string{"reply": "GO"}, answer: "GO\n", hello: true, isFor: ErrTruncated},
		"beyond the timeout": {options: map[string]string{"pause": "2s"}, timeout: time.Second, begins: time.Second, isFor: ErrTimeout},
		"beyond the context": {options: map[string]string{"pause": "2s"}, cancelled: time.Second, begins: time.Second, isFor: os.ErrProcessDone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := upstreamConfig()
				config.Options, config.NegotiationTimeout = test.options, test.timeout
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if test.cancelled > 0 {
					defer time.AfterFunc(test.cancelled, func() { cancel(os.ErrProcessDone) }).Stop()
				}
				begun, server := time.Now(), &timedServer{answer: test.answer}
				_, err := Request(ctx, server, Line, config)
				require.ErrorIs(t, err, test.isFor)
				require.Equal(t, test.begins, time.Since(begun))
				require.Equal(t, "STARTTLS\n", server.heard[0])
				require.Equal(t, begun, server.at[0])
				require.Equal(t, test.hello, len(server.heard) > 1)
				if test.hello {
					require.Equal(t, test.begins, server.at[1].Sub(begun))
				}
			})
		})
	}
}

// What is no duration is said, and nobody is kept waiting for it.
func TestPauseMustBeADuration(t *testing.T) {
	config := upstreamConfig()
	config.Options = map[string]string{"pause": "soon"}
	_, err := Request(t.Context(), &timedServer{}, Line, config)
	require.ErrorContains(t, err, `option "pause"`)
}
