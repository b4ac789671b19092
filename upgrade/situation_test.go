package upgrade

import (
	"context"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A keeper is a protocol whose server keeps what a client says in its first line, and
// introduces it by that. It grants TLS to "TLS" and lets anything else stay in plaintext.
func keeper(joined *dialogue.Situation) *Protocol {
	return &Protocol{
		Name: "keeper",
		Accept: func(s *dialogue.Session) error {
			first, err := s.ReadLine()
			if err != nil {
				return err
			}
			s.Introduce("introduced as " + first)
			if strings.HasPrefix(first, "keep ") {
				if err := s.Keep([]byte(first[5:])); err != nil {
					return err
				}
			}
			line, err := s.ReadLine()
			if err != nil || line == "TLS" {
				return s.GoAhead("GO")
			}
			return s.NeedsBackend(false, "no")
		},
		Request: func(s *dialogue.Session) error {
			if err := s.Reply("keep this", "TLS"); err != nil {
				return err
			}
			_, err := s.ReadLine()
			return err
		},
		Join: func(s dialogue.Situation) dialogue.Filter {
			*joined = s
			return nil
		},
	}
}

// All that crosses into TLS is what was kept on purpose.
func TestWhatIsKeptCrosses(t *testing.T) {
	inBubble(t, "TLS", func(t *testing.T) {
		var got dialogue.Situation
		s := upgradedSession(t, keeper(&got), Config{Hostname: testHost, Optional: true, PlaintextAuth: true})
		defer s.end()
		require.NotNil(t, got.Options)
		got.Options = nil
		require.Equal(t, dialogue.Situation{Client: dialogue.Greeted, Kept: []byte("this")}, got)
		require.Nil(t, s.server.plain.introduction, "TLS makes it void")
	})
	inBubble(t, "cleartext", func(t *testing.T) {
		var got dialogue.Situation
		s := cleartextSession(t, keeper(&got), "EHLO me\nMAIL\n")
		defer s.end()
		got.Options = nil
		require.Equal(t, dialogue.Situation{
			Client: dialogue.Introduced, Cleartext: true, Kept: []byte("introduced as EHLO me"),
		}, got)
	})
	inBubble(t, "implicit TLS", func(t *testing.T) {
		var got dialogue.Situation
		raw, client := memPair()
		server, config := coreTLS()
		go func() { _, _ = io.WriteString(clientOf(client, config), "inside") }()
		_, err := Join(context.Background(), raw, keeper(&got), &Config{TLS: server, ImplicitTLS: true})
		require.NoError(t, err)
		got.Options = nil
		require.Equal(t, dialogue.Situation{Client: dialogue.Unheard, ImplicitTLS: true}, got)
		require.NoError(t, client.Close())
		synctest.Wait()
	})
}

// What a Situation has is what crosses the plaintext boundary, so that another field is a
// matter for a review.
func TestFieldsOfASituation(t *testing.T) {
	var names []string
	for i := range reflect.TypeFor[dialogue.Situation]().NumField() {
		f := reflect.TypeFor[dialogue.Situation]().Field(i)
		names = append(names, f.Name+" "+f.Type.String())
	}
	require.Equal(t, []string{
		"Client dialogue.Phase", "Backend dialogue.Phase", "Cleartext bool", "PlaintextAuth bool", "ImplicitTLS bool",
		"Upgraded bool", "Kept []uint8", "Options *dialogue.Options",
	}, names)
}

// The filter's Options are the configuration's: nothing that the peer has said is in them.
func TestOptionsOfASituationAreTheConfigurations(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		var got dialogue.Situation
		config := Config{Hostname: testHost, Greeting: "hi", Capabilities: []string{"X"}, Options: map[string]string{"a": "b"}}
		s := upgradedSession(t, keeper(&got), config)
		defer s.end()
		require.Equal(t, &dialogue.Options{
			Hostname: testHost, Greeting: "hi", Capabilities: []string{"X"}, Own: map[string]string{"a": "b"}, Joined: true,
		}, got.Options)
	})
}

// What is kept is bounded as a line is.
func TestKeepIsBounded(t *testing.T) {
	for _, test := range []struct {
		parts []int
		want  error
	}{
		{[]int{4096}, nil}, {[]int{4097}, ErrLineTooLong}, {[]int{4000, 96}, nil}, {[]int{4000, 97}, ErrLineTooLong},
	} {
		p := &Protocol{Name: "much", Accept: func(s *dialogue.Session) error {
			for _, size := range test.parts {
				if err := s.Keep(make([]byte, size)); err != nil {
					return err
				}
			}
			return dialogue.ErrQuit
		}}
		raw, client := memPair()
		require.NoError(t, client.Close())
		_, err := Join(context.Background(), raw, p, nil)
		if test.want == nil {
			test.want = ErrQuit
		}
		require.ErrorIs(t, err, test.want)
	}
}
