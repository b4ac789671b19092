// Command quickstart is Caddy with this plugin in front of three small servers that
// know nothing of TLS: SMTP, IMAP and PostgreSQL. Its certificates come from a CA of
// its own, which nobody is asked to trust. It prints what to try, and with -check
// tries it itself.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"

	_ "github.com/l4starttls/caddy-l4-starttls"
)

//go:embed Caddyfile
var caddyfile string

func main() {
	log.SetFlags(0)
	checkOnly := flag.Bool("check", false, "try every service, and exit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *checkOnly); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, checkOnly bool) error {
	dir, remove, err := storage(checkOnly)
	if err != nil {
		return err
	}
	defer remove()
	all := services()
	stop, err := start(ctx, dir, caddyfile, all)
	if err != nil {
		return err
	}
	defer stop()
	if checkOnly {
		return check(ctx, rootFile(dir), all)
	}
	fmt.Println("Caddy is running, with a CA of its own. Try, in another terminal:")
	for _, s := range all {
		fmt.Printf("\n# %s: expect %q\n%s\n", s.title, s.expect, s.command(rootFile(dir)))
	}
	fmt.Println("\nCtrl-C ends it.")
	<-ctx.Done()
	return nil
}

// storage is where Caddy keeps its CA and certificates: the user's cache, so that the
// next run uses the same, or for a check a directory that is removed after it.
func storage(temporary bool) (dir string, remove func(), err error) {
	if cache, err := os.UserCacheDir(); err == nil && !temporary {
		return filepath.Join(cache, "l4starttls-quickstart"), func() {}, nil
	}
	dir, err = os.MkdirTemp("", "l4starttls-quickstart")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

func rootFile(dir string) string {
	return filepath.Join(dir, "pki", "authorities", "local", "root.crt")
}

// start runs the backends and Caddy, and returns once there is a certificate.
func start(ctx context.Context, dir, config string, all []*service) (stop func(), err error) {
	for name, value := range map[string]string{"QUICKSTART_DIR": dir, "XDG_DATA_HOME": dir, "XDG_CONFIG_HOME": dir} {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	stopBackends, err := serveAll(ctx, all)
	if err != nil {
		return nil, err
	}
	stop = func() {
		_ = caddy.Stop()
		stopBackends()
	}
	if err := startCaddy(ctx, config); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

func startCaddy(ctx context.Context, config string) error {
	options := map[string]any{"filename": "Caddyfile"}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), options)
	if err != nil {
		return err
	}
	if err := caddy.Load(adapted, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for len(caddytls.AllMatchingCertificates("localhost")) == 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the certificate: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
