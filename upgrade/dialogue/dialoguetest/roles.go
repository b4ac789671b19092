package dialoguetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// chunks are the sizes of pieces to play a dialogue in; 0 is all at once.
var chunks = []int{0, 1, 7}

// turnedAway is the outcome of a client that has too many connections.
const turnedAway = "turned away"

// playRole plays one role of a dialogue, with the peer's bytes in pieces of chunk octets.
func playRole(p *upgrade.Protocol, d *Dialogue, client bool, chunk int) error {
	config, err := d.roleConfig(p, client)
	if err != nil {
		return err
	}
	script := newScript(p, d, client, chunk)
	if d.outcome == turnedAway {
		upgrade.RejectClient(script, p, config, upgrade.ErrTooManyConnections)
		if unsaid := script.unsaid(); script.problem == nil && unsaid != nil {
			return fmt.Errorf("has not said %q", unsaid)
		}
		return script.problem
	}
	role := upgrade.Accept
	if client {
		role = upgrade.Request
	}
	conn, err := role(context.Background(), script, p, config)
	unsaid := script.unsaid()
	switch want := outcomes[d.outcome]; {
	case script.problem != nil:
		return script.problem
	case !errors.Is(err, want):
		return fmt.Errorf("ended with %w, not %s", err, d.outcome)
	case d.outcome != "gone" && !client && unsaid != nil:
		return fmt.Errorf("has not said %q", unsaid)
	case conn.Outcome().Cleartext != (d.outcome == "cleartext"):
		return fmt.Errorf("in plaintext: %t, not %s", conn.Outcome().Cleartext, d.outcome)
	}
	if err == nil {
		if err := d.checkRest(p, conn, client); err != nil {
			return err
		}
	}
	return d.checkFacts(conn, client)
}

// roleConfig gives each side the name that it has in all transcripts. TLS is left to
// others: nobody is there to speak it.
func (d *Dialogue) roleConfig(p *upgrade.Protocol, client bool) (*upgrade.Config, error) {
	config := &upgrade.Config{Hostname: "mail.example.com", Passthrough: true}
	if client {
		config.Hostname = "client.example"
		config.TLS = &tls.Config{ServerName: "mail.example.com", MinVersion: tls.VersionTLS12}
	}
	return config, d.configure(p, config, nil)
}

// checkRest reads what the negotiation has left: of a client that stays in plaintext all
// that it has said last, of a server that does what it has greeted with, else nothing but
// the beginning of TLS.
func (d *Dialogue) checkRest(p *upgrade.Protocol, conn *upgrade.Conn, client bool) error {
	var want []byte
	switch {
	case d.outcome == "cleartext" && client:
		want = d.greeting()
	case d.outcome == "cleartext":
		want = d.Steps[len(d.Steps)-1].Data
	case !client:
		want = []byte{p.FirstOfTLS()}
	}
	rest, err := io.ReadAll(conn)
	switch {
	case err != nil:
		return fmt.Errorf("behind the negotiation: %w", err)
	case !bytes.Equal(rest, want):
		return fmt.Errorf("left %q, not %q", rest, want)
	}
	return nil
}

// greeting is what the server has said before the client has.
func (d *Dialogue) greeting() (all []byte) {
	for _, s := range d.Steps {
		if s.Who == 'C' {
			break
		}
		all = append(all, s.Data...)
	}
	return all
}

func (d *Dialogue) checkFacts(conn *upgrade.Conn, client bool) error {
	for name, want := range d.facts {
		if client == slices.Contains(serverFacts, name) {
			continue
		}
		if got := checks[name](conn.Outcome()); got != want {
			return fmt.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	return nil
}
