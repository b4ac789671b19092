package attacks

import (
	"net"
	"testing/synctest"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/peer"
)

// patience is longer than anything that a filter waits for.
const patience = 10 * time.Minute

// Play has the client say the steps, each once all is quiet, to a backend that it
// reaches through what open makes of its connection. It is to be called inside a
// synctest bubble. It returns what the client has heard, and whether the backend was
// still waiting for the client long after both had ended.
func Play(steps []string, cut int, backend lenient.Backend, open func(client net.Conn) net.Conn) (heard string, stuck bool) {
	client := peer.New(cut)
	filtered := open(client)
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(filtered, backend)
	}()
	for _, step := range steps {
		synctest.Wait()
		client.Say(step)
	}
	synctest.Wait()
	heard = client.Heard()
	client.End()
	synctest.Wait()
	closeWrite(filtered)
	select {
	case <-done:
	case <-time.After(patience):
		stuck = true
		_ = filtered.SetReadDeadline(time.Unix(1, 0))
		_ = client.Close()
		<-done
	}
	return heard, stuck
}

// Direct is Play without anything in between.
func Direct(steps []string, backend lenient.Backend) (heard string) {
	heard = string(backend.Greeting())
	for _, step := range steps {
		heard += string(backend.Feed([]byte(step)))
	}
	return heard
}

// serve is the backend's end of the connection.
func serve(conn net.Conn, backend lenient.Backend) {
	if greeting := backend.Greeting(); len(greeting) > 0 {
		_, _ = conn.Write(greeting)
	}
	p := make([]byte, 4096)
	for {
		n, err := conn.Read(p)
		if answer := backend.Feed(p[:n]); len(answer) > 0 {
			_, _ = conn.Write(answer)
		}
		if err != nil {
			closeWrite(conn)
			return
		}
	}
}

func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
