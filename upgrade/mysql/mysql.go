// Package mysql is the upgrade of MySQL and MariaDB, and what stands between their clients and
// servers then.
package mysql

import (
	"crypto/rand"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is the client-server protocol of MySQL, MariaDB's included, which upgrades with
// an SSLRequest. MySQL documentation, "Connection Phase":
//
//	S: greeting       number 0: version, capabilities, a challenge
//	C: SSLRequest     number 1: the first 32 octets of the login, TLS among the capabilities
//	                  TLS follows at once
//	C: login          number 2, inside TLS: user, answer to the challenge
//	S: OK             number 3
//
// The backend makes the challenge, so it is needed before the upgrade. Its greeting is
// passed on, with TLS offered. It hears of no SSLRequest: until the login is over, packets
// have one number less towards it.
var Protocol = &dialogue.Protocol{
	Name:        "mysql",
	Aliases:     []string{"mariadb", "mysqls"},
	Port:        3306,
	Facts:       dialogue.Facts{Ports: "3306", Upgrade: "SSLRequest", Document: "MySQL documentation, \"Connection Phase\""},
	ServerFirst: true,
	EarlyDial:   true,
	HearsClient: true,
	MaxLine:     8192,
	Options: []dialogue.Option{{Name: pauseOption, Type: dialogue.DurationOption, Client: true, Default: "10ms",
		Usage: "how long to wait between the request and TLS, for which there is no reply to wait for"}},
	Accept:     accept,
	Request:    request,
	Resume:     dialogue.ResumesAtOnce,
	ErrorReply: errorReply,
	Join:       newFilter,
}

const pauseOption = "pause"

// newChallenge makes one without a zero, which ends it, and without octets beyond ASCII.
var newChallenge = func() (challenge [challengeSize]byte) {
	copy(challenge[:], rand.Text())
	return challenge
}

// accept greets with a challenge that nobody else knows. A server that proves passwords
// sends one of its own, in an AuthSwitchRequest.
func accept(s *dialogue.Session) error {
	if !s.TLSAvailable() {
		return errors.Join(s.Send(tlsUnavailable.packet(0)), dialogue.ErrQuit)
	}
	if err := s.Send(packet(0, ownGreeting(s.Greeting("8.0.36"), newChallenge()))); err != nil {
		return err
	}
	first, err := s.Peek(headSize + 4)
	if err != nil {
		return err
	}
	size, number := head(first)
	capabilities := clientCapabilities(first[headSize:])
	switch {
	case number != 1, size < sslRequestSize, capabilities&protocol41 == 0:
		return dialogue.ErrMalformed
	case !s.Optional() && (size > sslRequestSize || capabilities&offersTLS == 0):
		return dialogue.ErrPlaintext
	case size > sslRequestSize && capabilities&offersTLS != 0:
		return dialogue.ErrMalformed
	case size > sslRequestSize:
		return stay(s)
	case capabilities&offersTLS == 0:
		return dialogue.ErrMalformed
	}
	if _, err := s.Next(headSize + size); err != nil {
		return err
	}
	return s.SendGoAhead(nil)
}

// stay leaves a client in plaintext that may stay there, with its login unread.
func stay(s *dialogue.Session) error {
	if _, err := s.Next(headSize); err != nil {
		return err
	}
	return s.SendNeedsBackend(false, nil)
}
