package dialogue

import "slices"

// MaxPending bounds the commands of a client that have no reply yet. A client that asks
// for more without waiting is not read from until there are fewer.
const MaxPending = 256

// A replyQueue tells which command a backend's reply belongs to, in protocols that
// answer in the order of the commands, and has our own replies wait for their turn.
type replyQueue struct {
	pending []pendingReply
	room    [1]pendingReply // for the one that there mostly is
}

func (q *replyQueue) add(p pendingReply) {
	if len(q.pending) == 0 {
		q.pending = q.room[:0]
	}
	q.pending = append(q.pending, p)
}

// A pendingReply is a command that has no reply yet, or a reply of our own.
type pendingReply struct {
	verb, own string
	more      int // replies that come behind the first
}

// Expect adds a command that goes to the backend. The verb must be a constant: a part of
// the client's line would keep the line.
func (q *replyQueue) Expect(verb string) { q.add(pendingReply{verb: verb}) }

// ExpectMore has the next command replied to n more times.
func (q *replyQueue) ExpectMore(n int) {
	if len(q.pending) > 0 {
		q.pending[0].more += n
	}
}

// reply gives a reply of our own, behind those that the backend owes.
func (q *replyQueue) reply(x *Exchange, own string) {
	q.add(pendingReply{own: own})
	q.giveOwn(x)
}

// Next is the verb that the backend replies to next.
func (q *replyQueue) Next() string {
	if len(q.pending) == 0 {
		return ""
	}
	return q.pending[0].verb
}

// replied takes the end of a reply, and returns the verb that it belongs to.
func (q *replyQueue) replied(x *Exchange) (verb string) {
	verb = q.Next()
	switch {
	case len(q.pending) == 0:
	case q.pending[0].more > 0:
		q.pending[0].more--
	default:
		q.drop()
	}
	q.giveOwn(x)
	return verb
}

func (q *replyQueue) giveOwn(x *Exchange) {
	for len(q.pending) > 0 && q.pending[0].own != "" {
		x.ToClient([]byte(q.pending[0].own))
		q.drop()
	}
}

// drop takes the first one out. A queue that is empty holds no more
// memory than room.
func (q *replyQueue) drop() {
	q.pending[0] = pendingReply{}
	q.pending = q.pending[1:]
	if len(q.pending) == 0 {
		q.pending = nil
	}
}

// Unanswered is how many commands have no reply yet, and replies of our own wait for theirs.
func (q *replyQueue) Unanswered() int { return len(q.pending) }

// Owing reports whether a reply of our own still waits.
func (q *replyQueue) Owing() bool {
	return slices.ContainsFunc(q.pending, func(p pendingReply) bool { return p.own != "" })
}
