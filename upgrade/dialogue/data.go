package dialogue

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// A DataOffer is a further connection for which a backend waits, such as one of FTP's data
// connections.
type DataOffer struct {
	// Port is where the backend waits. Its address is the configuration's to say.
	Port uint16

	SecureClient  bool // the client does TLS on it, as the client
	SecureBackend bool // we do TLS with the backend on it, as the client
}

// A DataAddress is where a client is to connect for a further connection.
type DataAddress struct {
	Host string // an address of IPv4 or IPv6, without a zone
	Port uint16
}

// IsIPv4 reports whether the address is one of IPv4.
func (a DataAddress) IsIPv4() bool { return !strings.Contains(a.Host, ":") }

// A DataService makes the further connections of one session. It is lent to a Filter by
// whoever drives the Exchange. Its methods do not wait for a peer.
type DataService interface {
	// Offer has one connection of the client's passed on to the backend, and says where
	// the client is to connect. It takes the place of an offer that nobody has taken up. ok
	// is false if there is no way to pass one on; the administrator has been told why.
	Offer(DataOffer) (at DataAddress, ok bool)

	// Withdraw withdraws an offer that nobody has taken up.
	Withdraw()
}

// LendData lets the filter make further connections. The first service that is lent counts.
func (x *Exchange) LendData(service DataService) {
	if x.data == nil {
		x.data = service
	}
}

// OfferData is DataService.Offer. Without a service there is no way.
func (x *Exchange) OfferData(offer DataOffer) (at DataAddress, ok bool) {
	if x.data == nil {
		return DataAddress{}, false
	}
	return x.data.Offer(offer)
}

// WithdrawData is DataService.Withdraw.
func (x *Exchange) WithdrawData() {
	if x.data != nil {
		x.data.Withdraw()
	}
}

// Names of the options of protocols that have further connections.
const (
	DataPortsOption      = "data_ports"
	DataAddressOption    = "data_address"
	DataUpstreamOption   = "data_upstream"
	DataResumptionOption = "data_resumption"
)

// DataOptions are the options of protocols that have further connections.
var DataOptions = []Option{
	{Name: DataPortsOption, Session: true, Usage: "the ports for data connections, such as 50000-50999; any free port by default", Check: checkPorts},
	{Name: DataAddressOption, Session: true, Usage: "the IPv4 address that clients are told to connect to; by default the one that they have connected to", Check: checkIPv4},
	{Name: DataUpstreamOption, Session: true, Usage: "the backend's host, where its data connections are; by default that of the only upstream of proxy in the same route", Check: checkDataHost},
	{Name: DataResumptionOption, Session: true, Server: true, Default: "optional", Usage: "whether a client must resume the TLS session of its control connection on data connections: optional or required", Check: checkResumption},
}

var errPorts = errors.New("must be <from>-<to>, two port numbers, such as 50000-50999")

// ParsePorts reads a range of ports. An empty text is that of port 0 alone: any free port.
func ParsePorts(text string) (from, to uint16, err error) {
	if text == "" {
		return 0, 0, nil
	}
	first, last, ok := strings.Cut(text, "-")
	low, lowErr := strconv.ParseUint(first, 10, 16)
	high, highErr := strconv.ParseUint(last, 10, 16)
	if !ok || lowErr != nil || highErr != nil || low == 0 || low > high {
		return 0, 0, errPorts
	}
	return uint16(low), uint16(high), nil
}

func checkPorts(text string) error {
	_, _, err := ParsePorts(text)
	if text == "" {
		err = errPorts
	}
	return err
}

// checkIPv4 takes IPv4 alone: where the client has connected by IPv6, it is told a port
// and no address.
func checkIPv4(text string) error {
	if a, err := netip.ParseAddr(text); err != nil || !a.Is4() {
		return errors.New("must be an IPv4 address, such as 192.0.2.1")
	}
	return nil
}

func checkResumption(text string) error {
	if text != "optional" && text != "required" {
		return errors.New("must be one of: optional, required")
	}
	return nil
}

func checkDataHost(text string) error {
	_, err := netip.ParseAddr(text)
	if err != nil && (text == "" || strings.ContainsAny(text, ":/ \t[]{}")) {
		return errors.New("must be a host name or an address, without a port")
	}
	return nil
}
