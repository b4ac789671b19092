package dialogue

// HandshakePackets are packets of a protocol in which the records of a TLS handshake travel,
// in both directions. They end with the handshake: what follows is TLS by itself. A record may
// be split over several packets, and a packet may have several records.
//
// Such a handshake is one of TLS 1.2 at the most: in TLS 1.3 a server sends session tickets
// behind it, and nobody could tell whether those are inside packets.
type HandshakePackets struct {
	// First is the octet that each packet of a client begins with.
	First byte

	// HeadSize is how many octets each packet has in front of the records.
	HeadSize int

	// PayloadSize is how many octets follow the head of a packet that has come, from 1.
	// What is no packet of the handshake is ErrNotTLS.
	PayloadSize func(head []byte) (int, error)

	// MaxPayload bounds what is put into a packet of ours, in octets.
	MaxPayload int

	// Packet makes one. last means that its payload is the end of what is said at a time.
	Packet func(payload []byte, last bool) []byte
}

// FirstOfTLS is the octet that a client begins the handshake of an upgrade with.
func (p *Protocol) FirstOfTLS() byte {
	if p.HandshakePackets != nil {
		return p.HandshakePackets.First
	}
	return RecordTypeHandshake
}
