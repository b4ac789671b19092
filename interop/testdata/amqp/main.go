// Command amqp is a client that negotiates the TLS layer of AMQP 1.0, which Debian has none of. It
// sends messages to a queue and receives them again:
//
//	amqp <address> <root> <name>
//
// It logs in as alice, whose password is "secret". The certificate is verified for the name. Without a
// root the client stays in plaintext.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/Azure/go-amqp"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: amqp <address> <root> <name>")
	}
	config, err := trust(args[1], args[2])
	if err != nil {
		return err
	}
	// With an idle timeout, go-amqp's reader may overwrite the deadline by which it is to be woken for the
	// handshake, and never begins it.
	options := []amqp.ConnOption{
		amqp.ConnSASLPlain("alice", "secret"), amqp.ConnConnectTimeout(10 * time.Second), amqp.ConnIdleTimeout(0),
	}
	if config != nil {
		options = append(options, amqp.ConnTLS(true), amqp.ConnTLSConfig(config))
	}
	client, err := amqp.Dial("amqp://"+args[0], options...)
	if err != nil {
		return err
	}
	return errors.Join(exchange(client), client.Close())
}

// trust is nil without a root.
func trust(root, name string) (*tls.Config, error) {
	if root == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(root)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in the root")
	}
	return &tls.Config{RootCAs: pool, ServerName: name}, nil
}

// messages are of different sizes; the last one needs more than one frame.
func messages() [][]byte {
	return [][]byte{[]byte("hello"), {}, []byte("AMQP\x02\x01\x00\x00"), bytes.Repeat([]byte("0123456789"), 100_000)}
}

func compare(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("received %d octets, sent %d", len(got), len(want))
	}
	fmt.Println("received", len(got), "octets")
	return nil
}

// exchange sends each message and receives it again.
func exchange(client *amqp.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	const queue = "/queue/tests"
	sender, err := session.NewSender(amqp.LinkTargetAddress(queue))
	if err != nil {
		return err
	}
	receiver, err := session.NewReceiver(amqp.LinkSourceAddress(queue), amqp.LinkCredit(1))
	if err != nil {
		return err
	}
	for _, m := range messages() {
		if err := sender.Send(ctx, amqp.NewMessage(m)); err != nil {
			return err
		}
		got, err := receiver.Receive(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(receiver.AcceptMessage(ctx, got), compare(got.GetData(), m)); err != nil {
			return err
		}
	}
	return nil
}
