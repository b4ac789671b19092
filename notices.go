package l4starttls

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	noticesAtOnce  = 5           // of a kind
	noticeInterval = time.Minute // in such a time
)

// notices are what is logged by default. Peers bring them about, so that each kind is
// logged but so often; the next one says how many were left out.
type notices struct {
	now func() time.Time

	mu    sync.Mutex
	kinds map[string]*noticeKind // by message, of which there are as many as the code has
}

type noticeKind struct {
	since         time.Time
	logged, spare int
}

func newNotices() *notices {
	return &notices{now: time.Now, kinds: make(map[string]*noticeKind)}
}

// admit reports whether another one of a kind is to be logged, and how many were not since
// the last one that was.
func (n *notices) admit(message string) (spared int, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	kind, now := n.kinds[message], n.now()
	if kind == nil {
		kind = new(noticeKind)
		n.kinds[message] = kind
	}
	if now.Sub(kind.since) >= noticeInterval {
		kind.since, kind.logged = now, 0
	}
	if kind.logged >= noticesAtOnce {
		kind.spare++
		return 0, false
	}
	kind.logged++
	spared, kind.spare = kind.spare, 0
	return spared, true
}

// log logs a message, which must be one of the code's, unless there have been many.
func (n *notices) log(logger *zap.Logger, level zapcore.Level, message string, fields ...zap.Field) {
	spared, ok := n.admit(message)
	if !ok {
		return
	}
	if spared > 0 {
		fields = append(fields, zap.Int("left_out", spared))
	}
	logger.Log(level, message, fields...)
}
