package l4starttls

import (
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// checkData finds options of data connections where those are the client's and the backend's
// business.
func checkData(proto *upgrade.Protocol, options protocolOptions, passthrough bool) error {
	if !proto.DataConnections || !passthrough {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		return fmt.Errorf("passthrough is for the control connection alone, so %s has no effect; clients must reach the backend's data ports themselves", name)
	}
	return nil
}

// withDataHost completes the options of a protocol that has data connections: they are at the
// host of the upstream, where there is but one. Otherwise the administrator is told at start.
func withDataHost(proto *upgrade.Protocol, options protocolOptions, upstream string) protocolOptions {
	if !proto.DataConnections || options[dialogue.DataUpstreamOption] != "" {
		return options
	}
	address, err := caddy.ParseNetworkAddress(upstream)
	if err != nil || address.Host == "" || address.IsUnixNetwork() {
		return options
	}
	completed := protocolOptions{dialogue.DataUpstreamOption: address.Host}
	maps.Copy(completed, options)
	return completed
}

// warnOfDataHost warns of data connections that nobody knows the place of.
func warnOfDataHost(logger *zap.Logger, source string, proto *upgrade.Protocol, options protocolOptions, passthrough bool) {
	if proto.DataConnections && !passthrough && options[dialogue.DataUpstreamOption] == "" {
		warnAtStart(logger, source, "protocol %s: there is not one upstream, without placeholders, of proxy in the same route, so the data "+
			"connections of clients are refused; set %s to the host of the backend", proto.Name, dialogue.DataUpstreamOption)
	}
}
