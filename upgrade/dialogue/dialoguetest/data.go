package dialoguetest

import (
	"fmt"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// firstDataPort is where the client is told to connect first.
const firstDataPort = 50000

// A dataService makes no connections. It notes what it is asked for.
type dataService struct {
	host  string // where clients are told to connect; "none" if there is no way
	noted string
	port  uint16
}

// Offer implements dialogue.DataService.
func (s *dataService) Offer(offer dialogue.DataOffer) (at dialogue.DataAddress, ok bool) {
	if s.host == "none" {
		return at, false
	}
	kind := "plaintext"
	switch {
	case offer.SecureClient && offer.SecureBackend:
		kind = "tls with both"
	case offer.SecureClient:
		kind = "tls with the client"
	case offer.SecureBackend:
		kind = "tls with the backend"
	}
	s.noted += fmt.Sprintf("%d %s\n", offer.Port, kind)
	at = dialogue.DataAddress{Host: s.host, Port: firstDataPort + s.port}
	s.port++
	return at, true
}

// Withdraw implements dialogue.DataService.
func (s *dataService) Withdraw() { s.noted += "withdrawn\n" }

// take returns what has been noted since the last time.
func (s *dataService) take() string {
	noted := s.noted
	s.noted = ""
	return noted
}
