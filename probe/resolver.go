package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// A Resolver asks a DNS server. The zero value asks the system's.
type Resolver struct {
	// Server is the address of the DNS server, with its port. Default: for addresses of
	// hosts the system's way, for all else the first nameserver of /etc/resolv.conf.
	Server string
}

// An answer has the records of a reply.
type answer struct {
	records []dns.RR
	secure  bool   // the server says that DNSSEC validates it
	server  string // who says so
}

// ednsSize is what a reply by UDP may have without being fragmented (RFC 9715 section 3.2).
const ednsSize = 1232

// maxRecords bounds what is looked at of a reply.
const maxRecords = 64

// host is for addresses of hosts.
func (r *Resolver) host() *net.Resolver {
	if r == nil || r.Server == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, r.Server)
	}}
}

// server is who is asked for other records.
func (r *Resolver) server() (string, error) {
	if r != nil && r.Server != "" {
		return r.Server, nil
	}
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return "", fmt.Errorf("no DNS server is known: %w", err)
	}
	if len(config.Servers) == 0 {
		return "", errors.New("no DNS server is known: /etc/resolv.conf names none")
	}
	return net.JoinHostPort(config.Servers[0], config.Port), nil
}

// lookup asks for records of one type. None of them is no error. Of DNSSEC it knows what the
// server says, by the AD bit (RFC 4035 section 3.2.3): whoever is on the way to that server
// can say so, too.
func (r *Resolver) lookup(ctx context.Context, name string, kind uint16) (*answer, error) {
	server, err := r.server()
	if err != nil {
		return nil, err
	}
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	query.AuthenticatedData = true // we understand that bit (RFC 6840 section 5.7)
	query.SetEdns0(ednsSize, true)
	reply, err := exchange(ctx, server, query)
	if err != nil {
		return nil, fmt.Errorf("asking %s for %s of %s: %w", server, dns.TypeToString[kind], name, err)
	}
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("asking %s for %s of %s: %s", server, dns.TypeToString[kind], name, dns.RcodeToString[reply.Rcode])
	}
	a := &answer{secure: reply.AuthenticatedData, server: server}
	for _, record := range reply.Answer {
		if record.Header().Rrtype == kind && len(a.records) < maxRecords {
			a.records = append(a.records, record)
		}
	}
	return a, nil
}

// maxAliases bounds how far aliases of aliases are followed.
const maxAliases = 8

// unaliased is the name that host is an alias of in the end, as far as DNSSEC validates that; or else host itself. So it is
// if there are too many aliases, or one of them is not validated.
func (r *Resolver) unaliased(ctx context.Context, host string) string {
	target := host
	for range maxAliases {
		a, err := r.lookup(ctx, target, dns.TypeCNAME)
		if err != nil {
			return host
		}
		if len(a.records) == 0 {
			return target
		}
		alias, ok := a.records[0].(*dns.CNAME)
		if !ok || !a.secure {
			return host
		}
		target = alias.Target
	}
	return host
}

// exchange asks by UDP, and by TCP if there was no room for the reply.
func exchange(ctx context.Context, server string, query *dns.Msg) (*dns.Msg, error) {
	var reply *dns.Msg
	for _, network := range []string{"udp", "tcp"} {
		var err error
		reply, _, err = (&dns.Client{Net: network}).ExchangeContext(ctx, query, server)
		switch {
		case err != nil:
			return nil, err
		case reply.Id != query.Id || len(reply.Question) != 1 || reply.Question[0].Qtype != query.Question[0].Qtype ||
			!strings.EqualFold(reply.Question[0].Name, query.Question[0].Name):
			return nil, errors.New("the reply is to another question")
		case !reply.Truncated:
			return reply, nil
		}
	}
	return reply, nil
}

// An MX is where mail for a domain goes.
type MX struct {
	// Preference is lower for servers that are tried earlier.
	Preference uint16 `json:"preference"`
	// Host is the server's name.
	Host string `json:"host"`
}

// A Domain has what the DNS says of where its mail goes.
type Domain struct {
	// Name is the domain.
	Name string `json:"name"`
	// MX lists its mail servers, the preferred ones first. A domain without any is its own.
	MX []MX `json:"mx"`
	// Secure is true if the resolver says that DNSSEC validates the list.
	Secure bool `json:"dnssec"`
	// Resolver is the DNS server that was asked.
	Resolver string `json:"resolver,omitempty"`
	// Error says why there is no list.
	Error string `json:"error,omitempty"`
}

// LookupMX finds the servers for a domain's mail (RFC 5321 section 5.1).
func LookupMX(ctx context.Context, resolver *Resolver, name string) *Domain {
	d := &Domain{Name: name, MX: []MX{}}
	a, err := resolver.lookup(ctx, name, dns.TypeMX)
	if err != nil {
		d.Error = err.Error()
		return d
	}
	d.Secure, d.Resolver = a.secure, a.server
	for _, record := range a.records {
		mx, ok := record.(*dns.MX)
		if !ok {
			continue
		}
		if mx.Mx == "." { // RFC 7505
			d.MX, d.Error = []MX{}, "the domain takes no mail: its MX record is a null one"
			return d
		}
		d.MX = append(d.MX, MX{mx.Preference, strings.TrimSuffix(mx.Mx, ".")})
	}
	slices.SortStableFunc(d.MX, func(a, b MX) int { return cmp.Compare(a.Preference, b.Preference) })
	if len(d.MX) == 0 {
		d.MX = []MX{{0, name}} // the domain's own address is an implicit MX
	}
	return d
}

// tlsaName is where records for a server are (RFC 6698 section 3).
func tlsaName(host string, port uint16) string {
	return "_" + strconv.Itoa(int(port)) + "._tcp." + strings.TrimSuffix(host, ".") + "."
}
