package dialoguetest

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/peer"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A join is a dialogue that is being played, between a client and a backend.
type join struct {
	*Dialogue
	chunk    int
	proto    *upgrade.Protocol
	client   *peer.Conn
	joined   *upgrade.Joined
	watched  *watched
	backend  backend
	warnings []string
	hello    atomic.Bool // TLS has begun with the client
}

// playJoin plays a dialogue between a client and a backend, with both sides' bytes in
// pieces of chunk octets. It is to be called inside a synctest bubble. upgraded means that
// the backend is one that has been upgraded.
func playJoin(p *upgrade.Protocol, d *Dialogue, upgraded bool, chunk int) error {
	j := &join{Dialogue: d, chunk: chunk, proto: p, client: peer.New(chunk)}
	if err := j.open(p, upgraded); err != nil {
		return err
	}
	go j.backend.read(j.joined)
	defer func() {
		j.client.End()
		_ = j.joined.CloseWrite()
		synctest.Wait()
		_ = j.client.Close()
		synctest.Wait()
	}()
	for i, step := range d.Steps {
		if err := j.play(step); err != nil {
			return fmt.Errorf("after step %d, %c says %.200q: %w", i, max(step.Who, '-'), step.Data, err)
		}
	}
	return j.checkOutcome()
}

// open joins the client, right behind the negotiation, and with nothing in the way of the
// bytes: no TLS.
func (j *join) open(p *upgrade.Protocol, upgraded bool) error {
	config := &upgrade.Config{
		Hostname: "mail.example.com",
		TLS:      &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: j.seeHello},
		Warn:     func(message string) { j.warnings = append(j.warnings, message) },
	}
	s := dialogue.Situation{Client: dialogue.Greeted}
	if p.EarlyDial || upgraded {
		s.Client = dialogue.Unheard
	}
	if upgraded {
		s.Upgraded = true
		if p.Greeting != "" {
			s.Backend = dialogue.Greeted
		}
		if p.HearsClient {
			s.Client = dialogue.Greeted
		}
	}
	if err := j.configure(p, config, &s); err != nil {
		return err
	}
	watching, w := watch(p)
	j.watched = w
	w.data.host = cmp.Or(j.Option("data"), "192.0.2.1")
	j.joined = upgrade.JoinAs(j.client, watching, config, s)
	if j.outcome != "upgraded" {
		j.joined.PretendTLS()
	}
	if j.has("backend_upgraded") {
		j.joined.BackendUpgraded()
	}
	return nil
}

var errSeen = errors.New("ClientHello seen")

func (j *join) seeHello(*tls.ClientHelloInfo) (*tls.Config, error) {
	j.hello.Store(true)
	return nil, errSeen
}

// play has one side do what it does, and looks at what comes of it.
func (j *join) play(s Step) error {
	switch {
	case s.Who == 'B' && s.End:
		_ = j.joined.CloseWrite()
	case s.Who == 'B':
		if err := j.backendSays(s.Data); err != nil {
			return err
		}
	case s.Who == 'C' && s.End:
		j.client.End()
	case s.Who == 'C':
		j.client.Say(string(s.Data))
	}
	time.Sleep(s.wait)
	synctest.Wait()
	got := arrivals{warnings: len(j.warnings)}
	got.backend, got.backendEnd = j.backend.take()
	got.client, got.clientEnd = j.client.Take()
	for _, warning := range j.warnings {
		if got.warning = s.want.warning; !strings.Contains(warning, s.want.warning) {
			got.warning = warning
			break
		}
	}
	j.warnings = nil
	got.data = j.watched.data.take()
	if got != s.want {
		return fmt.Errorf("%s, but it should have been: %s", got, s.want)
	}
	return nil
}

func (j *join) backendSays(data []byte) error {
	for len(data) > 0 {
		n := len(data)
		if j.chunk > 0 {
			n = min(n, j.chunk)
		}
		if _, err := j.joined.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// checkOutcome also shows that a filter which is out of the way changes nothing any more.
func (j *join) checkOutcome() error {
	want := outcomes[j.outcome]
	switch got := j.watched.state(); {
	case want != nil && errors.Is(j.joined.Err(), want):
		return nil
	case want != nil:
		return fmt.Errorf("ended with %w, not %s", j.joined.Err(), j.outcome)
	case j.outcome == "upgraded":
		return j.checkUpgrade()
	case got != j.outcome:
		return fmt.Errorf("the filter is %s, not %s", got, j.outcome)
	case got != "detached" || j.Steps[len(j.Steps)-1].End:
		return nil
	}
	return j.checkDetached()
}

// checkUpgrade has the client begin TLS.
func (j *join) checkUpgrade() error {
	hello := new(catcher)
	_ = tls.Client(hello, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}).Handshake()
	begin := hello.caught
	if packets := j.proto.HandshakePackets; packets != nil {
		begin = packets.Packet(begin, true)
	}
	j.client.Say(string(begin))
	synctest.Wait()
	if !j.hello.Load() {
		return errors.New("TLS has not begun with the client")
	}
	return nil
}

// checkDetached has both sides say what a filter would have something to say to.
func (j *join) checkDetached() error {
	every := "STARTTLS\r\n250-STARTTLS\r\nSTLS\r\na STARTTLS\r\n* CAPABILITY STARTTLS\r\n\"STARTTLS\"\r\n"
	for b := range 256 {
		every += string([]byte{byte(b), '\n', byte(b), '\r'})
	}
	if _, err := j.joined.Write([]byte(every)); err != nil {
		return err
	}
	j.client.Say(every)
	synctest.Wait()
	client, _ := j.client.Take()
	backend, _ := j.backend.take()
	if client != every || backend != every {
		return fmt.Errorf("detached, but the client gets %q, and the backend gets %q", client, backend)
	}
	return nil
}

// String implements fmt.Stringer.
func (a arrivals) String() string {
	text := fmt.Sprintf("the backend gets %.500q, the client %.500q", a.backend, a.client)
	if a.backendEnd {
		text += ", the backend sees an end"
	}
	if a.clientEnd {
		text += ", the client sees an end"
	}
	if a.warnings > 0 {
		text += fmt.Sprintf(", %d warnings such as %q", a.warnings, a.warning)
	}
	if a.data != "" {
		text += fmt.Sprintf(", the data service is asked for %q", a.data)
	}
	return text
}
