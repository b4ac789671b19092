package upgrade

import (
	"bytes"
	"errors"
	"fmt"
)

// LDAP upgrades with the StartTLS extended operation, RFC 4511 section 4.14. No
// ALPN id is registered for it, and clients send none; this one is there so that a
// client which asks for another protocol is refused.
var LDAP = &Protocol{
	Name:     "ldap",
	ALPN:     []string{"ldap"},
	MaxLine:  ldapMaxMessage,
	Match:    ldapMatch,
	Accept:   ldapAccept,
	Request:  ldapRequest,
	Farewell: ldapFarewell,
	Rejoin:   newLDAPRejoin,

	Unavailable: ldapHear,
}

const ldapMaxMessage = 16 << 10

const (
	ldapStartTLS = "1.3.6.1.4.1.1466.20037"
	ldapNotice   = "1.3.6.1.4.1.1466.20036" // Notice of Disconnection, section 4.4.1
)

// Tags, class and form included.
const (
	berInteger     = 0x02
	berOctetString = 0x04
	berEnumerated  = 0x0a
	berSequence    = 0x30
	berSet         = 0x31

	ldapBindRequest      = 0x60
	ldapUnbindRequest    = 0x42
	ldapSearchRequest    = 0x63
	ldapSearchEntry      = 0x64
	ldapSearchDone       = 0x65
	ldapAbandonRequest   = 0x50
	ldapExtendedRequest  = 0x77
	ldapExtendedResponse = 0x78
	ldapRequestName      = 0x80
	ldapSimple           = 0x80 // of a bind: the password
	ldapResponseName     = 0x8a
)

// ldapResponses has the tag of each request's response.
var ldapResponses = map[byte]byte{
	ldapBindRequest:     0x61,
	ldapSearchRequest:   ldapSearchDone,
	0x66:                0x67, // modify
	0x68:                0x69, // add
	0x4a:                0x6b, // delete
	0x6c:                0x6d, // modify DN
	0x6e:                0x6f, // compare
	ldapExtendedRequest: ldapExtendedResponse,
}

// Result codes, RFC 4511 section 4.1.9.
const (
	ldapSuccess                 = 0
	ldapOperationsError         = 1
	ldapProtocolError           = 2
	ldapConfidentialityRequired = 13
	ldapUnavailable             = 52
)

// An ldapMessage is an LDAPMessage without its controls.
type ldapMessage struct {
	id      []byte // as the peer has encoded it
	op      byte
	content []byte
}

func ldapAccept(s *Session) error {
	for {
		m, err := ldapRead(s)
		if err != nil {
			return err
		}
		response, known := ldapResponses[m.op]
		switch {
		case m.op == ldapUnbindRequest:
			return ErrQuit // it has no response
		case m.op == ldapAbandonRequest:
		case !known || ldapIsNotice(m.id):
			return ErrMalformed
		case m.startsTLS():
			return s.SendGoAhead(ldapResult(m.id, ldapExtendedResponse, ldapSuccess))
		case m.op == ldapExtendedRequest && m.requestName() == ldapStartTLS:
			err = s.SendRefusal(ldapResult(m.id, ldapExtendedResponse, ldapProtocolError))
		case m.readsRootDSE():
			err = s.Send(ldapRootDSE(m.id))
		default:
			err = s.SendInsistence(m.authenticates(), ldapResult(m.id, response, ldapConfidentialityRequired))
		}
		if err != nil {
			return err
		}
	}
}

// requestName is the OID of an ExtendedRequest.
func (m *ldapMessage) requestName() string {
	tag, name, _, ok := berCut(m.content)
	if !ok || tag != ldapRequestName {
		return ""
	}
	return string(name)
}

// startsTLS tells whether the message is a StartTLS request: one with nothing
// behind the name, not even a requestValue (RFC 4511 section 4.14.1).
func (m *ldapMessage) startsTLS() bool {
	_, _, rest, ok := berCut(m.content)
	return ok && m.op == ldapExtendedRequest && m.requestName() == ldapStartTLS && len(rest) == 0
}

// readsRootDSE tells whether the message is a search for the empty name alone,
// with which clients find out what a server supports (RFC 4512 section 5.1).
func (m *ldapMessage) readsRootDSE() bool {
	tag, base, rest, ok := berCut(m.content)
	if m.op != ldapSearchRequest || !ok || tag != berOctetString || len(base) > 0 {
		return false
	}
	tag, scope, _, ok := berCut(rest)
	return ok && tag == berEnumerated && bytes.Equal(scope, []byte{0})
}

// credentials are those of a bind; tag says of which kind they are.
func (m *ldapMessage) credentials() (tag byte, value []byte) {
	_, _, rest, _ := berCut(m.content) // version
	_, _, rest, _ = berCut(rest)       // name
	tag, value, _, _ = berCut(rest)
	return tag, value
}

// authenticates tells whether the message is a bind, but for an anonymous one
// (RFC 4513 section 5.1.1).
func (m *ldapMessage) authenticates() bool {
	tag, value := m.credentials()
	return m.op == ldapBindRequest && (tag != ldapSimple || len(value) > 0)
}

// ldapRead reads one message.
func ldapRead(s *Session) (*ldapMessage, error) {
	for {
		size, err := berSize(s.Buffered())
		if err != nil {
			return nil, err
		}
		if size > int64(s.maxLine) {
			return nil, ErrLineTooLong
		}
		if size > 0 {
			p, err := s.Next(int(size))
			if err != nil {
				return nil, err
			}
			return ldapParse(p)
		}
		if err := s.More(); err != nil {
			return nil, err
		}
	}
}

// ldapParse takes a message apart (RFC 4511 section 4.1.1).
func ldapParse(p []byte) (*ldapMessage, error) {
	_, p, _, _ = berCut(p)
	idTag, id, rest, okID := berCut(p)
	op, content, _, okOp := berCut(rest)
	if !okID || !okOp || idTag != berInteger || len(id) == 0 || len(id) > 4 || id[0] >= 0x80 {
		return nil, ErrMalformed
	}
	return &ldapMessage{id: id, op: op, content: content}, nil
}

// ldapIsNotice tells whether a messageID is the one of messages that answer none.
func ldapIsNotice(id []byte) bool { return len(bytes.Trim(id, "\x00")) == 0 }

// berSize returns the size of the message that b begins with, 0 if more of it
// must arrive first.
func berSize(b []byte) (int64, error) {
	if len(b) > 0 && b[0] != berSequence {
		return 0, ErrMalformed
	}
	head, size, err := berHead(b)
	if head == 0 {
		return 0, err
	}
	return int64(head) + size, nil
}

// berHead reads a tag, which is one octet throughout LDAP, and a length. head is 0
// if more must arrive first. LDAP has lengths in definite form only (RFC 4511
// section 5.1), in as many octets as the sender likes; more than four are absurd.
func berHead(b []byte) (head int, size int64, err error) {
	switch {
	case len(b) < 2:
		return 0, 0, nil
	case b[1] < 0x80:
		return 2, int64(b[1]), nil
	}
	octets := int(b[1] & 0x7f)
	switch {
	case octets == 0 || octets > 4:
		return 0, 0, ErrMalformed
	case len(b) < 2+octets:
		return 0, 0, nil
	}
	for _, octet := range b[2 : 2+octets] {
		size = size<<8 | int64(octet)
	}
	return 2 + octets, size, nil
}

// berCut takes the first element out of b, of which all must be there.
func berCut(b []byte) (tag byte, content, rest []byte, ok bool) {
	head, size, err := berHead(b)
	if err != nil || head == 0 || size > int64(len(b)-head) {
		return 0, nil, nil, false
	}
	end := head + int(size)
	return b[0], b[head:end], b[end:], true
}

// ber makes an element. All of ours have less than 128 octets.
func ber(tag byte, contents ...[]byte) []byte {
	content := bytes.Join(contents, nil)
	return append([]byte{tag, byte(len(content))}, content...) //nolint:gosec // short
}

// ldapResult makes a response without matchedDN and diagnosticMessage.
func ldapResult(id []byte, op, code byte, more ...[]byte) []byte {
	return ldapResultText(id, op, code, "", more...)
}

// ldapResultText is ldapResult with a diagnosticMessage, a short one.
func ldapResultText(id []byte, op, code byte, text string, more ...[]byte) []byte {
	matchedDN, diagnostic := ber(berOctetString), ber(berOctetString, []byte(text))
	result := append([][]byte{ber(berEnumerated, []byte{code}), matchedDN, diagnostic}, more...)
	return ber(berSequence, ber(berInteger, id), ber(op, result...))
}

// ldapHear answers the client's first request: that is what a person gets to read,
// where a notice would be taken for a lost connection.
func ldapHear(s *Session, why error) error {
	for {
		m, err := ldapRead(s)
		if err != nil {
			return err
		}
		response, known := ldapResponses[m.op]
		switch {
		case m.op == ldapUnbindRequest:
			return ErrQuit
		case known && !ldapIsNotice(m.id):
			return s.Send(ldapResultText(m.id, response, ldapUnavailable, unavailableText(why, "")))
		}
	}
}

// ldapRootDSE makes the one entry of the search, and its end.
func ldapRootDSE(id []byte) []byte {
	value := ber(berSet, ber(berOctetString, []byte(ldapStartTLS)))
	attribute := ber(berSequence, ber(berOctetString, []byte("supportedExtension")), value)
	entry := ber(ldapSearchEntry, ber(berOctetString), ber(berSequence, attribute))
	return append(ber(berSequence, ber(berInteger, id), entry), ldapResult(id, ldapSearchDone, ldapSuccess)...)
}

// ldapFarewell is a Notice of Disconnection, RFC 4511 section 4.4.1.
func ldapFarewell(_ *Session, why error) []byte {
	code := byte(ldapProtocolError)
	switch {
	case errors.Is(why, ErrTooMany):
		code = ldapConfidentialityRequired
	case errors.Is(why, ErrTimeout), errors.Is(why, ErrBackend):
		code = ldapUnavailable
	case !errors.Is(why, ErrPipelined) && !errors.Is(why, ErrLineTooLong) && !errors.Is(why, ErrMalformed):
		return nil
	}
	return ldapResult([]byte{0}, ldapExtendedResponse, code, ber(ldapResponseName, []byte(ldapNotice)))
}

// ldapStartTLSRequest is what all clients send, with the messageID 1.
var ldapStartTLSRequest = ber(berSequence,
	ber(berInteger, []byte{1}), ber(ldapExtendedRequest, ber(ldapRequestName, []byte(ldapStartTLS))))

// ldapMatch accepts any messageID, and lengths in any form. Controls behind the
// request do not matter.
func ldapMatch(prefix []byte) Verdict {
	message, size, v := berEnter(prefix, berSequence, int64(len(ldapStartTLSRequest)-2), ldapMaxMessage)
	if v != Matched {
		return v
	}
	id, idSize, v := berEnter(message, berInteger, 1, 4)
	switch {
	case v != Matched:
		return v
	case len(id) > 0 && id[0] >= 0x80:
		return NoMatch
	case int64(len(id)) <= idSize: // not yet the next tag
		return NeedMore
	case ldapIsNotice(id[:idSize]):
		return NoMatch
	}
	name := int64(len(ldapStartTLS))
	request, requestSize, v := berEnter(id[idSize:], ldapExtendedRequest, 2+name, 6+name)
	switch {
	case v != Matched:
		return v
	case int64(len(message)-len(request))+requestSize > size:
		return NoMatch
	}
	oid, _, v := berEnter(request, ldapRequestName, name, name)
	switch {
	case v != Matched:
		return v
	case int64(len(request)-len(oid))+name != requestSize: // a value
		return NoMatch
	}
	return matchLiteral(oid, []byte(ldapStartTLS))
}

// berEnter matches the head of an element, and returns what has arrived of what
// follows it.
func berEnter(b []byte, tag byte, least, most int64) (content []byte, size int64, v Verdict) {
	if len(b) > 0 && b[0] != tag {
		return nil, 0, NoMatch
	}
	head, size, err := berHead(b)
	switch {
	case err != nil || head > 0 && (size < least || size > most):
		return nil, 0, NoMatch
	case head == 0:
		return nil, 0, NeedMore
	}
	return b[head:], size, Matched
}

func ldapRequest(s *Session) error {
	if err := s.Send(ldapStartTLSRequest); err != nil {
		return err
	}
	m, err := ldapRead(s)
	if err != nil {
		return err
	}
	code, ok := m.result()
	switch {
	case !ok:
		return ErrMalformed
	case ldapIsNotice(m.id): // of Disconnection
		return ErrRefused
	case !bytes.Equal(m.id, []byte{1}):
		return fmt.Errorf("%w: response to another message", ErrMalformed)
	case code == ldapProtocolError: // what a server says that has no StartTLS
		return ErrNotOffered
	case code != ldapSuccess:
		return fmt.Errorf("%w: result code %d", ErrRefused, code)
	}
	return nil
}

// result returns the code of an ExtendedResponse. Its name may be missing, but it
// must not be another's; what else there may be (referrals) comes without success.
func (m *ldapMessage) result() (code byte, ok bool) {
	codeTag, value, rest, ok1 := berCut(m.content)
	dnTag, _, rest, ok2 := berCut(rest)
	textTag, _, rest, ok3 := berCut(rest)
	if !ok1 || !ok2 || !ok3 || m.op != ldapExtendedResponse || len(value) != 1 ||
		codeTag != berEnumerated || dnTag != berOctetString || textTag != berOctetString {
		return 0, false
	}
	if value[0] != ldapSuccess || len(rest) == 0 {
		return value[0], true
	}
	tag, name, rest, ok := berCut(rest)
	return ldapSuccess, ok && tag == ldapResponseName && string(name) == ldapStartTLS && len(rest) == 0
}
