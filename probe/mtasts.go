package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// maxPolicy bounds a policy's text, as RFC 8461 section 3.3 suggests.
const maxPolicy = 64 << 10

// An MTASTS is a policy of RFC 8461, and what came of comparing a server with it.
type MTASTS struct {
	// Source is the file or the URL that the policy is from.
	Source string `json:"source"`
	// ID is that of the domain's TXT record, for a policy from its host.
	ID string `json:"id,omitempty"`
	// Mode is enforce, testing or none. Only enforce keeps mail from a server that fails.
	Mode string `json:"mode,omitempty"`
	// MaxAge is for how long senders keep the policy, in seconds.
	MaxAge int `json:"max_age,omitempty"`
	// MX lists the names and patterns of servers that the policy allows.
	MX []string `json:"mx,omitempty"`
	// Matches is true if the server's name is among them.
	Matches bool `json:"matches"`
	// Verified is true if it is, and its certificate verifies for that name.
	Verified bool `json:"verified"`
	// Problems say why it is not.
	Problems []string `json:"problems,omitempty"`
}

// ParsePolicy reads a policy (RFC 8461 section 3.2). Fields that it does not know are left out.
func ParsePolicy(source, text string) (*MTASTS, error) {
	p := &MTASTS{Source: source}
	version, seen := "", map[string]bool{}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("MTA-STS policy: line %q has no colon", line)
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if seen[name] && name != "mx" {
			continue // the first one counts
		}
		seen[name] = true
		var err error
		switch name {
		case "version":
			version = value
		case "mode":
			p.Mode = value
		case "max_age":
			p.MaxAge, err = strconv.Atoi(value)
		case "mx":
			p.MX = append(p.MX, strings.ToLower(strings.TrimSuffix(value, ".")))
		}
		if err != nil || p.MaxAge < 0 || p.MaxAge > 31557600 {
			return nil, fmt.Errorf("MTA-STS policy: max_age %q: must be a number of seconds, at most 31557600", value)
		}
	}
	return p, p.check(version, seen["max_age"])
}

func (p *MTASTS) check(version string, aged bool) error {
	switch {
	case version != "STSv1":
		return fmt.Errorf("MTA-STS policy: version %q: must be STSv1", version)
	case p.Mode != "enforce" && p.Mode != "testing" && p.Mode != "none":
		return fmt.Errorf("MTA-STS policy: mode %q: must be enforce, testing or none", p.Mode)
	case !aged:
		return errors.New("MTA-STS policy: no max_age")
	case len(p.MX) == 0 && p.Mode != "none":
		return errors.New("MTA-STS policy: no mx")
	}
	return nil
}

// allows reports whether a server's name is among those of the policy. A pattern's asterisk
// stands for one label (RFC 8461 section 4.1).
func (p *MTASTS) allows(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	for _, pattern := range p.MX {
		if suffix, ok := strings.CutPrefix(pattern, "*."); ok && parent != "" && suffix == parent || pattern == host {
			return true
		}
	}
	return false
}

// compare makes a copy of the policy for one server.
func (p *MTASTS) compare(host string, pkix []string) *MTASTS {
	c := *p
	c.Problems = append([]string(nil), p.Problems...)
	c.Matches = c.allows(host)
	if !c.Matches && c.Mode != "none" && c.Mode != "" {
		c.Problems = append(c.Problems, fmt.Sprintf("the policy does not allow %s", host))
	}
	if c.Mode != "none" {
		c.Problems = append(c.Problems, pkix...)
	}
	c.Verified = len(c.Problems) == 0
	return &c
}

// FetchPolicy gets the policy of a domain from its host, as senders do: over HTTPS, with a
// certificate that verifies, without redirects (RFC 8461 section 3.3), and only if the domain
// has a TXT record for it. What is wrong is a problem of the policy that is returned.
func FetchPolicy(ctx context.Context, resolver *Resolver, roots *x509.CertPool, domain string) *MTASTS {
	dialer := &net.Dialer{Resolver: resolver.host()}
	return fetchPolicy(ctx, resolver, domain, &http.Transport{
		DialContext:     dialer.DialContext,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	})
}

func fetchPolicy(ctx context.Context, resolver *Resolver, domain string, transport *http.Transport) *MTASTS {
	defer transport.CloseIdleConnections()
	url := "https://mta-sts." + domain + "/.well-known/mta-sts.txt"
	var problems []string
	id, err := resolver.policyID(ctx, domain)
	if err != nil {
		problems = append(problems, err.Error())
	}
	p := &MTASTS{Source: url}
	text, err := get(ctx, url, transport)
	if err == nil {
		p, err = ParsePolicy(url, text)
	}
	if err != nil {
		p, problems = &MTASTS{Source: url}, append(problems, err.Error())
	}
	p.ID, p.Problems = id, problems
	return p
}

// get gets a text, and nothing but a text.
func get(ctx context.Context, url string, transport *http.Transport) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %q: status %s", url, response.Status)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/plain" {
		return "", fmt.Errorf("get %q: content type %q, not text/plain", url, kind)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPolicy+1))
	if err == nil && len(text) > maxPolicy {
		err = fmt.Errorf("get %q: more than %d octets", url, maxPolicy)
	}
	return string(text), err
}

// policyID finds the record that says that there is a policy (RFC 8461 section 3.1).
func (r *Resolver) policyID(ctx context.Context, domain string) (id string, err error) {
	a, err := r.lookup(ctx, "_mta-sts."+domain, dns.TypeTXT)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, record := range a.records {
		txt, ok := record.(*dns.TXT)
		if !ok {
			continue
		}
		version, rest, _ := strings.Cut(strings.Join(txt.Txt, ""), ";")
		if strings.TrimSpace(version) != "v=STSv1" {
			continue
		}
		id := ""
		for field := range strings.SplitSeq(rest, ";") {
			if value, ok := strings.CutPrefix(strings.TrimSpace(field), "id="); ok {
				id = value
			}
		}
		ids = append(ids, id)
	}
	if len(ids) != 1 || ids[0] == "" {
		return "", fmt.Errorf("_mta-sts.%s must have one TXT record \"v=STSv1; id=...;\", and has %d, so senders look for no policy", domain, len(ids))
	}
	return ids[0], nil
}
