package ldap

import (
	"bytes"
	"errors"
	"math"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An ldapMessage is an LDAPMessage (RFC 4511 section 4.1.1), of which the beginning is
// enough to know which operation it is. What its methods look at is read strictly: each
// element where it belongs, with its tag, and within the element around it. Servers
// read on across such limits (OpenLDAP ignores the length of an operation and the tags
// in a bind), so what is not so is malformed and no server gets it.
type ldapMessage struct {
	size     int64  // of the whole message, in octets
	id       []byte // as the peer has encoded it
	op       byte
	content  berReader // of the operation
	controls berReader // what is behind it
}

// ldapParse takes apart the message that b begins with. The error is errBERShort while
// the operation's tag has not arrived. A messageID of more than four octets is not
// within the range of RFC 4511 section 4.1.1.1, but for leading zeros, which no client
// sends.
func ldapParse(b []byte) (m ldapMessage, err error) {
	all := berReader{b: b, size: math.MaxInt64}
	tag, message := all.next()
	id := message.octets(berInteger)
	op, content := message.next()
	switch {
	case len(b) > 0 && b[0] != berSequence, all.err == nil && tag != berSequence:
		return m, dialogue.ErrMalformed
	case message.err != nil:
		return m, message.err
	case len(id) == 0 || len(id) > 4 || id[0] >= 0x80:
		return m, dialogue.ErrMalformed
	}
	return ldapMessage{size: math.MaxInt64 - all.size, id: id, op: op, content: content, controls: message}, nil
}

// ldapIsNotice reports whether a messageID is the one of messages that answer none.
func ldapIsNotice(id []byte) bool { return ldapID(id) == 0 }

// ldapID is the value of a messageID, which may have leading zeros.
func ldapID(id []byte) (value uint32) {
	for _, octet := range id {
		value = value<<8 | uint32(octet)
	}
	return value
}

// requestName is the OID of an ExtendedRequest. What is no OID is malformed: there are
// servers that cut it at a NUL.
func (m *ldapMessage) requestName() (string, error) {
	content := m.content
	name := string(content.octets(ldapRequestName))
	switch {
	case content.err != nil:
		return "", content.err
	case !ldapIsOID(name):
		return "", dialogue.ErrMalformed
	}
	return name, nil
}

// ldapIsOID knows a numericoid (RFC 4512 section 1.4).
func ldapIsOID(name string) bool {
	for arc := range strings.SplitSeq(name, ".") {
		if arc == "" || strings.Trim(arc, "0123456789") != "" || len(arc) > 1 && arc[0] == '0' {
			return false
		}
	}
	return true
}

// startTLSCode is the result of a StartTLS request that comes where it may: nothing
// may stand behind its name, not even a requestValue (RFC 4511 section 4.14.1), and
// no control may be critical, since none has a meaning there (section 4.1.11).
func (m *ldapMessage) startTLSCode() (code byte, err error) {
	content := m.content
	content.octets(ldapRequestName)
	critical, err := m.criticalControl()
	switch {
	case err != nil:
		return 0, err
	case content.size > 0:
		return ldapProtocolError, nil
	case critical:
		return ldapUnavailableCriticalExtension, nil
	}
	return ldapSuccess, nil
}

// criticalControl reports whether there is a control that the client insists on.
// Elements of other tags must be ignored (RFC 4511 section 4).
func (m *ldapMessage) criticalControl() (critical bool, err error) {
	rest := m.controls
	for rest.size > 0 && err == nil {
		tag, controls := rest.next()
		err = rest.err
		for tag == ldapControls && controls.size > 0 && err == nil {
			_, control := controls.next()
			critical = ldapIsCritical(&control) || critical
			err = errors.Join(controls.err, control.err)
		}
	}
	return critical, err
}

// ldapIsCritical reads a control: its OID, whether it is critical, and its value.
func ldapIsCritical(control *berReader) (critical bool) {
	control.octets(berOctetString)
	for control.size > 0 && control.err == nil {
		tag, value := control.next()
		critical = critical || tag == berBoolean && len(bytes.Trim(value.b, "\x00")) > 0
		if int64(len(value.b)) < value.size {
			control.err = errBERShort
		}
	}
	return critical
}

// readsRootDSE reports whether the message is a search for the empty name alone,
// with which clients find out what a server supports (RFC 4512 section 5.1).
func (m *ldapMessage) readsRootDSE() bool {
	content := m.content
	base, scope := content.octets(berOctetString), content.octets(berEnumerated)
	return m.op == ldapSearchRequest && content.err == nil && len(base) == 0 && bytes.Equal(scope, []byte{0})
}

// An ldapBind is a BindRequest without the credentials.
type ldapBind struct {
	version, name []byte
	method        byte  // the kind of the credentials
	size          int64 // of the credentials
}

// bind reads a BindRequest up to the credentials, which are the last in it.
func (m *ldapMessage) bind() (b ldapBind, err error) {
	content := m.content
	b.version, b.name = content.octets(berInteger), content.octets(berOctetString)
	method, credentials := content.next()
	b.method, b.size = method, credentials.size
	if content.err == nil && content.size > 0 {
		return b, dialogue.ErrMalformed
	}
	return b, content.err
}

// simple reports whether the bind cannot lead to a security layer. All others might:
// SASL's, and those of Active Directory that are older (MS-ADTS section 5.1.1.1.3).
func (b *ldapBind) simple() bool { return b.method == ldapSimple }

// anonymous reports whether the bind has no password (RFC 4513 sections 5.1.1, 5.1.2).
func (b *ldapBind) anonymous() bool { return b.simple() && b.size == 0 }

// bindsToNobody reports whether the message changes nothing for a client that has not
// bound before: a bind without a name and without a password, as a client may send
// before StartTLS.
func (m *ldapMessage) bindsToNobody() bool {
	if m.op != ldapBindRequest {
		return false
	}
	b, err := m.bind()
	critical, controlErr := m.criticalControl()
	return errors.Join(err, controlErr) == nil && !critical &&
		b.anonymous() && len(b.name) == 0 && bytes.Equal(b.version, []byte{3})
}

// carriesPassword reports whether a request has, or may have, a password in it, or
// begins to authenticate. What cannot be read may.
func (m *ldapMessage) carriesPassword() (bool, error) {
	var carries bool
	var err error
	switch m.op {
	case ldapBindRequest:
		var b ldapBind
		b, err = m.bind()
		carries = !b.anonymous()
	case ldapCompareRequest:
		carries, err = m.comparesPassword()
	case ldapExtendedRequest:
		var name string
		name, err = m.requestName()
		carries = !ldapHarmless[name]
	default:
		return false, nil
	}
	if errors.Is(err, errBERShort) {
		return false, err
	}
	return carries || err != nil, nil
}

// ldapHarmless has the extended operations that carry no password. Password Modify
// (RFC 3062) is not the only one that does.
var ldapHarmless = map[string]bool{
	"1.3.6.1.4.1.4203.1.11.3": true, // Who am I?, RFC 4532
	"1.3.6.1.1.8":             true, // Cancel, RFC 3909
	ldapStartTLS:              true,
}

// comparesPassword reports whether a CompareRequest asks whether a password is right.
func (m *ldapMessage) comparesPassword() (bool, error) {
	content := m.content
	content.octets(berOctetString)
	tag, assertion := content.next()
	attribute := assertion.octets(berOctetString)
	switch {
	case content.err != nil:
		return true, content.err
	case tag != berSequence:
		return true, dialogue.ErrMalformed
	}
	return ldapIsPassword(string(attribute)), assertion.err
}

// ldapPasswords has the attributes for passwords, in lower case: of RFC 4519 section
// 2.41, of RFC 3112 section 4.1, and of Active Directory.
var ldapPasswords = map[string]bool{
	"userpassword": true, "2.5.4.35": true,
	"authpassword": true, "1.3.6.1.4.1.4203.1.3.4": true,
	"unicodepwd": true, "1.2.840.113556.1.4.90": true,
}

// ldapIsPassword knows them, with options or without. A name that is not made as RFC
// 4512 section 2.5 has it could be read as one of them.
func ldapIsPassword(attribute string) bool {
	name, _, _ := strings.Cut(attribute, ";")
	plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == ""
	return !plain || ldapPasswords[strings.ToLower(name)]
}
