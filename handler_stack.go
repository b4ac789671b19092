package l4starttls

// handshakeStack is about what a handshake of crypto/tls needs of a goroutine's stack, in octets.
const handshakeStack = 10 << 10

// growStack has the stack grow at once to what a handshake needs. It would grow later, in the midst
// of the handshake, and twice, each time with all frames to be moved: 2 % of a connection's CPU.
// It is for when the ClientHello has come: a client that never sends one costs no more
// than before. What is not used of the stack, garbage collection takes back. Without n,
// which may be any number from 0 on, the compiler would do without the room.
//
//go:noinline
func growStack(n int) byte {
	var room [handshakeStack]byte
	room[n%len(room)] = 1
	return room[n*n%len(room)]
}
