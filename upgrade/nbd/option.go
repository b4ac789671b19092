package nbd

import (
	"encoding/binary"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Options of a client, by their names in the protocol's document: NBD_OPT_EXPORT_NAME and so on.
const (
	optExportName = 1
	optAbort      = 2
	optStartTLS   = 5
	optGo         = 7

	// From here on to here they only prepare: structured replies, metadata and longer headers.
	optStructuredReply = 8
	optExtendedHeaders = 11
)

// Replies of a server: NBD_REP_ACK and so on. The top bit is that of an error.
const (
	repAck         = 1
	repError       = 1 << 31
	repErrUnsup    = repError + 1
	repErrPolicy   = repError + 2
	repErrInvalid  = repError + 3
	repErrPlatform = repError + 4
	repErrTLSReqd  = repError + 5
	repErrShutdown = repError + 7
	repErrTooBig   = repError + 9
)

const (
	headSize      = 8 + 4 + 4     // of an option, without its data
	replyHeadSize = 8 + 4 + 4 + 4 // of a reply, without its data
	replyMagic    = 0x0003e889045565a9

	// maxData bounds the data of an option, in octets. A name has up to 4096.
	maxData = 8 << 10
)

// An option is what a client asks for.
type option struct {
	valid bool // it begins as an option does
	code  uint32
	size  uint32 // of its data
}

func (o option) is(code uint32) bool { return o.code == code }

// parseOption reads the head of an option.
func parseOption(head []byte) option {
	return option{
		valid: string(head[:8]) == optionMagic,
		code:  binary.BigEndian.Uint32(head[8:]),
		size:  binary.BigEndian.Uint32(head[12:]),
	}
}

func optionHead(code, size uint32) []byte {
	p := binary.BigEndian.AppendUint32([]byte(optionMagic), code)
	return binary.BigEndian.AppendUint32(p, size)
}

// An optionError is ErrLineTooLong for the data of an option.
type optionError struct{ code uint32 }

// Error implements error.
func (optionError) Error() string { return dialogue.ErrLineTooLong.Error() }

// Unwrap returns ErrLineTooLong.
func (optionError) Unwrap() error { return dialogue.ErrLineTooLong }

// readOption reads an option with its data.
func readOption(s *dialogue.Session) (option, error) {
	head, err := s.Peek(headSize)
	if err != nil {
		return option{}, err
	}
	o := parseOption(head)
	switch {
	case !o.valid:
		return o, dialogue.ErrMalformed
	case int64(o.size) > min(maxData, int64(s.MaxLine()-headSize)):
		return o, optionError{o.code}
	}
	_, err = s.Next(headSize + int(o.size))
	return o, err
}

// A serverReply is the head of what a server answers to an option.
type serverReply struct {
	valid  bool
	option uint32
	kind   uint32
	size   uint32 // of its data
}

// isError reports whether the reply is an error.
func (r serverReply) isError() bool { return r.kind&repError != 0 }

// isLast reports whether no other reply to the same option follows.
func (r serverReply) isLast() bool { return r.kind == repAck || r.isError() }

func parseReply(head []byte) serverReply {
	return serverReply{
		valid:  binary.BigEndian.Uint64(head) == replyMagic,
		option: binary.BigEndian.Uint32(head[8:]),
		kind:   binary.BigEndian.Uint32(head[12:]),
		size:   binary.BigEndian.Uint32(head[16:]),
	}
}

// reply makes one. The data of an error is a text for people.
func reply(code, kind uint32, text string) []byte {
	p := binary.BigEndian.AppendUint64(nil, replyMagic)
	p = binary.BigEndian.AppendUint32(p, code)
	p = binary.BigEndian.AppendUint32(p, kind)
	p = binary.BigEndian.AppendUint32(p, uint32(len(text))) //nolint:gosec // short
	return append(p, text...)
}
