// Package ldap is LDAP for the package upgrade: StartTLS of RFC 4511 section 4.14.
//
//	C: ExtendedRequest 1.3.6.1.4.1.1466.20037
//	S: ExtendedResponse success
//	   TLS; a second StartTLS is answered here
package ldap

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is LDAP, which upgrades with the StartTLS extended operation, RFC 4511 section 4.14. No
// ALPN id is registered for it, and clients send none; this one is there so that a
// client which asks for another protocol is refused.
var Protocol = &dialogue.Protocol{
	Name:       "ldap",
	Aliases:    []string{"ldaps", "directory", "ad", "activedirectory"},
	Port:       389,
	Facts:      dialogue.Facts{Ports: "389", Upgrade: "StartTLS", Document: "RFC 4511 section 4.14"},
	ALPN:       []string{"ldap"},
	MaxLine:    ldapMaxMessage,
	Match:      match,
	Accept:     accept,
	Request:    request,
	Resume:     dialogue.ResumesAtOnce, // our messageID is free again (RFC 4511 section 4.1.1.1)
	ErrorReply: errorReply,
	Join:       newFilter,

	Reject: ldapHear,

	ImplicitPort: 636,
	Inquire:      inquire,
	Quit:         "\x30\x05\x02\x01\x03\x42\x00", // UnbindRequest, section 4.3
}

const ldapMaxMessage = 16 << 10

const (
	ldapStartTLS = "1.3.6.1.4.1.1466.20037"
	ldapNotice   = "1.3.6.1.4.1.1466.20036" // Notice of Disconnection, section 4.4.1
)

// Tags, class and form included.
const (
	ldapBindRequest      = 0x60
	ldapBindResponse     = 0x61
	ldapUnbindRequest    = 0x42
	ldapSearchRequest    = 0x63
	ldapSearchEntry      = 0x64
	ldapSearchDone       = 0x65
	ldapCompareRequest   = 0x6e
	ldapAbandonRequest   = 0x50
	ldapExtendedRequest  = 0x77
	ldapExtendedResponse = 0x78
	ldapControls         = 0xa0
	ldapRequestName      = 0x80
	ldapSimple           = 0x80 // of a bind: the password
	ldapResponseName     = 0x8a
)

// ldapResponses has the tag of each request's response.
var ldapResponses = map[byte]byte{
	ldapBindRequest:     ldapBindResponse,
	ldapSearchRequest:   ldapSearchDone,
	0x66:                0x67, // modify
	0x68:                0x69, // add
	0x4a:                0x6b, // delete
	0x6c:                0x6d, // modify DN
	ldapCompareRequest:  0x6f,
	ldapExtendedRequest: ldapExtendedResponse,
}

// Result codes, RFC 4511 section 4.1.9.
const (
	ldapSuccess                      = 0
	ldapOperationsError              = 1
	ldapProtocolError                = 2
	ldapUnavailableCriticalExtension = 12
	ldapConfidentialityRequired      = 13
	ldapBusy                         = 51
	ldapUnavailable                  = 52
)

// accept plays the server until StartTLS. Where clients may stay in plaintext, a bind
// that is no login succeeds here and is not passed on: it changes nothing, and there
// are clients (JNDI's) that send one before StartTLS.
func accept(s *dialogue.Session) error {
	for {
		m, err := ldapRead(s)
		if err != nil {
			return err
		}
		_, known := ldapResponses[m.op]
		switch {
		case m.op == ldapUnbindRequest:
			return dialogue.ErrQuit // it has no response
		case m.op == ldapAbandonRequest:
		case !known || ldapIsNotice(m.id):
			return dialogue.ErrMalformed
		case m.op == ldapExtendedRequest:
			err = ldapExtended(s, m)
		case m.readsRootDSE():
			err = s.Send(ldapRootDSE(m.id))
		case s.Optional() && m.bindsToNobody():
			err = s.Send(ldapResult(m.id, ldapBindResponse, ldapSuccess))
		default:
			err = ldapNeedsBackend(s, m)
		}
		if err != nil || s.Granted() {
			return err
		}
	}
}

// ldapExtended answers an ExtendedRequest, and grants StartTLS.
func ldapExtended(s *dialogue.Session, m *ldapMessage) error {
	name, err := m.requestName()
	switch {
	case err != nil:
		return dialogue.ErrMalformed
	case name != ldapStartTLS:
		return ldapNeedsBackend(s, m)
	}
	code, err := m.startTLSCode()
	switch {
	case err != nil:
		return dialogue.ErrMalformed
	case code != ldapSuccess:
		return s.SendRefusal(ldapResult(m.id, ldapExtendedResponse, code))
	}
	switch {
	case s.TLSAvailable():
	case s.TooManyUpgrades():
		return s.SendRefusal(ldapResultText(m.id, ldapExtendedResponse, ldapBusy, "Too many upgrades from your address"))
	default:
		return s.SendRefusal(ldapResult(m.id, ldapExtendedResponse, ldapUnavailable))
	}
	// The responseName is optional (RFC 4511 section 4.12), but sslscan wants it.
	return s.SendGoAhead(ldapResult(m.id, ldapExtendedResponse, ldapSuccess, ber(ldapResponseName, []byte(ldapStartTLS))))
}

// ldapNeedsBackend is for what the backend alone can answer.
func ldapNeedsBackend(s *dialogue.Session, m *ldapMessage) error {
	password, err := m.carriesPassword()
	refusal := ldapResult(m.id, ldapResponses[m.op], ldapConfidentialityRequired)
	return s.SendNeedsBackend(password || err != nil, refusal)
}

// ldapRead reads one message.
func ldapRead(s *dialogue.Session) (*ldapMessage, error) {
	for {
		size, err := berSize(s.Buffered())
		if err != nil {
			return nil, err
		}
		if size > int64(s.MaxLine()) {
			return nil, dialogue.ErrLineTooLong
		}
		if size > 0 {
			p, err := s.Next(int(size))
			if err != nil {
				return nil, err
			}
			m, err := ldapParse(p)
			return &m, err
		}
		if err := s.More(); err != nil {
			return nil, err
		}
	}
}

// ldapHear answers the client's first request: that is what a person gets to read,
// where a notice would be taken for a lost connection.
func ldapHear(s *dialogue.Session, why error) error {
	for {
		m, err := ldapRead(s)
		if err != nil {
			return err
		}
		response, known := ldapResponses[m.op]
		switch {
		case m.op == ldapUnbindRequest:
			return dialogue.ErrQuit
		case known && !ldapIsNotice(m.id):
			return s.Send(ldapResultText(m.id, response, ldapAbsence(why), dialogue.UnavailableText(why, ldapTooMany)))
		}
	}
}

// ldapAbsence is the code of why there is no server for a client.
func ldapAbsence(why error) byte {
	if errors.Is(why, dialogue.ErrTooManyConnections) {
		return ldapBusy
	}
	return ldapUnavailable
}

const ldapTooMany = "Too many connections from your address"

// errorReply is a Notice of Disconnection, RFC 4511 section 4.4.1.
func errorReply(_ *dialogue.Session, why error) []byte {
	code := byte(ldapProtocolError)
	switch {
	case errors.Is(why, dialogue.ErrTooMany):
		code = ldapConfidentialityRequired
	case errors.Is(why, dialogue.ErrTooManyConnections):
		code = ldapBusy
	case errors.Is(why, dialogue.ErrTimeout), errors.Is(why, dialogue.ErrShutdown), errors.Is(why, dialogue.ErrBackend):
		code = ldapUnavailable
	case !errors.Is(why, dialogue.ErrPipelined) && !errors.Is(why, dialogue.ErrLineTooLong) && !errors.Is(why, dialogue.ErrMalformed):
		return nil
	}
	return ldapResult([]byte{0}, ldapExtendedResponse, code, ber(ldapResponseName, []byte(ldapNotice)))
}

// ldapStartTLSRequest is what all clients send, with the messageID 1.
var ldapStartTLSRequest = ber(berSequence,
	ber(berInteger, []byte{1}), ber(ldapExtendedRequest, ber(ldapRequestName, []byte(ldapStartTLS))))

func request(s *dialogue.Session) error {
	if err := s.Send(ldapStartTLSRequest); err != nil {
		return err
	}
	m, err := ldapRead(s)
	if err != nil {
		return err
	}
	code, text, ok := m.result()
	switch {
	case !ok:
		return dialogue.ErrMalformed
	case ldapIsNotice(m.id): // of Disconnection
		return dialogue.Refusal(fmt.Errorf("%w: result code %d", dialogue.ErrRefused, code), text)
	case !bytes.Equal(m.id, []byte{1}):
		return fmt.Errorf("%w: response to another message", dialogue.ErrMalformed)
	case code == ldapProtocolError: // what a server says that has no StartTLS
		return dialogue.Refusal(dialogue.ErrNotOffered, text)
	case code != ldapSuccess:
		return dialogue.Refusal(fmt.Errorf("%w: result code %d", dialogue.ErrRefused, code), text)
	}
	return nil
}

// result returns the code of an ExtendedResponse, and its text for people. Its name may be missing, but it
// must not be another's; what else there may be (referrals) comes without success.
func (m *ldapMessage) result() (code byte, text string, ok bool) {
	content := m.content
	value := content.octets(berEnumerated)
	content.octets(berOctetString) // matchedDN
	text = string(content.octets(berOctetString))
	switch {
	case content.err != nil || m.op != ldapExtendedResponse || len(value) != 1:
		return 0, "", false
	case value[0] != ldapSuccess || content.size == 0:
		return value[0], text, true
	}
	name := string(content.octets(ldapResponseName))
	return ldapSuccess, text, content.err == nil && name == ldapStartTLS && content.size == 0
}
