package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"
	_ "github.com/stretchr/testify/require"
	_ "go.uber.org/zap"
)

func main() { caddycmd.Main() }
