package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// chatSettings are those of the example's README, and what a Prosody needs that gets headers of the PROXY protocol. Debian does not have
// mod_net_proxy, so without PROSODY_MODULES there is no test of that.
func chatSettings(t testing.TB, proxied bool) string {
	t.Helper()
	blocks := exampleBlocks(t, "chat")
	require.Greater(t, len(blocks), 1)
	require.Contains(t, blocks[0], "c2s_ports = { 15222 }")
	if !proxied {
		return blocks[0]
	}
	require.Contains(t, blocks[1], "proxy_port_mappings")
	dir := os.Getenv("PROSODY_MODULES")
	require.FileExists(t, filepath.Join(dir, "mod_net_proxy", "mod_net_proxy.lua"))
	return blocks[0] + blocks[1] + fmt.Sprintf("plugin_paths = { %q }\nmodules_enabled = { \"roster\", \"saslauth\", \"tls\", \"dialback\", \"net_proxy\" }\n", dir)
}

// chats are the ways in which Prosody listens, and whether it gets headers of the PROXY protocol.
func chats() map[string]bool {
	all := map[string]bool{"Prosody alone": false}
	if os.Getenv("PROSODY_MODULES") != "" {
		all["mod_net_proxy"] = true
	}
	return all
}

// startChat runs the example. For a Prosody with mod_net_proxy its proxy is as the README says.
func startChat(t testing.TB, proxied bool, words map[string]string, host string, addrs ...string) *caddyServer {
	t.Helper()
	words["example.org"] = host
	for _, backend := range []string{"127.0.0.1:15222", "127.0.0.1:15269"} {
		if proxied {
			words[backend] = fmt.Sprintf("{\nproxy_protocol v2\nupstream %s\n}", words[backend])
		}
	}
	return startExample(t, "chat", noGrace, words, []string{host}, addrs...)
}

// TestExampleChat has a Prosody that is set as the README says, and clients of both ports.
func TestExampleChat(t *testing.T) {
	t.Parallel()
	for name, proxied := range chats() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			need(t, "openssl")
			backend, server := startProsodyWith(t, strings.ReplaceAll(chatSettings(t, proxied), "15269", port(t, freeAddr(t))))
			addr, direct, s2s := freeAddr(t), freeAddr(t), freeAddr(t)
			c := startChat(t, proxied, map[string]string{
				":5222": addr, ":5223": direct, ":5269": s2s, "127.0.0.1:15222": backend, "127.0.0.1:15269": freeAddr(t),
			}, xmppHost, addr, direct, s2s)
			f := &front{caddyServer: c, proto: "xmpp", host: xmppHost, addr: addr}
			f.requireXMPPSession(t)
			f.requireGoSendXMPP(t)
			out, err := run(t, clientTimeout, xmppHeader+"</stream:stream>", "openssl", "s_client", "-quiet", "-nocommands", "-ign_eof", "-connect", direct,
				"-bind", proxyClient, "-alpn", "xmpp-client", "-servername", xmppHost, "-verify_hostname", xmppHost, "-verify_return_error", "-CAfile", c.Root())
			require.NoError(t, err, out)
			require.Contains(t, out, "<mechanism>PLAIN</mechanism>")
			if proxied {
				requireLogged(t, server.LogFile(), `Passing proxied connection 127\.0\.0\.9:\d+ to service c2s`)
			}
		})
	}
}

// TestExampleChatFederates has it exchange messages with a Prosody that is behind Caddy, too.
func TestExampleChatFederates(t *testing.T) {
	t.Parallel()
	for name, proxied := range chats() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := chatSettings(t, proxied)
			n := 8
			if proxied {
				n = 10
				settings = strings.ReplaceAll(settings, "15222", port(t, freeAddr(t))) + "c2s_ports = { 15222 }\n"
			}
			ca := newAuthority(t)
			a := startFederated(t, n, ownTLS(t, ca, domainOf(n)))
			b := startFederated(t, n+1, settings)
			c := startChat(t, proxied, map[string]string{
				":5222": freeAddr(t), ":5223": freeAddr(t), ":5269": b.public(), "127.0.0.1:15222": b.c2s, "127.0.0.1:15269": b.s2s,
			}, b.domain, b.public())
			startCaddyWith(t, noGrace, fmt.Sprintf("%s {\nroute {\nstarttls xmpp-server %s\nproxy %s\n}\n}\n", a.public(), a.domain, a.s2s), []string{a.domain}, a.public())
			requireFederation(t, a, b)
			require.Contains(t, c.Log(), "negotiated upgrade")
			if proxied {
				require.Regexp(t, `Passing proxied connection 127\.0\.0\.1:\d+ to service s2s`, b.Log())
			}
		})
	}
}
