package upgrade

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
