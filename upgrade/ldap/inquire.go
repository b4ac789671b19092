package ldap

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// askedOfRoot are the attributes of the root DSE that say how a client can log in (RFC 4512
// section 5.1).
var askedOfRoot = []string{"supportedLDAPVersion", "supportedSASLMechanisms"}

// inquire reads the root DSE, which servers show to everybody (RFC 4512 section 5.1 has it
// subject to access control, so that there may be none).
func inquire(s *dialogue.Session, _ bool) (capabilities []string, err error) {
	if err := s.Send(searchRoot()); err != nil {
		return nil, err
	}
	for {
		m, err := ldapRead(s)
		switch {
		case err != nil:
			return nil, err
		case ldapIsNotice(m.id):
			return nil, dialogue.ErrRefused
		case !bytes.Equal(m.id, []byte{2}):
			return nil, dialogue.ErrMalformed
		case m.op == ldapSearchDone:
			if code := m.content.octets(berEnumerated); ldapID(code) != ldapSuccess || m.content.err != nil {
				return nil, dialogue.ErrRefused
			}
			return capabilities, nil
		case m.op == ldapSearchEntry:
			if capabilities, err = m.attributes(); err != nil {
				return nil, err
			}
		}
	}
}

// attributes lists those of an entry, one value to an item (RFC 4511 section 4.5.2).
func (m *ldapMessage) attributes() (values []string, err error) {
	content := m.content
	content.octets(berOctetString) // the entry's name
	_, list := content.next()
	for list.size > 0 && list.err == nil {
		_, attribute := list.next()
		name := string(attribute.octets(berOctetString))
		_, set := attribute.next()
		for set.size > 0 && set.err == nil {
			values = append(values, name+" "+string(set.octets(berOctetString)))
		}
		if attribute.err != nil || set.err != nil {
			return nil, dialogue.ErrMalformed
		}
	}
	if content.err != nil || list.err != nil {
		return nil, dialogue.ErrMalformed
	}
	return values, nil
}

// searchRoot is a SearchRequest for the root DSE (RFC 4511 section 4.5.1): the base object
// alone, aliases as they are, no limits, values and not types alone, any object class.
func searchRoot() []byte {
	var attributes []byte
	for _, name := range askedOfRoot {
		attributes = append(attributes, ber(berOctetString, []byte(name))...)
	}
	return ber(berSequence, []byte("\x02\x01\x02"), ber(ldapSearchRequest,
		[]byte("\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00"),
		ber(ldapPresent, []byte("objectClass")), ber(berSequence, attributes)))
}

const ldapPresent = 0x87 // a filter
