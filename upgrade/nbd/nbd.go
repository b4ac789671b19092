// Package nbd is the Network Block Device protocol for the package upgrade.
package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is NBD, which upgrades with the option NBD_OPT_STARTTLS of its fixed newstyle negotiation
// (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md):
//
//	S: NBDMAGIC IHAVEOPT 0003                   handshake flags
//	C: 00000003                                 the client's flags
//	C: IHAVEOPT 00000005 00000000               NBD_OPT_STARTTLS, no data
//	S: 0003e889045565a9 00000005 00000001 00000000   NBD_REP_ACK
//	   TLS
//	C: IHAVEOPT 00000007 ...                    the next option; the client does not repeat its flags
//
// The client's flags are kept for the filter, which repeats them to the backend. A client that has
// upgraded by Request goes on with its options: what it has of the greeting are the flags in Greeting.
var Protocol = &dialogue.Protocol{
	Name:        "nbd",
	Aliases:     []string{"nbds", "nbd-server", "qemu-nbd", "nbdkit"},
	Port:        10809,
	Facts:       dialogue.Facts{Ports: "10809", Upgrade: "`NBD_OPT_STARTTLS`", Document: "[NBD](https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md)"},
	ServerFirst: true,
	MaxLine:     headSize + maxData,
	Accept:      accept,
	Request:     request,
	Resume:      dialogue.ResumesAtOnce,
	ErrorReply:  errorReply,
	Join:        newFilter,
	Greeting:    string(greeting(fixedNewstyle)),
	Reject:      reject,
}

// A server greets with two magic numbers and its flags.
const (
	greetingSize = 8 + 8 + 2
	initMagic    = "NBDMAGIC"
	optionMagic  = "IHAVEOPT"
)

// Flags of the handshake: NBD_FLAG_FIXED_NEWSTYLE and NBD_FLAG_NO_ZEROES. The client's have the
// same values in 32 bits.
const (
	fixedNewstyle = 1 << 0
	noZeroes      = 1 << 1
)

const flagsSize = 4 // of the client's flags, in octets

func greeting(flags uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte(initMagic+optionMagic), flags)
}

// goodFlags reports whether the client's flags are among those that it was offered. A server must
// disconnect otherwise.
func goodFlags(flags []byte, offered uint32) bool {
	return binary.BigEndian.Uint32(flags)&^offered == 0
}

func accept(s *dialogue.Session) error {
	if err := s.Send(greeting(fixedNewstyle | noZeroes)); err != nil {
		return err
	}
	flags, err := readFlags(s, fixedNewstyle|noZeroes)
	if err != nil {
		return err
	}
	if err := s.Keep(flags); err != nil {
		return err
	}
	for {
		o, err := readOption(s)
		if err != nil {
			return err
		}
		if o.is(optStartTLS) && o.size == 0 && s.TLSAvailable() {
			return s.SendGoAhead(reply(optStartTLS, repAck, ""))
		}
		if err := answer(s, o); err != nil {
			return err
		}
	}
}

func readFlags(s *dialogue.Session, offered uint32) ([]byte, error) {
	flags, err := s.Next(flagsSize)
	if err == nil && !goodFlags(flags, offered) {
		err = dialogue.ErrMalformed // or a ClientHello
	}
	return flags, err
}

// answer answers everything but an upgrade that is granted. To NBD_OPT_EXPORT_NAME there is no answer but
// the export.
func answer(s *dialogue.Session, o option) error {
	switch o.code {
	case optStartTLS:
		if o.size > 0 {
			return s.SendRefusal(reply(o.code, repErrInvalid, "this option has no data"))
		}
		if s.TooManyUpgrades() {
			return errors.Join(s.Send(reply(o.code, repErrShutdown, "Too many TLS connections from your address")), dialogue.ErrQuit)
		}
		return s.SendRefusal(reply(o.code, repErrPolicy, "TLS is not available for now"))
	case optAbort:
		return errors.Join(s.Send(reply(o.code, repAck, "")), dialogue.ErrQuit)
	case optExportName:
		if !s.Optional() {
			return dialogue.ErrPlaintext
		}
	}
	return s.SendNeedsBackend(false, reply(o.code, repErrTLSReqd, "TLS is required, use NBD_OPT_STARTTLS"))
}

// request asks for the plainest session, without NBD_FLAG_NO_ZEROES, so that the client that is joined to
// the server then can be one that does not know the flag: see inside.
func request(s *dialogue.Session) error {
	hello, err := s.Next(greetingSize)
	switch {
	case err != nil:
		return err
	case !bytes.HasPrefix(hello, []byte(initMagic)):
		return dialogue.ErrMalformed
	case !negotiates(hello):
		return dialogue.ErrRefused // the oldstyle negotiation, or the newstyle that is not fixed: neither has the option
	}
	ask := binary.BigEndian.AppendUint32(nil, fixedNewstyle)
	if err := s.Send(append(ask, optionHead(optStartTLS, 0)...)); err != nil {
		return err
	}
	return readConsent(s)
}

// negotiates reports whether a server greets with the fixed newstyle negotiation.
func negotiates(hello []byte) bool {
	return string(hello[:16]) == initMagic+optionMagic && hello[17]&fixedNewstyle != 0
}

// readConsent reads the answer, with the text of an error for a log.
func readConsent(s *dialogue.Session) error {
	head, err := s.Peek(replyHeadSize)
	if err != nil {
		return err
	}
	r := parseReply(head)
	if !r.valid || r.option != optStartTLS || r.kind == repAck && r.size != 0 || int64(r.size) > maxData {
		return dialogue.ErrMalformed
	}
	if _, err = s.Next(replyHeadSize + int(r.size)); err != nil {
		return err
	}
	switch r.kind {
	case repAck:
		return nil
	case repErrUnsup, repErrPolicy, repErrPlatform:
		return s.Quote(dialogue.ErrNotOffered)
	}
	if r.isError() {
		return dialogue.ErrRefused
	}
	return dialogue.ErrMalformed
}

// reject greets a client, so that its option can be answered. What only prepares for an export is refused
// without a reason: a client does not tell people of that, and goes on.
func reject(s *dialogue.Session, why error) error {
	if err := s.Send(greeting(fixedNewstyle)); err != nil {
		return err
	}
	if _, err := readFlags(s, fixedNewstyle); err != nil {
		return err
	}
	for {
		o, err := readOption(s)
		switch {
		case err != nil:
			return err
		case o.code < optStructuredReply || o.code > optExtendedHeaders:
			words := lastReply(o.code, why)
			if words == nil {
				return dialogue.ErrQuit
			}
			return s.Send(words)
		}
		if err := s.Send(reply(o.code, repErrUnsup, "")); err != nil {
			return err
		}
	}
}

// errorReply answers NBD_OPT_STARTTLS. All that a server says is the answer to an option.
func errorReply(_ *dialogue.Session, why error) []byte { return lastReply(optStartTLS, why) }

// lastReply is the last answer of a session that ends, to an option that waits for one. To
// NBD_OPT_EXPORT_NAME there is no answer but the export.
func lastReply(code uint32, why error) []byte {
	var of optionError
	switch {
	case code == 0 || code == optExportName:
		return nil
	case errors.Is(why, dialogue.ErrPipelined):
		return reply(code, repErrInvalid, "nothing may follow this option before its answer")
	case errors.As(why, &of):
		return reply(of.code, repErrTooBig, "too long")
	case errors.Is(why, dialogue.ErrTooManyConnections):
		return reply(code, repErrShutdown, "Too many connections from your address")
	case errors.Is(why, dialogue.ErrBackend):
		return reply(code, repErrShutdown, dialogue.UnavailableText(why, "Backend not available"))
	}
	return nil
}
