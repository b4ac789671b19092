package upgrade

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// Errors that a caller may want to recognize with errors.Is. What the peer is told is never
// one of these texts: it is worded by the protocol. The package dialogue describes them.
var (
	ErrBackend            = dialogue.ErrBackend
	ErrDistrusted         = dialogue.ErrDistrusted
	ErrExpectsTLS         = dialogue.ErrExpectsTLS
	ErrLineTooLong        = dialogue.ErrLineTooLong
	ErrMalformed          = dialogue.ErrMalformed
	ErrNoALPN             = dialogue.ErrNoALPN
	ErrNotOffered         = dialogue.ErrNotOffered
	ErrNotTLS             = dialogue.ErrNotTLS
	ErrPipelined          = dialogue.ErrPipelined
	ErrPlaintext          = dialogue.ErrPlaintext
	ErrQuit               = dialogue.ErrQuit
	ErrRefused            = dialogue.ErrRefused
	ErrShutdown           = dialogue.ErrShutdown
	ErrTimeout            = dialogue.ErrTimeout
	ErrTooMany            = dialogue.ErrTooMany
	ErrTooManyConnections = dialogue.ErrTooManyConnections
	ErrTooManyUpgrades    = dialogue.ErrTooManyUpgrades
	ErrTruncated          = dialogue.ErrTruncated
	ErrUnsupported        = dialogue.ErrUnsupported
)
