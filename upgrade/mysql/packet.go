package mysql

import "encoding/binary"

// headSize is what a packet has in front of its payload: the payload's length in three
// octets, the lowest first, and a sequence number. The numbers count the packets of both
// sides, from 0 for the greeting until the login is over.
const headSize = 4

// maxPacket bounds the payload of a packet before the login is over, in octets. The longest
// are logins with connection attributes, and GSSAPI's tokens.
const maxPacket = 64 << 10

// head reads the head of a packet.
func head(b []byte) (size int, sequence byte) {
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, b[3]
}

// packetHead makes the head of a packet.
func packetHead(size int, sequence byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, uint32(size)|uint32(sequence)<<24) //nolint:gosec // at most maxPacket
}

// packet makes one; its payload is a short one.
func packet(sequence byte, payload []byte) []byte {
	return append(packetHead(len(payload), sequence), payload...)
}

// What a payload of the server's begins with, until the login is over.
const (
	replyOK     = 0x00
	replyMore   = 0x01 // AuthMoreData: the plugin's, behind this octet
	replyFactor = 0x02 // AuthNextFactor: the next factor's plugin and its challenge
	replySwitch = 0xfe // AuthSwitchRequest: another plugin and its challenge
	replyError  = 0xff
)

// Capabilities of a client and a server. Any others pass as they are.
const (
	longPassword     = 1 << 0
	connectWithDB    = 1 << 3
	protocol41       = 1 << 9
	offersTLS        = 1 << 11 // CLIENT_SSL
	transactions     = 1 << 13
	secureConnection = 1 << 15
	pluginAuth       = 1 << 19
	lengthEncoded    = 1 << 21 // CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
	multiFactor      = 1 << 28
)
