package amqp

// A protocol header has eight octets: AMQP, the id of what follows, and its version (part 2
// section 2.2). Earlier protocols of the name have other octets behind AMQP, and no TLS layer.
const (
	headerSize = 8
	idAt       = 4
	magic      = "AMQP"

	tlsHeader  = magic + "\x02\x01\x00\x00" // part 5 section 5.2
	saslHeader = magic + "\x03\x01\x00\x00" // part 5 section 5.3
	bareHeader = magic + "\x00\x01\x00\x00" // no layer: part 2 section 2.2

	header091 = magic + "\x00\x00\x09\x01" // AMQP 0-9-1 section 4.2.2
	header010 = magic + "\x01\x01\x00\x0a" // AMQP 0-10 section 4.3
)

// isOld reports whether a header is that of an earlier protocol. All that follows it is that
// protocol's.
func isOld(header string) bool { return header == header091 || header == header010 }

// logsIn reports whether a login follows the header: in the SASL layer, or in an earlier
// protocol.
func logsIn(header string) bool { return header == saslHeader || isOld(header) }
