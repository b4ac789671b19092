package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	caddyserver "github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"
	"github.com/mholt/caddy-l4/layer4"

	_ "github.com/l4starttls/caddy-l4-starttls"
)

// asCaddy is set in the environment of this program where it is a Caddy.
const asCaddy = "FLOOD_CADDY"

// A caddy is a process that is flooded.
type caddy struct {
	cmd                 *exec.Cmd
	dir                 string
	admin, smtp, nobody string
}

const caddyfileFormat = `{
	admin %s
	persist_config off
	local_certs
	skip_install_trust
	storage file_system %s
	layer4 {
		%s {
			route {
				starttls smtp mail.example.com {
					negotiation_timeout 10m
					handshake_timeout 10m
					%s
				}
				proxy %s
			}
		}
		%s {
			route {
				stand_still
			}
		}
	}
}
`

// newCaddy makes one that is not running yet, with time for negotiations that is longer than any flood takes.
func newCaddy(s *settings, backend, limits string) (*caddy, error) {
	dir, err := os.MkdirTemp("", "flood")
	if err != nil {
		return nil, err
	}
	c := &caddy{dir: dir}
	for _, address := range []*string{&c.admin, &c.smtp, &c.nobody} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*address = ln.Addr().String()
		defer func() { _ = ln.Close() }()
	}
	if limits != "" {
		limits = "limits {\n" + limits + "\n}"
	}
	file := filepath.Join(dir, "Caddyfile")
	config := fmt.Sprintf(caddyfileFormat, c.admin, dir, c.smtp, limits, backend, c.nobody)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c.cmd = exec.Command(self, "run", "--config", file) //nolint:gosec // it is this program
	c.cmd.Env = append(os.Environ(), asCaddy+"=1", "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if s.keep {
		c.cmd.Stderr = os.Stderr
	}
	return c, nil
}

// start begins the process, and returns when a client has been served.
func (c *caddy) start() error {
	if err := c.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if visit(c.smtp) == nil {
			return nil
		}
	}
	return errors.Join(errors.New("nobody is served"), c.stop())
}

func (c *caddy) serving() string  { return c.smtp }
func (c *caddy) stalling() string { return c.nobody }

func (c *caddy) stop() error {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	return os.RemoveAll(c.dir)
}

// A usage is memory, in bytes.
type usage struct {
	live     int // heap in use and stacks
	resident int
}

// above is what each of n connections costs.
func (u usage) above(before usage, n int) usage {
	return usage{live: (u.live - before.live) / n, resident: (u.resident - before.resident) / n}
}

// memory is what the process has in use, once it has collected what it has not.
func (c *caddy) memory() (u usage, err error) {
	for range 2 {
		if _, err := c.get("/debug/pprof/heap?gc=1"); err != nil {
			return u, err
		}
	}
	metrics, err := c.get("/metrics")
	if err != nil {
		return u, err
	}
	for lines := bufio.NewScanner(strings.NewReader(metrics)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "go_memstats_heap_alloc_bytes", "go_memstats_stack_inuse_bytes":
			u.live += int(n)
		case "process_resident_memory_bytes":
			u.resident = int(n)
		}
	}
	return u, nil
}

func (c *caddy) get(path string) (string, error) {
	response, err := http.Get("http://" + c.admin + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// standingStill is a handler that does nothing, but that it waits for the client.
type standingStill struct{}

func init() { caddyserver.RegisterModule(standingStill{}) }

// CaddyModule returns the Caddy module information.
func (standingStill) CaddyModule() caddyserver.ModuleInfo {
	return caddyserver.ModuleInfo{ID: "layer4.handlers.stand_still", New: func() caddyserver.Module { return new(standingStill) }}
}

// Handle waits for an octet.
func (standingStill) Handle(cx *layer4.Connection, _ layer4.Handler) error {
	_, err := cx.Read(make([]byte, 1))
	return err
}

// UnmarshalCaddyfile takes no options.
func (standingStill) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

var _ layer4.NextHandler = standingStill{}
