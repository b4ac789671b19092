// Command dnscaddy is Caddy with this plugin and a DNS provider, which has a test's DNS
// server add and delete its records.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/libdns/libdns"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"

	_ "github.com/l4starttls/caddy-l4-starttls"
)

func main() {
	caddy.RegisterModule(new(provider))
	caddycmd.Main()
}

// A provider sends records to a URL.
type provider struct {
	URL string `json:"url"`
}

func (*provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.test", New: func() caddy.Module { return new(provider) }}
}

func (p *provider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&p.URL) {
		return d.ArgErr()
	}
	return nil
}

func (p *provider) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, p.send(ctx, http.MethodPut, zone, records)
}

func (p *provider) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, p.send(ctx, http.MethodDelete, zone, records)
}

func (p *provider) send(ctx context.Context, method, zone string, records []libdns.Record) error {
	for _, record := range records {
		rr := record.RR()
		query := url.Values{"name": {libdns.AbsoluteName(rr.Name, zone)}, "text": {rr.Data}}
		request, err := http.NewRequestWithContext(ctx, method, p.URL+"?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		if err := response.Body.Close(); err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", response.Status)
		}
	}
	return nil
}
