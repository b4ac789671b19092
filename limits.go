package l4starttls

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// Limits bound what a peer may do before TLS. Of each, zero means the default. One that
// goes beyond is told so in the words of its protocol, and its connection ends.
type Limits struct {
	// The longest line, packet or element, in bytes. Default: that of the protocol.
	Message int `json:"message,omitempty"`

	// How much the peer may say in all, in bytes. Default: 65536, or `message` if that is
	// more.
	Bytes int `json:"bytes,omitempty"`

	// How many commands a client may say. Default: 50.
	Commands int `json:"commands,omitempty"`

	// With how many refused commands the connection of a client ends. Default: 5.
	Errors int `json:"errors,omitempty"`

	// How long the peer may say nothing. Default: as long as the negotiation may take.
	Idle caddy.Duration `json:"idle,omitempty"`

	// How many negotiations a client may have at once, TLS handshakes included. A client
	// is an IPv4 address, or the first 64 bits of an IPv6 address. Default: any number.
	PerAddress int `json:"per_address,omitempty"`

	// How many upgrades a client may ask for in a time, such as `10/1m`. So many may come
	// at once; the next one is admitted when its share of the time has passed. Default: any
	// number.
	Upgrades string `json:"upgrades,omitempty"`

	// Whom `per_address` and `upgrades` do not count: addresses and CIDR ranges.
	Except []string `json:"except,omitempty"`

	upgrades int
	per      time.Duration
	except   []netip.Prefix
}

const (
	// leastMessage is what SMTP has for a line (RFC 5321 section 4.5.3.1.4), and more than
	// any protocol here needs for the upgrade.
	leastMessage = 512

	// mostBytes keeps what one client can make us hold within reason.
	mostBytes = 16 << 20
)

// bounds are what the library is told.
func (l *Limits) bounds() upgrade.Limits {
	if l == nil {
		return upgrade.Limits{}
	}
	return upgrade.Limits{Message: l.Message, Bytes: l.Bytes, Commands: l.Commands, Errors: l.Errors, Idle: time.Duration(l.Idle)}
}

// check finds what is wrong with the limits of a plaintext phase that may take so long, and
// reads those that are texts.
func (l *Limits) check(phase caddy.Duration) error {
	if l == nil {
		return nil
	}
	if err := l.checkNumbers(); err != nil {
		return err
	}
	whole := upgrade.DefaultNegotiationTimeout
	if phase > 0 {
		whole = time.Duration(phase)
	}
	switch {
	case time.Duration(l.Idle) >= whole:
		return fmt.Errorf("limits idle %s: has no effect, since the negotiation as a whole may take no longer than %s; see negotiation_timeout", time.Duration(l.Idle), whole)
	case len(l.Except) > 0 && l.PerAddress == 0 && l.Upgrades == "":
		return errors.New("limits except has no effect without per_address or upgrades")
	}
	return errors.Join(l.readUpgrades(), l.readExcept())
}

func (l *Limits) checkNumbers() error {
	for _, number := range []struct {
		option      string
		value       int
		least, most int // 0: of no number
	}{
		{"message", l.Message, leastMessage, mostBytes},
		{"bytes", l.Bytes, leastMessage, mostBytes},
		{"commands", l.Commands, 1, 0},
		{"errors", l.Errors, 1, 0},
		{"per_address", l.PerAddress, 1, 0},
	} {
		switch {
		case number.value == 0:
		case number.value < number.least:
			return fmt.Errorf("limits %s %d: must be at least %d", number.option, number.value, number.least)
		case number.most > 0 && number.value > number.most:
			return fmt.Errorf("limits %s %d: must be at most %d", number.option, number.value, number.most)
		}
	}
	if l.Bytes > 0 && l.Message > l.Bytes {
		return fmt.Errorf("limits message %d: more than bytes, which is %d", l.Message, l.Bytes)
	}
	return checkDuration("limits idle", l.Idle)
}

// readUpgrades reads the number and the time.
func (l *Limits) readUpgrades() error {
	if l.Upgrades == "" {
		return nil
	}
	number, duration, _ := strings.Cut(l.Upgrades, "/")
	n, err := strconv.Atoi(number)
	per, durationErr := caddy.ParseDuration(duration)
	if err != nil || durationErr != nil || n < 1 || per < time.Duration(n) {
		return fmt.Errorf("limits upgrades %q: must be a number and a duration, such as 10/1m", l.Upgrades)
	}
	l.upgrades, l.per = n, per
	return nil
}

// readExcept reads the ranges.
func (l *Limits) readExcept() error {
	l.except = nil
	for _, text := range l.Except {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return fmt.Errorf("limits except %q: must be an IP address or a CIDR range, such as 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
			prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
		}
		l.except = append(l.except, prefix)
	}
	return nil
}

// checkClients finds what has no effect with a protocol's clients.
func (l *Limits) checkClients(proto *upgrade.Protocol) error {
	if l != nil && proto.EarlyDial && (l.Message > 0 || l.Commands > 0 || l.Errors > 0) {
		return fmt.Errorf("limits message, commands and errors have no effect with protocol %q, whose plaintext is the backend's; leave them out", proto.Name)
	}
	return nil
}

// checkUpstream finds what has no effect with an upstream, which answers and asks nothing.
func (l *Limits) checkUpstream() error {
	if l != nil && (l.Commands != 0 || l.Errors != 0 || l.PerAddress != 0 || l.Upgrades != "" || len(l.Except) > 0) {
		return errors.New("limits commands, errors, per_address, upgrades and except are for clients; an upstream has message, bytes and idle")
	}
	return nil
}
