package integration_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A ClientHello may come in one read with what a step before expects.
func TestPeerExpectsAClientHelloInOneRead(t *testing.T) {
	for name, c := range map[string]struct {
		script []step
		fails  string
	}{
		"both":             {[]step{{Expect: `^\xff.`}, {Expect: `^\x16\x03`}}, ""},
		"another":          {[]step{{Expect: `^\xff.`}, {Expect: `^\x16\x02`}}, "step 2"},
		"one, and all":     {[]step{{Expect: `^\xff.`}, {SendText: "c"}, {Expect: "^Z"}}, ""},
		"a part of a line": {[]step{{Expect: `^\xff`}, {Expect: "^Z"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ours, its := net.Pipe()
			defer func() { _ = its.Close() }()
			go func() {
				_, _ = its.Write([]byte("\xffb\x16\x03"))
				_ = its.SetReadDeadline(time.Now().Add(time.Second))
				_, _ = its.Read(make([]byte, 1))
				_, _ = its.Write([]byte("Z"))
				_ = its.Close()
			}()
			err := newPeer(ours, nil).run(c.script)
			_ = ours.Close()
			if c.fails == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.fails)
			}
		})
	}
}
