package upgrade

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// peerIsGone reports whether err leaves nobody to say last words to.
func peerIsGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
