package upgrade

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxTransfers bounds the further connections of a session that are in use: one, and one
// that is about to end.
const maxTransfers = 2

// A dataService makes the further connections of one session, such as FTP's data
// connections: it listens for one connection of the client's at a time, dials the backend
// when that has come, and passes on what both say. It ends with the session: see controlOver.
type dataService struct {
	conn    *Conn // the client's control connection
	up      *Conn // the backend's, if that is one that we have upgraded
	account *Account

	options   *dialogue.Options
	below     *dataService // what is the backend, if that is in this process
	inProcess bool         // so is the client

	mu        sync.Mutex
	offer     *dataOffer // that nobody has taken up
	transfers []*transfer
	over      bool   // the control connection has ended
	port      uint16 // of the last offer in this process
	running   sync.WaitGroup
}

// A dataOffer is a connection that the client may make.
type dataOffer struct {
	dialogue.DataOffer
	at       dialogue.DataAddress
	listener *net.TCPListener // nil if the client is in this process
}

// newDataService makes the service of a session; nil if its protocol has no further
// connections.
func newDataService(c *Conn, account *Account) *dataService {
	if !c.hasData() || c.config.Passthrough {
		return nil
	}
	return &dataService{conn: c, account: account, options: c.options()}
}

var errNoTCP = errors.New("no address of TCP")

func tcpAddress(address net.Addr) (netip.Addr, error) {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, errNoTCP
	}
	a := tcp.AddrPort().Addr().Unmap()
	if !a.IsValid() {
		return netip.Addr{}, errNoTCP
	}
	return a, nil
}

// lowest is the connection below all that is wrapped around it. Its own address is where
// further connections can be listened for, whatever a PROXY header says.
func lowest(conn net.Conn) net.Conn {
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = wrapper.NetConn()
	}
}

const (
	noDataHost = "it is not known where the backend's data connections are, so clients are refused theirs: " +
		"set " + dialogue.DataUpstreamOption + " to the backend's host"
	noDataPort = "no port is free for a data connection: widen " + dialogue.DataPortsOption
)

// Offer implements dialogue.DataService.
func (d *dataService) Offer(offer dialogue.DataOffer) (at dialogue.DataAddress, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.withdraw()
	local, err := tcpAddress(lowest(d.conn).LocalAddr())
	if err != nil || d.over {
		return at, false
	}
	o := &dataOffer{DataOffer: offer, at: dialogue.DataAddress{Host: d.publicAddress(local)}}
	switch {
	case d.inProcess:
		d.port = max(d.port+1, 1)
		o.at.Port = d.port
	case d.host() == "" && d.below == nil:
		d.conn.config.warn(noDataHost)
		return at, false
	default:
		if o.listener = d.listen(local); o.listener == nil {
			d.conn.config.warn(noDataPort)
			return at, false
		}
		o.at.Port = o.listener.Addr().(*net.TCPAddr).AddrPort().Port()
		d.running.Go(func() { d.await(o) })
	}
	d.offer = o
	return o.at, true
}

// host is the backend's; empty if it is not known.
func (d *dataService) host() string { return d.options.Get(dialogue.DataUpstreamOption) }

// publicAddress is what the client is told to connect to.
func (d *dataService) publicAddress(local netip.Addr) string {
	if public := d.options.Get(dialogue.DataAddressOption); public != "" && local.Is4() {
		return public
	}
	return local.WithZone("").String()
}

// listen listens at the first port that is free, behind one that is chosen by the time.
func (d *dataService) listen(local netip.Addr) *net.TCPListener {
	low, high, err := dialogue.ParsePorts(d.options.Get(dialogue.DataPortsOption))
	if err != nil {
		return nil
	}
	n := int(high) - int(low) + 1
	begin := int(time.Now().UnixNano() / int64(time.Microsecond) % int64(n))
	for i := range n {
		port := int(low) + (begin+i)%n
		address := netip.AddrPortFrom(local, uint16(port)) //nolint:gosec // no more than high
		if l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address)); err == nil {
			return l
		}
	}
	return nil
}

// Withdraw implements dialogue.DataService.
func (d *dataService) Withdraw() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.withdraw()
}

// withdraw is Withdraw for those who hold mu.
func (d *dataService) withdraw() {
	if d.offer != nil && d.offer.listener != nil {
		_ = d.offer.listener.Close()
	}
	d.offer = nil
}

// await waits for the client's connection, for a bounded time. One from another address is
// closed, and does not end the wait: it must not keep the client from coming.
func (d *dataService) await(o *dataOffer) {
	defer func() { _ = o.listener.Close() }()
	_ = o.listener.SetDeadline(time.Now().Add(d.conn.config.negotiationTimeout()))
	client, err := tcpAddress(d.conn.RemoteAddr())
	for err == nil {
		var conn *net.TCPConn
		if conn, err = o.listener.AcceptTCP(); err != nil {
			break
		}
		from, _ := tcpAddress(conn.RemoteAddr())
		if from.WithZone("") == client.WithZone("") && d.takeUp(o, conn) {
			return
		}
		_ = conn.Close()
	}
	d.forget(o)
}

// forget takes an offer back that has come to its end by itself.
func (d *dataService) forget(o *dataOffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.offer == o {
		d.offer = nil
	}
}

// takeUp begins a transfer on the client's connection, unless the offer has been withdrawn.
func (d *dataService) takeUp(o *dataOffer, conn closeWriter) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.offer != o {
		return false
	}
	d.offer = nil
	t := newTransfer(d, o.DataOffer, conn)
	d.transfers = append(d.transfers, t)
	if len(d.transfers) > maxTransfers {
		d.transfers[0].abort()
	}
	d.running.Go(func() {
		t.run()
		d.done(t)
	})
	return true
}

// done takes a transfer out that is over.
func (d *dataService) done(t *transfer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.transfers = slices.DeleteFunc(d.transfers, func(other *transfer) bool { return other == t })
}

// controlOver notes that the control connection has ended, in one direction at least. An
// offer is withdrawn. What is on the way still arrives: the backend has ended its
// connection, or is about to.
func (d *dataService) controlOver() { d.finish((*transfer).hurry) }

// shutdown ends everything by then.
func (d *dataService) shutdown(until time.Time) { d.finish(func(t *transfer) { t.endBy(until) }) }

// finish begins nothing new, and does what is to be done with each transfer that is in use.
// Nil has none.
func (d *dataService) finish(each func(*transfer)) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.withdraw()
	for _, t := range d.transfers {
		each(t)
	}
}

// wait waits for the end of all transfers, if the control connection has ended.
func (d *dataService) wait() {
	if d == nil {
		return
	}
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	if over {
		d.running.Wait()
	}
}

// closeWriter is a connection that can be ended in one direction.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}
