package ldap

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

// ldapRootDSE makes the one entry of the search, and its end.
func ldapRootDSE(id []byte) []byte {
	value := ber(berSet, ber(berOctetString, []byte(ldapStartTLS)))
	attribute := ber(berSequence, ber(berOctetString, []byte("supportedExtension")), value)
	entry := ber(ldapSearchEntry, ber(berOctetString), ber(berSequence, attribute))
	return append(ber(berSequence, ber(berInteger, id), entry), ldapResult(id, ldapSearchDone, ldapSuccess)...)
}
