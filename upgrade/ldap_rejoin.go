package upgrade

// ldapRejoin watches a client that goes on in clear: it may not ask for TLS any
// more, for the backend would grant it, and perhaps it may not send its password.
// Inside TLS there is nothing to reconcile.
type ldapRejoin struct {
	refuseBind bool
	rest       int64 // of a message too long to be looked at
}

func newLDAPRejoin(s *Session) Filter {
	if !s.Plain() {
		return nil
	}
	return &ldapRejoin{refuseBind: !s.PlaintextAuth()}
}

// Start implements Filter.
func (*ldapRejoin) Start(*Exchange) {}

// FromBackend implements Filter.
func (*ldapRejoin) FromBackend(x *Exchange, b []byte) int {
	x.ToClient(b)
	return len(b)
}

// FromClient implements Filter. Once a bind has been passed on that may negotiate
// a security layer, what follows need not be made of messages.
func (f *ldapRejoin) FromClient(x *Exchange, b []byte) int {
	if f.rest > 0 {
		n := min(f.rest, int64(len(b)))
		f.rest -= n
		x.ToBackend(b[:n])
		return int(n)
	}
	size, err := berSize(b)
	switch {
	case err != nil:
		x.EndFor(ErrMalformed)
		return len(b)
	case size > maxFilterLine:
		f.rest = size
		return f.FromClient(x, b)
	case size == 0 || size > int64(len(b)):
		return 0
	}
	f.message(x, b[:size])
	return int(size)
}

func (f *ldapRejoin) message(x *Exchange, p []byte) {
	m, err := ldapParse(p)
	switch {
	case err != nil:
		x.EndFor(ErrMalformed)
	case m.op == ldapExtendedRequest && m.requestName() == ldapStartTLS:
		x.ToClient(ldapResult(m.id, ldapExtendedResponse, ldapOperationsError))
	case f.refuseBind && m.authenticates():
		x.ToClient(ldapResult(m.id, ldapResponses[m.op], ldapConfidentialityRequired))
	default:
		x.ToBackend(p)
		if tag, _ := m.credentials(); m.op == ldapBindRequest && tag != ldapSimple {
			x.Done()
		}
	}
}
