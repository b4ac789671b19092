// Command caddy is Caddy with this protocol, as xcaddy builds it.
package main

import (
	_ "example.com/nut"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/l4starttls/caddy-l4-starttls"
	_ "github.com/mholt/caddy-l4"
)

func main() { caddycmd.Main() }
