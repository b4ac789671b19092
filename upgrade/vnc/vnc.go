// Package vnc is the RFB protocol of VNC for the package upgrade, which upgrades with the security type
// VeNCrypt (https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#vencrypt).
package vnc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is RFB 3.8 (RFC 6143) with VeNCrypt 0.2:
//
//	S: RFB 003.008       C: RFB 003.008
//	S: 01 13             C: 13           the security type VeNCrypt
//	S: 00 02             C: 00 02        its version
//	S: 00                                which is good
//	S: 01 00000105       C: 00000105     the subtype X509Vnc
//	S: 01
//	   TLS
//	S: 16 octets         C: 16 octets    VNC authentication, or another by the subtype
//	S: 00000000                          SecurityResult
//
// The subtype is kept for the filter, which negotiates the same security without TLS with the backend: None
// for X509None, VncAuth for X509Vnc, and for X509Plain VeNCrypt's Plain. What the client may choose from
// is an option, since the backend is not asked before TLS.
var Protocol = &dialogue.Protocol{
	Name:    "vnc",
	Aliases: []string{"rfb", "vencrypt", "vncserver", "tigervnc"},
	Port:    5900,
	Facts: dialogue.Facts{
		Ports: "5900 to 5999", Upgrade: "security type VeNCrypt", Document: "[RFB](https://github.com/rfbproto/rfbproto/blob/master/rfbproto.rst#vencrypt), RFC 6143",
	},
	ServerFirst: true,
	MaxLine:     maxMessage,
	Options: []dialogue.Option{{Name: typesOption, Check: checkSubtypes,
		Usage: "which of X509Vnc, X509None and X509Plain there are, in order of preference, such as \"X509Vnc X509None\"; " +
			"for clients X509Vnc by default, towards a server all"}},
	Accept:     accept,
	Request:    request,
	Resume:     dialogue.ResumesAtOnce, // the server waits for a choice of its types
	ErrorReply: errorReply,
	Join:       newFilter,
	Greeting:   version,
	Reject:     reject,
}

const typesOption = "security_types"

// configured are the subtypes of the option, or nil if there is none.
func configured(s *dialogue.Session) []uint32 {
	all, _ := parseSubtypes(s.Option(typesOption)) // which has been checked
	return all
}

// accept reads four answers: to the version, to the security types, and to the version and the subtypes of
// VeNCrypt.
func accept(s *dialogue.Session) error {
	if err := s.Send([]byte(version)); err != nil {
		return err
	}
	minor, err := readVersion(s)
	switch {
	case err != nil:
		return err
	case minor < 8:
		return acceptOld(s, minor)
	}
	offered := configured(s)
	if offered == nil {
		offered = []uint32{subtypeX509Vnc}
	}
	types := securityTypes(s, offered)
	if len(types) == 0 {
		reason := "TLS is not available for now"
		if s.TooManyUpgrades() {
			reason = "Too many TLS connections from your address"
		}
		return errors.Join(s.Send(noTypes(minor, reason)), dialogue.ErrQuit)
	}
	if err := s.Send(append([]byte{byte(len(types))}, types...)); err != nil { //nolint:gosec // no more than three
		return err
	}
	choice, err := s.Next(1)
	switch {
	case err != nil:
		return err
	case choice[0] == dialogue.RecordTypeHandshake:
		return dialogue.ErrMalformed
	case !slices.Contains(types, choice[0]):
		return worded(fmt.Errorf("%w: security type %d", dialogue.ErrPlaintext, choice[0]), securityFailed("TLS is required, use VeNCrypt"))
	case choice[0] != typeVeNCrypt:
		return s.SendNeedsBackend(false, nil)
	}
	return acceptVeNCrypt(s, offered)
}

// acceptOld is for a client of a version that has no VeNCrypt, or no reasons for a failure.
func acceptOld(s *dialogue.Session, minor int) error {
	if s.PlaintextAuth() && minor == 3 {
		return s.SendNeedsBackend(true, nil)
	}
	return worded(fmt.Errorf("%w: RFB 3.%d", dialogue.ErrPlaintext, minor), noTypes(minor, "TLS is required, use RFB 3.8 with VeNCrypt"))
}

// securityTypes are those that a client may choose from: VeNCrypt if there is a certificate, and where it
// may stay in plaintext what is offered inside TLS. A password is tried by whoever has seen VNC authentication.
func securityTypes(s *dialogue.Session, offered []uint32) (types []byte) {
	if s.TLSAvailable() {
		types = append(types, typeVeNCrypt)
	}
	for _, subtype := range offered {
		if t := withoutTLS(subtype); t == typeNone && s.Optional() || t == typeVncAuth && s.PlaintextAuth() {
			types = append(types, t)
		}
	}
	return types
}

func acceptVeNCrypt(s *dialogue.Session, offered []uint32) error {
	if err := s.Send(venCrypt); err != nil {
		return err
	}
	chosen, err := s.Next(len(venCrypt))
	if err == nil && !bytes.Equal(chosen, venCrypt) {
		err = fmt.Errorf("%w: VeNCrypt %d.%d", dialogue.ErrMalformed, chosen[0], chosen[1])
	}
	if err != nil {
		return worded(err, refused)
	}
	if err := s.Send(append([]byte{0}, subtypeList(offered...)...)); err != nil {
		return err
	}
	chosen, err = s.Next(subtypeSize)
	if err == nil && !slices.Contains(offered, binary.BigEndian.Uint32(chosen)) {
		err = fmt.Errorf("%w: subtype %d of VeNCrypt", dialogue.ErrMalformed, binary.BigEndian.Uint32(chosen))
	}
	if err == nil {
		err = s.Keep(chosen)
	}
	if err != nil {
		return worded(err, []byte{0})
	}
	return s.SendGoAhead([]byte{1})
}

// readVersion reads a version.
func readVersion(s *dialogue.Session) (minor int, err error) {
	b, err := s.NextWith(versionPrefix, versionSize) // or a ClientHello would be waited for
	switch {
	case errors.Is(err, dialogue.ErrMalformed):
		return 0, errNotRFB
	case err != nil:
		return 0, err
	}
	return parseVersion(b)
}

// request asks for a subtype that has a certificate.
func request(s *dialogue.Session) error {
	minor, err := readVersion(s)
	switch {
	case err != nil:
		return err
	case minor < 8:
		return dialogue.ErrNotOffered
	}
	if err := s.Send([]byte(version)); err != nil {
		return err
	}
	types, err := readList(s, 1)
	switch {
	case err != nil:
		return err
	case len(types) == 0:
		return readReason(s)
	}
	s.SetPlaintextLogin(slices.Contains(types, typeNone) || slices.Contains(types, typeVncAuth))
	if !slices.Contains(types, typeVeNCrypt) {
		return errors.Join(s.Keep(types), dialogue.ErrNotOffered)
	}
	return requestVeNCrypt(s)
}

func requestVeNCrypt(s *dialogue.Session) error {
	if err := s.Send([]byte{typeVeNCrypt}); err != nil {
		return err
	}
	highest, err := s.Next(len(venCrypt))
	switch {
	case err != nil:
		return err
	case bytes.Compare(highest, venCrypt) < 0:
		return fmt.Errorf("%w: VeNCrypt %d.%d", dialogue.ErrRefused, highest[0], highest[1])
	}
	if err := s.Send(venCrypt); err != nil {
		return err
	}
	if err := readOctet(s, 0); err != nil {
		return err
	}
	list, err := readList(s, subtypeSize)
	if err != nil {
		return err
	}
	if hasSubtype(list, subtypePlain) {
		s.SetPlaintextLogin(true)
	}
	chosen := choose(subtypes(list), configured(s))
	if chosen == 0 {
		return fmt.Errorf("%w: it has subtypes %d of VeNCrypt", dialogue.ErrRefused, subtypes(list))
	}
	choice := binary.BigEndian.AppendUint32(nil, chosen)
	if err := s.Send(choice); err != nil {
		return err
	}
	if err := readOctet(s, 1); err != nil {
		return err
	}
	return s.Keep(choice)
}

// choose returns the first of the wanted subtypes that there is, or else 0. If none are wanted it is the
// first of the server's that all clients have inside, or X509Plain.
func choose(there, wanted []uint32) uint32 {
	if wanted == nil {
		for _, subtype := range there {
			if subtype == subtypeX509None || subtype == subtypeX509Vnc {
				return subtype
			}
		}
		wanted = []uint32{subtypeX509Plain}
	}
	for _, subtype := range wanted {
		if slices.Contains(there, subtype) {
			return subtype
		}
	}
	return 0
}

// readOctet reads the answer to a choice, which must be the given one.
func readOctet(s *dialogue.Session, want byte) error {
	got, err := s.Next(1)
	switch {
	case err != nil:
		return err
	case got[0] == want:
		return nil
	case want == 1 && got[0] != 0:
		return dialogue.ErrMalformed
	}
	return dialogue.ErrRefused
}

// readList reads a list of a server's, with elements of a size.
func readList(s *dialogue.Session, element int) ([]byte, error) {
	head, err := s.Peek(1)
	if err != nil {
		return nil, err
	}
	list, err := s.Next(1 + int(head[0])*element)
	if err != nil {
		return nil, err
	}
	return list[1:], nil
}

// readReason reads why a server refuses the connection.
func readReason(s *dialogue.Session) error {
	head, err := s.Next(lengthSize)
	if err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head)
	if size > maxMessage {
		return dialogue.ErrLineTooLong
	}
	reason, err := s.Next(int(size))
	if err != nil {
		return err
	}
	return dialogue.Refusal(dialogue.ErrRefused, string(reason))
}

// reject greets a client, whose version says how it can be told.
func reject(s *dialogue.Session, why error) error {
	if err := s.Send([]byte(version)); err != nil {
		return err
	}
	minor, err := readVersion(s)
	if err != nil {
		return err
	}
	return s.Send(noTypes(minor, reasonFor(why)))
}

// errorReply has words where the client is at a point that has some.
func errorReply(_ *dialogue.Session, why error) []byte {
	var w wordedError
	switch {
	case errors.As(why, &w):
		return w.words
	case errors.Is(why, dialogue.ErrPipelined): // behind the subtype
		return []byte{0}
	case errors.Is(why, dialogue.ErrTooManyConnections), errors.Is(why, dialogue.ErrBackend):
		return noTypes(8, reasonFor(why))
	}
	return nil
}
