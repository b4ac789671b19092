package ldap

import (
	"bytes"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Tags, class and form included.
const (
	berBoolean     = 0x01
	berInteger     = 0x02
	berOctetString = 0x04
	berEnumerated  = 0x0a
	berSequence    = 0x30
	berSet         = 0x31
)

// errBERShort means that more of an element must arrive before it can be read.
var errBERShort = errors.New("element has come in part")

// A berReader reads the elements of a container of which perhaps not all has
// arrived. After an error it yields nothing.
type berReader struct {
	b    []byte // what has arrived
	size int64  // of all there will be
	err  error  // errBERShort or ErrMalformed
}

// next reads the head of the next element and moves on to the one behind it, whether
// or not the content has arrived. An element that is longer than its container is
// malformed: servers differ in where they think that it ends.
func (r *berReader) next() (tag byte, content berReader) {
	if r.err != nil {
		return 0, berReader{err: r.err}
	}
	head, size, err := berHead(r.b)
	switch {
	case err == nil && head == 0 && int64(len(r.b)) < r.size:
		err = errBERShort
	case err == nil && (head == 0 || int64(head)+size > r.size):
		err = dialogue.ErrMalformed
	}
	if err != nil {
		r.err = err
		return 0, berReader{err: err}
	}
	tag, rest := r.b[0], r.b[head:]
	arrived := min(size, int64(len(rest)))
	r.b, r.size = rest[arrived:], r.size-int64(head)-size
	return tag, berReader{b: rest[:arrived], size: size}
}

// octets is the content of the next element, which must have the given tag.
func (r *berReader) octets(want byte) []byte {
	tag, content := r.next()
	switch {
	case r.err != nil:
	case tag != want:
		r.err = dialogue.ErrMalformed
	case int64(len(content.b)) < content.size:
		r.err = errBERShort
	}
	return content.b
}

// berSize returns the size of the message that b begins with, 0 if more of it
// must arrive first.
func berSize(b []byte) (int64, error) {
	if len(b) > 0 && b[0] != berSequence {
		return 0, dialogue.ErrMalformed
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
		return 0, 0, dialogue.ErrMalformed
	case len(b) < 2+octets:
		return 0, 0, nil
	}
	for _, octet := range b[2 : 2+octets] {
		size = size<<8 | int64(octet)
	}
	return 2 + octets, size, nil
}

// ber makes an element. All of ours have less than 128 octets.
func ber(tag byte, contents ...[]byte) []byte {
	content := bytes.Join(contents, nil)
	return append([]byte{tag, byte(len(content))}, content...) //nolint:gosec // short
}
