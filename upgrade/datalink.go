package upgrade

import (
	"errors"
	"net"

	"github.com/l4starttls/caddy-l4-starttls/internal/bufpipe"
)

// link makes one service the backend of another in this process: the further connections
// of the latter's client need no network between the two.
func (d *dataService) link(below *dataService) {
	if d == nil || below == nil {
		return
	}
	d.mu.Lock()
	d.below = below
	d.mu.Unlock()
	below.mu.Lock()
	below.inProcess = true
	below.mu.Unlock()
}

// backendService is what the backend is in this process, or nil.
func (d *dataService) backendService() *dataService {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.below
}

// serviceBelow is the service of a session that conn is a part of, or nil.
func serviceBelow(conn net.Conn) *dataService {
	for {
		if j, ok := conn.(*Joined); ok && j.data != nil {
			return j.data
		}
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		conn = wrapper.NetConn()
	}
}

var errNoOffer = errors.New("no data connection is offered there")

// connect takes up the offer of the given port from within the process.
func (d *dataService) connect(port uint16) (closeWriter, error) {
	d.mu.Lock()
	o := d.offer
	d.mu.Unlock()
	if o == nil || o.at.Port != port {
		return nil, errNoOffer
	}
	near, far := bufpipe.New(d.conn)
	if !d.takeUp(o, far) {
		return nil, errNoOffer
	}
	return near, nil
}
