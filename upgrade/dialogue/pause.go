package dialogue

import (
	"fmt"
	"time"
)

// Pause has a client wait before it begins TLS, for as long as one of the protocol's own
// options says. It is for protocols in which the request may have no reply to wait for: there
// are servers that read a ClientHello along with the request, and lose it, such as those of
// Python's asyncio, 3.11 to 3.13 (https://github.com/python/cpython/issues/142352).
func (s *Session) Pause(option string) error {
	pause, err := time.ParseDuration(s.Option(option))
	if err != nil {
		return fmt.Errorf("option %q: %w", option, err)
	}
	s.pause = pause
	return nil
}

// PausesFor is how long the client is to wait.
func (s *Session) PausesFor() time.Duration { return s.pause }
