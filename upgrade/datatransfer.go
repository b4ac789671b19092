package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

const (
	// transferIdle is how long a transfer may go without an octet in either direction.
	transferIdle = 5 * time.Minute

	// hurriedIdle is the same once the control connection has ended.
	hurriedIdle = 30 * time.Second

	// transferBuffer is how much is passed on at once, in octets: two records of TLS.
	transferBuffer = 32 << 10
)

// A transfer is a further connection that is in use: one with the client, one with the
// backend, and what passes between them.
type transfer struct {
	service *dataService
	offer   dialogue.DataOffer
	client  closeWriter // below TLS

	ctx    context.Context // of dialling, and of the handshakes
	cancel context.CancelFunc

	mu      sync.Mutex
	backend closeWriter // below TLS; nil before it is dialled
	over    bool
	idle    atomic.Int64 // how long nothing may pass, in nanoseconds
	timer   *time.Timer  // ends the transfer
}

// newTransfer begins a transfer. The client's connection is the transfer's to close.
func newTransfer(d *dataService, offer dialogue.DataOffer, client closeWriter) *transfer {
	t := &transfer{service: d, offer: offer, client: client}
	setup := d.conn.config.negotiationTimeout()
	t.ctx, t.cancel = context.WithTimeout(context.Background(), setup)
	t.idle.Store(int64(transferIdle))
	t.timer = time.AfterFunc(setup, t.abort)
	return t
}

// run passes on what both sides say, up to the end of both. The backend is dialled before
// TLS begins with the client: it answers on the control connection only when it has its own,
// and some clients wait for that answer before they begin TLS.
func (t *transfer) run() {
	backend, err := t.dial()
	if err != nil || !t.setBackend(backend) {
		t.abort()
		return
	}
	client, server := t.client, backend
	secured := make(chan error, 2)
	go func() { secured <- t.secure(&client, t.offer.SecureClient, t.service.clientTLS) }()
	go func() { secured <- t.secure(&server, t.offer.SecureBackend, t.service.backendTLS) }()
	if err := errors.Join(<-secured, <-secured); err != nil {
		return
	}
	t.progress()
	var both sync.WaitGroup
	account := t.service.account
	both.Go(func() { t.pass(server, client, &account.fromClient) })
	both.Go(func() { t.pass(client, server, &account.fromBackend) })
	both.Wait()
	t.end(closeWriter.Close)
}

// dial reaches the backend where it waits.
func (t *transfer) dial() (closeWriter, error) {
	if below := t.service.backendService(); below != nil {
		return below.connect(t.offer.Port)
	}
	address := net.JoinHostPort(t.service.host(), strconv.Itoa(int(t.offer.Port)))
	conn, err := new(net.Dialer).DialContext(t.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// setBackend notes the backend's connection, unless the transfer is over already.
func (t *transfer) setBackend(backend closeWriter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		_ = backend.Close()
		return false
	}
	t.backend = backend
	return true
}

// secure does TLS on a connection, if that is wanted.
func (t *transfer) secure(conn *closeWriter, wanted bool, begin func(net.Conn) *tls.Conn) error {
	if !wanted {
		return nil
	}
	secured := begin(dataTransport{*conn})
	err := secured.HandshakeContext(t.service.withControlName(t.ctx))
	if err == nil {
		*conn = securedConn{secured, *conn}
		return nil
	}
	t.abort() // the other one waits as well
	return err
}

// pass copies one direction, and passes its end on. A failure ends both connections in
// such a way that what has arrived cannot be taken for everything.
func (t *transfer) pass(to, from closeWriter, count *atomic.Uint64) {
	buffer := make([]byte, transferBuffer)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			t.progress()
			if _, werr := to.Write(buffer[:n]); werr != nil {
				t.abort()
				return
			}
			count.Add(uint64(n))
		}
		switch {
		case errors.Is(err, io.EOF):
			if to.CloseWrite() != nil {
				t.abort()
			}
			return
		case err != nil:
			t.abort()
			return
		}
	}
}

// progress puts the end off.
func (t *transfer) progress() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over {
		t.timer.Reset(time.Duration(t.idle.Load()))
	}
}

// hurry is for a transfer that goes on behind the end of the control connection.
func (t *transfer) hurry() {
	t.idle.Store(int64(hurriedIdle))
	t.progress()
}

// endBy ends the transfer then, if it has not ended.
func (t *transfer) endBy(until time.Time) {
	time.AfterFunc(time.Until(until), t.abort)
}

// abort ends both connections, in such a way that neither side takes what has arrived for
// everything.
func (t *transfer) abort() { t.end(reset) }

// end ends both connections, if that has not been done.
func (t *transfer) end(end func(closeWriter) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	t.over = true
	t.cancel()
	t.timer.Stop()
	_ = end(t.client)
	if t.backend != nil {
		_ = end(t.backend)
	}
}
