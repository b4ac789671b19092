package upgrade

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// distrusts are the alerts of a peer that does not like our certificate (RFC 8446 section
// 6.2): bad_certificate up to certificate_unknown, and unknown_ca.
var distrusts = []tls.AlertError{42, 43, 44, 45, 46, 48}

// asDistrust adds ErrDistrusted to an error of crypto/tls that is such an alert. In TLS 1.3 it
// may come when the handshake is over for us.
func asDistrust(err error) error {
	remote, ok := errors.AsType[*net.OpError](err)
	if !ok || remote.Op != "remote error" {
		return err
	}
	for _, alert := range distrusts {
		if remote.Err.Error() == alert.Error() {
			return fmt.Errorf("%w: %w", ErrDistrusted, err)
		}
	}
	return err
}

// An alertWatch looks for an alert in plaintext among the records that a client sends in a
// handshake. In TLS 1.3 a client that has not begun to encrypt sends one, as OpenSSL and
// GnuTLS do; crypto/tls takes it for a record that does not decrypt: "bad record MAC".
type alertWatch struct {
	record [recordHead + alertSize]byte // as far as it matters
	seen   int                          // octets of the present record
	size   int                          // of it in all, once its head is there
	alert  tls.AlertError               // 0: none
}

const (
	recordHead      = 5 // type, version, length (RFC 8446 section 5.1)
	alertSize       = 2 // level, description
	recordTypeAlert = 0x15
)

// see takes what has been read.
func (w *alertWatch) see(p []byte) {
	for len(p) > 0 && w.alert == 0 {
		if w.seen < recordHead || w.seen < len(w.record) && w.seen < w.size {
			w.record[w.seen] = p[0]
			w.seen, p = w.seen+1, p[1:]
		} else {
			n := min(len(p), w.size-w.seen)
			w.seen, p = w.seen+n, p[n:]
		}
		if w.seen >= recordHead {
			w.size = recordHead + int(w.record[3])<<8 + int(w.record[4])
		}
		if w.seen >= recordHead && w.seen == w.size {
			w.ends()
		}
	}
}

// ends looks at a record that is complete.
func (w *alertWatch) ends() {
	if w.record[0] == recordTypeAlert && w.size == recordHead+alertSize {
		w.alert = tls.AlertError(w.record[recordHead+1])
	}
	w.seen, w.size = 0, 0
}

// explain puts the alert in front of an error of crypto/tls that does not know it.
func (w *alertWatch) explain(err error) error {
	if w.alert == 0 {
		return err
	}
	if local, ok := errors.AsType[*net.OpError](err); !ok || local.Op != "local error" {
		return err
	}
	return &net.OpError{Op: "remote error", Err: w.alert}
}
