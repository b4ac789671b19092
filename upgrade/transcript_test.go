package upgrade

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each protocol of the table has a transcript, and each role that it has keeps to
// it, however the peer's bytes are cut into reads.
func TestTranscripts(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.Name, func(t *testing.T) {
			dialogues := readDialogues(t, "testdata/"+p.Name+".txt")
			ran := map[string]bool{}
			for _, d := range dialogues {
				for role := range strings.FieldsSeq(d.roles) {
					ran[role] = true
					t.Run(d.name+"/"+role, func(t *testing.T) { playDialogue(t, p, d, role == "request") })
				}
			}
			require.Equal(t, p.Accept != nil, ran["accept"], "a transcript for Accept")
			require.Equal(t, p.Request != nil, ran["request"], "a transcript for Request")
		})
	}
}

func playDialogue(t *testing.T, p *Protocol, d *dialogue, client bool) {
	require.NotEmpty(t, d.outcome)
	for _, chunk := range []int{0, 1, 7} {
		script := &scriptConn{peer: !client, chunk: chunk}
		for _, s := range d.steps {
			script.steps = append(script.steps, step{s.client, append([]byte(nil), s.data...)})
		}
		conn := newConn(script, p, dialogueConfig(d, client), client)
		err := conn.Plaintext(context.Background())
		require.NoError(t, script.problem)
		require.ErrorIs(t, err, outcomes[d.outcome])
		if d.outcome != "gone" && !client {
			require.Nil(t, script.unsaid(), "said less than scripted")
		}
		if d.outcome == "upgraded" {
			require.Empty(t, conn.buf)
			require.Zero(t, script.Buffered(), "stopped reading before the end")
		}
		require.Equal(t, d.outcome == "committed", conn.committed)
		if conn.committed {
			require.Equal(t, d.steps[len(d.steps)-1].data, append(conn.buf, script.steps[0].data...), "for the backend")
		}
		checkFacts(t, d, conn)
	}
}

// unsaid returns what our side was to say and has not said.
func (c *scriptConn) unsaid() []byte {
	for _, s := range c.steps {
		if s.client != c.peer && len(s.data) > 0 {
			return s.data
		}
	}
	return nil
}

func checkFacts(t *testing.T, d *dialogue, conn *Conn) {
	if hello, ok := d.facts["hello"]; ok && !conn.client {
		require.Equal(t, hello, conn.Hello())
	}
	if name, ok := d.facts["server_name"]; ok && !conn.client {
		require.Equal(t, name, conn.ServerName())
	}
}

// dialogueConfig gives each side the name it has in all transcripts.
func dialogueConfig(d *dialogue, client bool) *Config {
	config := d.config
	config.Hostname = "mail.example.com"
	if client {
		config.Hostname = "client.example"
		config.TLS = &tls.Config{ServerName: "mail.example.com", MinVersion: tls.VersionTLS12}
	}
	return &config
}
