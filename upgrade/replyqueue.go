package upgrade

import "slices"

// maxPending bounds what a client may have pending when a reply of our own is added
// to it. One that asks for more, without waiting, is held until there is less.
const maxPending = 256

// A replyQueue tells which command a backend's reply belongs to, in protocols that
// answer in the order of the commands, and has our own replies wait for their turn.
type replyQueue struct {
	pending []pendingReply
	full    bool // the client is held for it
}

// A pendingReply is a command that has no reply yet, or a reply of our own.
type pendingReply struct{ verb, own string }

// expect adds a command that goes to the backend.
func (q *replyQueue) expect(verb string) { q.pending = append(q.pending, pendingReply{verb: verb}) }

// expectMore has the next command replied to n more times.
func (q *replyQueue) expectMore(n int) {
	q.pending = slices.Insert(q.pending, min(1, len(q.pending)), make([]pendingReply, n)...)
}

// reply gives a reply of our own, behind those that the backend owes.
func (q *replyQueue) reply(x *Exchange, own string) {
	q.pending = append(q.pending, pendingReply{own: own})
	q.giveOwn(x)
	if len(q.pending) > maxPending {
		q.full = true
		x.Hold()
	}
}

// next is the verb that the backend replies to next.
func (q *replyQueue) next() string {
	if len(q.pending) == 0 {
		return ""
	}
	return q.pending[0].verb
}

// replied takes the end of a reply, and returns the verb that it belongs to.
func (q *replyQueue) replied(x *Exchange) (verb string) {
	verb = q.next()
	if len(q.pending) > 0 {
		q.pending = q.pending[1:]
	}
	q.giveOwn(x)
	if q.full && len(q.pending) <= maxPending {
		q.full = false
		x.Release()
	}
	return verb
}

func (q *replyQueue) giveOwn(x *Exchange) {
	for len(q.pending) > 0 && q.pending[0].own != "" {
		x.ToClient([]byte(q.pending[0].own))
		q.pending = q.pending[1:]
	}
}

// owing tells whether a reply of our own still waits.
func (q *replyQueue) owing() bool {
	for _, p := range q.pending {
		if p.own != "" {
			return true
		}
	}
	return false
}
