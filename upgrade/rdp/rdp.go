// Package rdp is the Remote Desktop Protocol for the package upgrade: the negotiation in the
// X.224 connection request of MS-RDPBCGR sections 2.2.1.1, 2.2.1.2 and 5.4.
//
//	C: Connection Request, Cookie: mstshash=..., RDP_NEG_REQ   PROTOCOL_SSL, perhaps with others
//	S: Connection Confirm, RDP_NEG_RSP                         PROTOCOL_SSL
//	   TLS
//	C: MCS Connect-Initial                                     from here on a session as it is
//
// Of the protocols that a client asks for, PROTOCOL_SSL is the one that is granted. CredSSP
// (PROTOCOL_HYBRID, Network Level Authentication) binds the login to the public key of the
// server's TLS (MS-CSSP section 3.1.5), so that it fails wherever TLS ends in front of the
// server. A client that insists on it is told that TLS is all there is; where clients may
// stay in plaintext, its request passes as it is, and TLS and CredSSP are the backend's.
package rdp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is RDP, which upgrades with an RDP_NEG_REQ (MS-RDPBCGR section 2.2.1.1.1).
var Protocol = &dialogue.Protocol{
	Name:    "rdp",
	Aliases: []string{"mstsc", "ms-wbt-server", "remote desktop", "xrdp"},
	Port:    3389,
	Facts: dialogue.Facts{
		Ports: "3389", Upgrade: "`RDP_NEG_REQ` with `PROTOCOL_SSL`", Document: "MS-RDPBCGR 2.2.1.1, 5.4",
	},
	MaxLine:     maxPDU,
	HearsClient: true, // for its cookie or routing token
	Match:       match,
	Accept:      accept,
	Request:     request,
	Resume:      dialogue.ResumesAtOnce, // behind its confirm the server waits for the session
	ErrorReply:  errorReply,
	Join:        newFilter,
	Reject:      reject,
}

// accept reads one request: RDP has no second one on a connection.
func accept(s *dialogue.Session) error {
	r, err := readRequest(s)
	switch {
	case err != nil:
		return err
	case r.protocols&protocolSSL == 0:
		return withoutSSL(s, r)
	case !s.TLSAvailable():
		return withoutTLS(s)
	}
	if err := s.Keep(r.kept()); err != nil {
		return err
	}
	return s.SendGoAhead(confirm(negotiationResponse, protocolSSL))
}

// withoutSSL is for a client that does not ask for TLS alone. One that asks for nothing will
// send its password in plaintext, or encrypted with a key that anybody in the middle can
// learn (section 5.3.2). One that wants CredSSP sends nothing before TLS.
func withoutSSL(s *dialogue.Session, r connectionRequest) error {
	if s.PlaintextAuth() || s.Optional() && r.protocols != 0 {
		return s.SendNeedsBackend(false, nil)
	}
	return fmt.Errorf("%w: requested protocols %#x", dialogue.ErrPlaintext, r.protocols)
}

// withoutTLS answers a request that cannot be granted now. It is the end of the connection.
func withoutTLS(s *dialogue.Session) error {
	answer := confirm(negotiationFailure, failureNoCertificate)
	switch {
	case s.Pipelined():
		return dialogue.ErrPipelined
	case s.TooManyUpgrades():
		answer = disconnect(reasonCongestion)
	}
	return errors.Join(s.Send(answer), dialogue.ErrQuit)
}

// errorReply has the words that a client understands in each phase: the failure codes of
// MS-RDPBCGR section 2.2.1.2.2, X.224's Disconnect Request, and inside TLS the ultimatum by
// which a server ends a session.
func errorReply(_ *dialogue.Session, why error) []byte {
	switch {
	case errors.Is(why, dialogue.ErrBackend):
		return disconnectUltimatum
	case errors.Is(why, dialogue.ErrPlaintext):
		return confirm(negotiationFailure, failureSSLRequired)
	case errors.Is(why, dialogue.ErrTooManyConnections):
		return disconnect(reasonCongestion)
	case errors.Is(why, dialogue.ErrPipelined), errors.Is(why, dialogue.ErrMalformed), errors.Is(why, dialogue.ErrLineTooLong),
		errors.Is(why, dialogue.ErrTooMany), errors.Is(why, dialogue.ErrTimeout), errors.Is(why, dialogue.ErrShutdown):
		return disconnect(reasonNotSpecified)
	}
	return nil
}

// reject answers the request, which is what the client waits with.
func reject(s *dialogue.Session, why error) error {
	if _, err := readRequest(s); err != nil {
		return err
	}
	if errors.Is(why, dialogue.ErrTooManyConnections) {
		return s.Send(disconnect(reasonCongestion))
	}
	return s.Send(disconnect(reasonNotSpecified))
}

// request asks for TLS alone: with CredSSP the login would be bound to this connection, which
// is not the client's. What is kept is the confirm for the client inside.
func request(s *dialogue.Session) error {
	asks, err := sslRequest(s.Client())
	if err != nil {
		return dialogue.ClientError{Cause: err}
	}
	if err := s.Send(asks); err != nil {
		return err
	}
	pdu, err := readPDU(s)
	if err != nil {
		return err
	}
	c, err := parseConfirm(pdu)
	switch {
	case err != nil:
		return err
	case c.disconnect:
		return fmt.Errorf("%w: Disconnect Request", dialogue.ErrRefused)
	case c.failure != 0: // which ends the connection
		return fmt.Errorf("%w: failure code %d", dialogue.ErrRefused, c.failure)
	case c.selected != protocolSSL && c.selected != 0:
		return fmt.Errorf("%w: selected protocol %#x", dialogue.ErrMalformed, c.selected)
	}
	if err := s.Keep(withLengths(pdu[:pduHead])); err != nil {
		return err
	}
	if c.selected == 0 {
		return dialogue.ErrNotOffered
	}
	return nil
}

// readRequest reads a Connection Request.
func readRequest(s *dialogue.Session) (r connectionRequest, err error) {
	pdu, err := readPDU(s)
	if err != nil {
		return r, err
	}
	return parseRequest(pdu)
}

// readPDU reads one PDU of the connection phase, in which no other fits.
func readPDU(s *dialogue.Session) ([]byte, error) {
	pdu, err := peekPDU(s)
	if err != nil {
		return nil, err
	}
	return s.Next(len(pdu))
}

// peekPDU is readPDU, but that it leaves the PDU to be read.
func peekPDU(s *dialogue.Session) ([]byte, error) {
	first, err := s.Peek(1)
	switch {
	case err != nil:
		return nil, err
	case first[0] != tpktVersion: // a ClientHello, or another protocol
		return nil, dialogue.ErrMalformed
	}
	head, err := s.Peek(tpktHead + 1)
	if err != nil {
		return nil, err
	}
	size, err := pduSize(head)
	if err != nil {
		return nil, err
	}
	return s.Peek(size)
}

// sslRequest is a Connection Request with an RDP_NEG_REQ for PROTOCOL_SSL, and with the cookie
// or routing token of the client for whom it is, which says the rest of its own to the filter.
func sslRequest(client *dialogue.Session) ([]byte, error) {
	r := connectionRequest{routed: []byte{tpktVersion, 0, 0, 0, 0, codeRequest, 0, 0, 0, 0, 0}}
	if client != nil {
		pdu, err := peekPDU(client)
		if err != nil {
			return nil, err
		}
		if r, err = parseRequest(pdu); err != nil {
			return nil, err
		}
	}
	if len(r.routed)+negotiationSize > maxPDU {
		return nil, dialogue.ErrLineTooLong
	}
	return withLengths(append(r.routed, negotiation(negotiationRequest, protocolSSL)...)), nil
}

// disconnectUltimatum is an MCS Disconnect Provider Ultimatum (T.125) with the reason
// rn-provider-initiated, in an X.224 Data TPDU: MS-RDPBCGR section 2.2.2.3.
var disconnectUltimatum = []byte{tpktVersion, 0, 0, 9, 2, 0xf0, 0x80, 0x20, 0x80}

// confirm makes a Connection Confirm with an answer to RDP_NEG_REQ.
func confirm(kind byte, value uint32) []byte {
	return withLengths(append([]byte{tpktVersion, 0, 0, 0, 0, codeConfirm, 0, 0, 0x12, 0x34, 0}, negotiation(kind, value)...))
}

// disconnect makes an X.224 Disconnect Request.
func disconnect(reason byte) []byte {
	return withLengths([]byte{tpktVersion, 0, 0, 0, 0, codeDisconnect, 0, 0, 0, 0, reason})
}

// negotiation makes an RDP_NEG_REQ, RDP_NEG_RSP or RDP_NEG_FAILURE: type, flags, length, value.
func negotiation(kind byte, value uint32) []byte {
	return binary.LittleEndian.AppendUint32([]byte{kind, 0, negotiationSize, 0}, value)
}
