package upgrade

// handshakeStack is about what a handshake of crypto/tls needs of a goroutine's stack, in octets.
const handshakeStack = 10 << 10

// growStack has the stack grow at once to what a handshake needs, while there are few frames to be
// moved. It would grow twice in the midst of the handshake otherwise, which is 2 % of a
// connection's CPU. What is not used of it, garbage collection takes back. Without n, which
// may be any number from 0 on, the compiler would do without the room.
//
//go:noinline
func growStack(n int) byte {
	var room [handshakeStack]byte
	room[n%len(room)] = 1
	return room[n*n%len(room)]
}
