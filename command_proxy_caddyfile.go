package l4starttls

import (
	"maps"
	"slices"
	"strings"
)

// caddyfile is all that runs, as `caddy fmt` writes it.
func (p *proxySettings) caddyfile() string {
	c := new(caddyfileText)
	c.block(nil, func(c *caddyfileText) {
		c.line("admin", "off")
		c.line("persist_config", "off")
		c.line("skip_install_trust")
		if p.internalCerts {
			c.line("local_certs")
		}
		if p.debug {
			c.line("debug")
		}
		c.block([]string{"layer4"}, func(c *caddyfileText) {
			c.block(p.listen, func(c *caddyfileText) {
				c.block([]string{"route"}, p.route)
			})
		})
	})
	return c.String()
}

// route has the handlers.
func (p *proxySettings) route(c *caddyfileText) {
	if !p.plaintext {
		c.block(append([]string{"starttls", p.protocol.Name}, p.hostnames...), p.starttls)
	}
	if p.upstreamTLS == upstreamUpgrade {
		c.block([]string{"starttls_upstream", p.protocol.Name}, p.starttlsUpstream)
	}
	if p.sendProxyProtocol {
		c.line("send_proxy_protocol")
	}
	if p.upstreamTLS != upstreamImplicit {
		c.line(append([]string{"proxy"}, p.upstreams...)...)
		return
	}
	c.block([]string{"proxy"}, func(c *caddyfileText) {
		for _, upstream := range p.upstreams {
			c.block([]string{"upstream", upstream}, func(c *caddyfileText) {
				c.line("tls")
				p.verification(c)
			})
		}
	})
}

func (p *proxySettings) starttls(c *caddyfileText) {
	if p.optional {
		c.line("policy", "optional")
	}
	if p.implicitTLS {
		c.line("implicit_tls")
	}
	if p.accessLog {
		c.line("log")
	}
	p.ours.write(c)
}

func (p *proxySettings) starttlsUpstream(c *caddyfileText) {
	if p.plaintext && p.accessLog { // else the client's session has an entry
		c.line("log")
	}
	p.theirs.write(c)
	p.verification(c)
}

// verification says how the upstream's certificate is verified.
func (p *proxySettings) verification(c *caddyfileText) {
	c.line("tls_server_name", p.upstreamName)
	if p.upstreamCA != "" {
		c.line("tls_trust_pool", "file", p.upstreamCA)
	}
}

func (o protocolOptions) write(c *caddyfileText) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		c.line(name, o[name])
	}
}

// A caddyfileText is a Caddyfile, or a part of one.
type caddyfileText struct {
	strings.Builder
	depth int
}

func (c *caddyfileText) line(words ...string) { c.raw(caddyfileTokens(words)) }

func (c *caddyfileText) raw(text string) {
	_, _ = c.WriteString(strings.Repeat("\t", c.depth) + text + "\n")
}

// block writes what stands in front of a block, and the block unless it is empty.
func (c *caddyfileText) block(head []string, fill func(*caddyfileText)) {
	inside := &caddyfileText{depth: c.depth + 1}
	fill(inside)
	if inside.Len() == 0 {
		c.line(head...)
		return
	}
	c.raw(strings.TrimSpace(caddyfileTokens(head) + " {"))
	_, _ = c.WriteString(inside.String())
	c.raw("}")
}

// caddyfileTokens quotes what would be more than one token, or another. Backquotes are not
// allowed in any.
func caddyfileTokens(words []string) string {
	tokens := make([]string, len(words))
	for i, word := range words {
		if tokens[i] = word; word == "" || strings.ContainsAny(word, " \t\"{}#\\<") {
			tokens[i] = "`" + word + "`"
		}
	}
	return strings.Join(tokens, " ")
}
