// Command caddy is Caddy with the layer-4 app and this plugin built in. It is
// what the tests start, and what `go run ./cmd/caddy` is for; for production,
// build your own with xcaddy.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"

	_ "github.com/l4starttls/caddy-l4-starttls"
)

func main() { caddycmd.Main() }
