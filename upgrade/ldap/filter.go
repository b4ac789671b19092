package ldap

import (
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxLDAPOwed bounds our own responses, in octets, while they wait for the end of a
// message of the backend's.
const maxLDAPOwed = 4 << 10

// A filter keeps a client from asking for TLS a second time, which a backend that
// has TLS of its own would grant: RFC 4511 section 4.14.1 has operationsError for
// that. From a client that stays in plaintext it also keeps passwords away, if so
// configured.
//
// It stays for the whole session, also when the client has bound: what it costs is to
// look at the beginning of each message, and behind that messages of any size pass by
// their length. It leaves when a bind was successful that may have negotiated a
// security layer, and what follows is none of LDAP's messages: a layer's buffers begin
// with their size (RFC 4422 section 3.7), of which the first octet is 0.
type filter struct {
	passwords bool // may pass
	tooLate   byte // the result of StartTLS

	toPass, toDrop int64 // of the client's present message
	toClient       int64 // of the backend's present message

	binding *ldapBinding // has no response yet
	layer   bool         // perhaps what follows is not made of messages
	owed    []byte       // our own responses, until the backend's message ends
	held    bool
}

// An ldapBinding is a bind that the backend has, and has not answered. There is one at
// the most: clients must wait for the response (RFC 4511 section 4.2.1).
type ldapBinding struct {
	id     uint32
	simple bool
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil
	}
	f := &filter{passwords: !s.Cleartext || s.PlaintextAuth, tooLate: ldapOperationsError}
	if s.Backend == dialogue.Introduced {
		f.tooLate = ldapProtocolError // as the backend has said to us
	}
	return f
}

// Start implements Filter.
func (*filter) Start(*dialogue.Exchange) {}

// FromClient implements Filter. What decides about a message must be within its first
// 16 KiB: a name that long is no name.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.toPass > 0:
		n := dialogue.CutRest(&f.toPass, b)
		x.ToBackend(b[:n])
		return n
	case f.toDrop > 0:
		return dialogue.CutRest(&f.toDrop, b)
	case f.layer && b[0] != berSequence:
		x.Detach()
		return 0
	case len(f.owed) > maxLDAPOwed:
		f.hold(x)
		return 0
	}
	m, err := ldapParse(b)
	if err == nil {
		f.layer = false
		err = f.judge(x, &m)
	}
	switch {
	case errors.Is(err, errBERShort) && len(b) < dialogue.MaxFiltered:
		return 0
	case err != nil:
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	case f.held:
		return 0
	}
	return f.FromClient(x, b)
}

// judge says whether a message is to pass or to be dropped, and answers those that the
// backend does not get.
func (f *filter) judge(x *dialogue.Exchange, m *ldapMessage) error {
	_, answered := ldapResponses[m.op]
	if ldapIsNotice(m.id) || !answered && m.op != ldapUnbindRequest && m.op != ldapAbandonRequest {
		return dialogue.ErrMalformed
	}
	code, err := f.refusal(m)
	switch {
	case err != nil:
		return err
	case code != ldapSuccess:
		if code == ldapConfidentialityRequired {
			x.RefusedLogin()
		}
		f.toDrop = m.size
		f.owed = append(f.owed, ldapResult(m.id, ldapResponses[m.op], code)...)
		f.payOwed(x)
	case m.op == ldapBindRequest:
		return f.passBind(x, m)
	default:
		f.toPass = m.size
	}
	return nil
}

// refusal is the result of a request that is refused, or else success.
func (f *filter) refusal(m *ldapMessage) (code byte, err error) {
	if m.op == ldapExtendedRequest {
		name, err := m.requestName()
		switch {
		case err != nil:
			return 0, err
		case name == ldapStartTLS:
			return f.secondStartTLS(m)
		}
	}
	if f.passwords {
		return ldapSuccess, nil
	}
	carries, err := m.carriesPassword()
	if carries {
		code = ldapConfidentialityRequired
	}
	return code, err
}

// secondStartTLS is the result of StartTLS where it is too late. Controls that are
// long are not looked at.
func (f *filter) secondStartTLS(m *ldapMessage) (code byte, err error) {
	switch controls := m.controls; {
	case m.size > dialogue.MaxFiltered:
		return f.tooLate, nil
	case int64(len(controls.b)) < controls.size:
		return 0, errBERShort
	}
	if critical, _ := m.criticalControl(); critical {
		return ldapUnavailableCriticalExtension, nil
	}
	return f.tooLate, nil
}

// payOwed sends our own responses where the backend is not amid a message.
func (f *filter) payOwed(x *dialogue.Exchange) {
	if f.toClient > 0 {
		return
	}
	x.ToClient(f.owed)
	f.owed = nil
}

// passBind lets the backend have a bind, once it has answered the one before.
func (f *filter) passBind(x *dialogue.Exchange, m *ldapMessage) error {
	b, err := m.bind()
	switch {
	case err != nil:
		return err
	case f.binding != nil:
		f.hold(x)
		return nil
	}
	f.binding = &ldapBinding{id: ldapID(m.id), simple: b.simple()}
	f.toPass = m.size
	return nil
}

func (f *filter) hold(x *dialogue.Exchange) {
	f.held = true
	x.Hold()
}

// errLDAPLayer means that a security layer has begun.
var errLDAPLayer = errors.New("not made of messages any more")

// FromBackend implements Filter. It passes on as many messages as there are, but stops
// behind one that our own responses wait for.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	n := 0
	var err error
	for n < len(b) && (f.toClient > 0 || len(f.owed) == 0) {
		if f.toClient == 0 {
			if err = f.response(b[n:]); err != nil {
				break
			}
		}
		n += dialogue.CutRest(&f.toClient, b[n:])
	}
	x.ToClient(b[:n])
	f.payOwed(x)
	switch {
	case errors.Is(err, errLDAPLayer):
		x.Detach()
	case errors.Is(err, errBERShort) && len(b)-n < dialogue.MaxFiltered:
	case err != nil:
		x.CloseFor(dialogue.ErrBackend)
	}
	if f.held && f.binding == nil && len(f.owed) == 0 {
		f.held = false
		x.Release()
	}
	return n
}

// response reads the beginning of a message. That of a BindResponse must be there up to
// the result, since only success begins a security layer.
func (f *filter) response(b []byte) error {
	if f.layer && b[0] != berSequence {
		return errLDAPLayer
	}
	m, err := ldapParse(b)
	if err != nil {
		return err
	}
	f.layer = false
	if m.op == ldapBindResponse && f.binding != nil && f.binding.id == ldapID(m.id) {
		content := m.content
		code := content.octets(berEnumerated)
		if content.err != nil {
			return content.err
		}
		f.layer = !f.binding.simple && ldapID(code) == ldapSuccess
		f.binding = nil
	}
	f.toClient = m.size
	return nil
}
