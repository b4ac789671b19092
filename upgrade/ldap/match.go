package ldap

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// match accepts any messageID, and lengths in any form. Controls behind the
// request do not matter.
func match(prefix []byte) dialogue.Verdict {
	message, size, v := berEnter(prefix, berSequence, int64(len(ldapStartTLSRequest)-2), ldapMaxMessage)
	if v != dialogue.Matched {
		return v
	}
	id, idSize, v := berEnter(message, berInteger, 1, 4)
	switch {
	case v != dialogue.Matched:
		return v
	case len(id) > 0 && id[0] >= 0x80:
		return dialogue.NoMatch
	case int64(len(id)) <= idSize: // not yet the next tag
		return dialogue.NeedMore
	case ldapIsNotice(id[:idSize]):
		return dialogue.NoMatch
	}
	name := int64(len(ldapStartTLS))
	request, requestSize, v := berEnter(id[idSize:], ldapExtendedRequest, 2+name, 6+name)
	switch {
	case v != dialogue.Matched:
		return v
	case int64(len(message)-len(request))+requestSize > size:
		return dialogue.NoMatch
	}
	oid, _, v := berEnter(request, ldapRequestName, name, name)
	switch {
	case v != dialogue.Matched:
		return v
	case int64(len(request)-len(oid))+name != requestSize: // a value
		return dialogue.NoMatch
	}
	return dialogue.MatchLiteral(oid, []byte(ldapStartTLS))
}

// berEnter matches the head of an element, and returns what has arrived of what
// follows it.
func berEnter(b []byte, tag byte, least, most int64) (content []byte, size int64, v dialogue.Verdict) {
	if len(b) > 0 && b[0] != tag {
		return nil, 0, dialogue.NoMatch
	}
	head, size, err := berHead(b)
	switch {
	case err != nil || head > 0 && (size < least || size > most):
		return nil, 0, dialogue.NoMatch
	case head == 0:
		return nil, 0, dialogue.NeedMore
	}
	return b[head:], size, dialogue.Matched
}
