package vnc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Security types (RFC 6143 section 7.1.2), of which VeNCrypt is registered as number 19.
const (
	typeNone     = 1
	typeVncAuth  = 2
	typeVeNCrypt = 19
)

// Subtypes of VeNCrypt. Those named TLS in its document have no certificate, and are not used here.
const (
	subtypePlain     = 256
	subtypeX509None  = 260
	subtypeX509Vnc   = 261
	subtypeX509Plain = 262
)

// subtypeNames are those of the subtypes with a certificate, as in TigerVNC's option SecurityTypes.
var subtypeNames = map[string]uint32{"X509None": subtypeX509None, "X509Vnc": subtypeX509Vnc, "X509Plain": subtypeX509Plain}

// withoutTLS is the security type that a server without TLS has for a subtype, or 0.
func withoutTLS(subtype uint32) byte {
	switch subtype {
	case subtypeX509None:
		return typeNone
	case subtypeX509Vnc:
		return typeVncAuth
	case subtypeX509Plain:
		return typeVeNCrypt
	}
	return 0
}

const (
	versionSize   = 12
	versionPrefix = "RFB 003."
	version       = versionPrefix + "008\n"
	challengeSize = 16
	subtypeSize   = 4
	lengthSize    = 4

	// maxMessage bounds a list of types, which has 255 at the most, and the reason of a refusal, in octets.
	maxMessage = 1 + 255*subtypeSize
)

// venCrypt is the version 0.2, and refused the answer to any other.
var (
	venCrypt = []byte{0, 2}
	refused  = []byte{0xff}
)

// errNotRFB is for whatever is no version.
var errNotRFB = fmt.Errorf("%w: no RFB version", dialogue.ErrMalformed)

// parseVersion returns the minor version of RFB 3 that b, of versionSize, tells: 3, 7 or 8. What is between
// them counts as the lower one, and Apple's 3.889 and others beyond as 8.
func parseVersion(b []byte) (minor int, err error) {
	digits, ok := bytes.CutPrefix(b, []byte(versionPrefix))
	if !ok || digits[3] != '\n' {
		return 0, errNotRFB
	}
	n, err := strconv.ParseUint(string(digits[:3]), 10, 16)
	switch {
	case err != nil:
		return 0, errNotRFB
	case n < 7:
		return 3, nil
	}
	return int(min(n, 8)), nil
}

// versionOf is the reverse, for the version that both sides take it for.
func versionOf(minor int) []byte { return fmt.Appendf(nil, "%s%03d\n", versionPrefix, minor) }

// beginsVersion reports whether b may become a version of RFB 3.
func beginsVersion(b []byte) bool {
	n := min(len(b), len(versionPrefix))
	return string(b[:n]) == versionPrefix[:n]
}

// cutList returns the list of elements of a size that b begins with, and its own size, or 0 if more of it
// must arrive.
func cutList(b []byte, element int) (list []byte, size int) {
	if len(b) == 0 || len(b) < 1+int(b[0])*element {
		return nil, 0
	}
	size = 1 + int(b[0])*element
	return b[1:size], size
}

// hasSubtype reports whether a list of subtypes has one.
func hasSubtype(list []byte, subtype uint32) bool {
	return slices.Contains(subtypes(list), subtype)
}

func subtypes(list []byte) (all []uint32) {
	for chunk := range slices.Chunk(list, subtypeSize) {
		all = append(all, binary.BigEndian.Uint32(chunk))
	}
	return all
}

// subtypeList makes such a list.
func subtypeList(all ...uint32) []byte {
	p := []byte{byte(len(all))} //nolint:gosec // no more than three
	for _, subtype := range all {
		p = binary.BigEndian.AppendUint32(p, subtype)
	}
	return p
}

func reasonText(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...) //nolint:gosec // short
}

// noTypes is in place of a list of security types, for a client of the given minor version: none, and the reason.
func noTypes(minor int, reason string) []byte {
	if minor < 7 { // in which the server chooses the type, with 32 bits
		return append(make([]byte, 4), reasonText(reason)...)
	}
	return append([]byte{0}, reasonText(reason)...)
}

// securityFailed is a SecurityResult with a reason (section 7.1.3).
func securityFailed(reason string) []byte {
	return append([]byte{0, 0, 0, 1}, reasonText(reason)...)
}

// challengedInVain is securityFailed for a client that waits for a challenge. It answers that first.
func challengedInVain(reason string) []byte {
	return append(make([]byte, challengeSize), securityFailed(reason)...)
}

// A wordedError ends a session in the words that its client understands at that point.
type wordedError struct {
	error
	words []byte
}

// Unwrap returns what went wrong.
func (e wordedError) Unwrap() error { return e.error }

// worded adds such words, if something went wrong.
func worded(err error, words []byte) error {
	if err == nil {
		return nil
	}
	return wordedError{err, words}
}

// reasonFor words why there is no session, for people.
func reasonFor(why error) string {
	switch {
	case errors.Is(why, dialogue.ErrTooManyConnections):
		return "Too many connections from your address"
	case errors.Is(why, dialogue.ErrShutdown):
		return "The server is shutting down"
	case errors.Is(why, dialogue.ErrMalformed):
		return "Protocol error"
	}
	return dialogue.UnavailableText(why, "Backend not available")
}

// parseSubtypes reads the option security_types.
func parseSubtypes(value string) (all []uint32, err error) {
	for name := range strings.FieldsSeq(value) {
		subtype, ok := subtypeNames[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("unknown type %q; must be some of: X509Vnc, X509None, X509Plain", name)
		case slices.Contains(all, subtype):
			return nil, fmt.Errorf("%s is there twice", name)
		}
		all = append(all, subtype)
	}
	return all, nil
}

func checkSubtypes(value string) error {
	_, err := parseSubtypes(value)
	return err
}
