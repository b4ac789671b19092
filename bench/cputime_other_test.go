//go:build !unix

package bench

import (
	"testing"
	"time"
)

func cpuTime(b *testing.B) time.Duration {
	b.Skip("needs getrusage")
	return 0
}
