package probe

import (
	"context"
	"io"
	"strconv"
)

// A Summary has the reports of several servers, or of one server at several addresses.
type Summary struct {
	// Domain is the one whose mail servers these are.
	Domain *Domain `json:"domain,omitempty"`
	// Reports has one for each server and address.
	Reports []*Report `json:"reports"`
}

// RunMX probes the mail servers of a domain, at all their addresses or at the first that
// answers. The target's host, and the name to verify, are those of each server.
func RunMX(ctx context.Context, target Target, domain string, all bool) *Summary {
	resolving, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	s := &Summary{Domain: LookupMX(resolving, target.Resolver, domain), Reports: []*Report{}}
	for _, mx := range s.Domain.MX {
		target.Host, target.ServerName = mx.Host, mx.Host
		if all {
			s.Reports = append(s.Reports, RunAll(ctx, target)...)
			continue
		}
		s.Reports = append(s.Reports, Run(ctx, target))
	}
	return s
}

// WriteJSON writes one object.
func (s *Summary) WriteJSON(out io.Writer) error { return writeJSON(out, s) }

// WriteText writes one report after the other, for people.
func (s *Summary) WriteText(out io.Writer) error { return s.write(out, (*Report).WriteText) }

// WriteColor is WriteText for a terminal.
func (s *Summary) WriteColor(out io.Writer) error { return s.write(out, (*Report).WriteColor) }

func (s *Summary) write(out io.Writer, write func(*Report, io.Writer) error) error {
	t := new(text)
	if s.Domain != nil {
		t.domain(s.Domain)
	}
	if _, err := io.WriteString(out, t.String()); err != nil {
		return err
	}
	for i, r := range s.Reports {
		if i > 0 || s.Domain != nil {
			if _, err := io.WriteString(out, "\n"); err != nil {
				return err
			}
		}
		if err := write(r, out); err != nil {
			return err
		}
	}
	return nil
}

func (t *text) domain(d *Domain) {
	t.row("Mail for", d.Name)
	for _, mx := range d.MX {
		t.row("  server", strconv.Itoa(int(mx.Preference))+" "+mx.Host)
	}
	if d.Error != "" {
		t.row("Result", d.Error)
		return
	}
	secure := "does not say that DNSSEC validates this list"
	if d.Secure {
		secure = "says that DNSSEC validates this list"
	}
	t.row("  DNSSEC", d.Resolver+" "+secure)
}
