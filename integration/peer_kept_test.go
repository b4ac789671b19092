package integration_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What comes in one read may be what two steps expect, one behind the other.
func TestPeerExpectsTwiceInOneRead(t *testing.T) {
	for name, c := range map[string]struct {
		script []step
		fails  string
	}{
		"both":             {[]step{{Expect: `^\xff.`}, {Expect: "^XY$"}}, ""},
		"another":          {[]step{{Expect: `^\xff.`}, {Expect: "^Y"}}, "step 2"},
		"a part of a line": {[]step{{Expect: `^\xff`}, {SendText: "c"}, {Expect: "^Z"}}, ""},
		"not the next":     {[]step{{Expect: `^\xff`}, {Expect: "^Z"}}, ""},
		"one, and all":     {[]step{{Expect: `^\xff.`}, {SendText: "c"}, {Expect: "^Z"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ours, its := net.Pipe()
			defer func() { _ = its.Close() }()
			go func() {
				_, _ = its.Write([]byte("\xffbXY"))
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
