package dialoguetest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// written is a folder with files of the given text.
func written(t *testing.T, files map[string]string) (folder string) {
	folder = t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	return folder
}

// one is the only dialogue of a transcript.
func one(t *testing.T, text string) *Dialogue {
	all, err := Read(filepath.Join(written(t, map[string]string{"x.txt": "== x\n" + text}), "x.txt"))
	require.NoError(t, err)
	require.Len(t, all, 1)
	return all[0]
}

const pop3Accept = "S: +OK mail.example.com POP3 server ready\nC: STLS\nS: +OK Begin TLS negotiation\n=> upgraded"

// What is played must come out as it is written, or it is an error.
func TestRolesKeepToTheScript(t *testing.T) {
	for name, c := range map[string]struct{ text, why string }{
		"right":             {pop3Accept, ""},
		"another greeting":  {"S: +OK hello\nC: STLS\nS: +OK Begin TLS negotiation\n=> upgraded", "off the script: wrote"},
		"another outcome":   {"S: +OK mail.example.com POP3 server ready\nC: STLS\nS: +OK Begin TLS negotiation\n=> quit", "not quit"},
		"an error":          {"S: +OK mail.example.com POP3 server ready\nC: QUIT\nS: +OK Bye\n=> upgraded", "ended with"},
		"not said":          {"S: +OK mail.example.com POP3 server ready\nC: QUIT\nS: +OK Bye\nS: more\n=> quit", "has not said"},
		"not in plaintext":  {pop3Accept[:len(pop3Accept)-len("upgraded")] + "cleartext", "not cleartext"},
		"a fact":            {"S: +OK mail.example.com POP3 server ready\nC: STLS\nS: +OK Begin TLS negotiation\n=> upgraded, hello=x", `hello is ""`},
		"an unknown option": {"@ speed 9600\n" + pop3Accept, "unknown option"},
	} {
		for _, chunk := range chunks {
			err := playRole(upgrade.POP3, one(t, c.text), false, chunk)
			if c.why == "" {
				require.NoError(t, err, name)
				continue
			}
			require.ErrorContains(t, err, c.why, name)
		}
	}
}

// An answer comes in one write, and so does what a client goes on with.
func TestAnswersInOneWrite(t *testing.T) {
	reply := func(texts ...string) func(s *dialogue.Session) error {
		return func(s *dialogue.Session) (err error) {
			for _, text := range texts {
				err = errors.Join(err, s.Send([]byte(text)))
			}
			return err
		}
	}
	then := func(steps ...func(s *dialogue.Session) error) func(s *dialogue.Session) error {
		return func(s *dialogue.Session) (err error) {
			for _, step := range steps {
				if err == nil {
					err = step(s)
				}
			}
			return err
		}
	}
	read := func(s *dialogue.Session) error { return second(s.ReadLine()) }
	goAhead := func(s *dialogue.Session) error { return s.GoAhead("OK") }
	const text = "S: hi\nC: a\nC: b\nS: one\nS: two\nC: c\nS: OK\n=> upgraded"
	for name, c := range map[string]struct {
		accept func(s *dialogue.Session) error
		right  bool
	}{
		"each line":           {then(reply("hi\r\n"), read, reply("one\r\n"), read, reply("two\r\n"), read, goAhead), true},
		"both at once":        {then(reply("hi\r\n"), read, read, reply("one\r\ntwo\r\n"), read, goAhead), true},
		"a cut greeting":      {then(reply("hi", "\r\n"), read, reply("one\r\n"), read, reply("two\r\n"), read, goAhead), false},
		"a cut answer":        {then(reply("hi\r\n"), read, reply("one\r\n"), read, reply("two", "\r\n"), read, goAhead), false},
		"in front of the TLS": {then(reply("hi\r\n"), read, reply("one\r\n"), read, reply("two\r\n"), read, reply("O"), func(s *dialogue.Session) error { return s.SendGoAhead([]byte("K\r\n")) }), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := playRole(&upgrade.Protocol{Name: "cut", Accept: c.accept}, one(t, text), false, 0)
			if c.right {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "which belongs to the write before")
		})
	}
}

func second[T any](_ T, err error) error { return err }

func TestRequestLearnsFacts(t *testing.T) {
	text := "S: +OK hi\nC: CAPA\nS: +OK\nS: USER\nS: STLS\nS: .\nC: STLS\nS: +OK\n=> upgraded, plaintext_login="
	require.NoError(t, playRole(upgrade.POP3, one(t, text+"offered"), true, 0))
	require.ErrorContains(t, playRole(upgrade.POP3, one(t, text+"none"), true, 0), `plaintext_login is "offered"`)
}

const pop3Join = "B: +OK hi\nC: NOOP\n>B: NOOP\n"

func TestJoinsKeepToTheScript(t *testing.T) {
	for name, c := range map[string]struct{ text, why string }{
		"right":                     {pop3Join + "=> following", ""},
		"another state":             {pop3Join + "=> detached", "the filter is following, not detached"},
		"an error":                  {pop3Join + "=> timeout", "not timeout"},
		"no upgrade":                {pop3Join + "=> upgraded", "TLS has not begun"},
		"less arrives":              {pop3Join + "C: NOOP\n=> following", "but it should have been: the backend gets \"\""},
		"more is wanted":            {pop3Join + ">B: NOOP\n=> following", "should have been"},
		"an end is wanted":          {pop3Join + ">B!\n=> following", "the backend sees an end"},
		"an end of theirs":          {pop3Join + ">C!\n=> following", "the client sees an end"},
		"a warning":                 {pop3Join + ">W: what\n=> following", "1 warnings"},
		"a warning too many":        {"B: +OK [XCLIENT] hi\n=> following", "1 warnings"},
		"closed":                    {"B: hi\n>C: -ERR [SYS/TEMP] Backend not available\n>C!\n>B!\n=> closed", ""},
		"time passes":               {"... 61s\n>C: -ERR [SYS/TEMP] Backend not available\n>C!\n>B!\n=> closed", ""},
		"a backend that is cut off": {"B: +OK hi\nB!\n>C!\nC!\n>B!\n=> following", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, chunk := range chunks {
				err := playInBubble(t)(upgrade.POP3, one(t, c.text), false, chunk)
				if c.why == "" {
					require.NoError(t, err)
					continue
				}
				require.ErrorContains(t, err, c.why)
			}
		})
	}
}

func TestReadRefusesWhatItDoesNotKnow(t *testing.T) {
	for text, why := range map[string]string{
		"C: x":                        "before the first title",
		"== x\nC: x":                  "no outcome",
		"== x\nC~ x\n=> upgraded":     "a pattern in a transcript",
		"== x\n=> won":                "unknown outcome",
		"== x\n=> upgraded, size=1":   "unknown fact",
		"== x\nD: x\n=> upgraded":     "what is",
		"== x\n>S: x\n=> upgraded":    "is not seen",
		"== x\nC? x\n=> upgraded":     "unknown kind",
		"== x\nC# 1\n=> upgraded":     "odd length",
		"== x\nC= x\n=> upgraded":     "invalid syntax",
		"== x\nC* -1 \"x\"\n=> quit":  "no number",
		"== x\n... soon\n=> detached": "invalid duration",
	} {
		_, err := Read(filepath.Join(written(t, map[string]string{"x.txt": text}), "x.txt"))
		require.ErrorContains(t, err, why, text)
	}
}

// Whoever adds a role, or a filter, cannot forget its transcripts.
func TestReadAllWantsAll(t *testing.T) {
	role, join := "== a\n"+pop3Accept, "== a\n"+pop3Join+"=> following"
	for _, c := range []struct {
		files map[string]string
		why   string
	}{
		{map[string]string{"pop3.txt": role, "pop3.join.txt": join}, ""},
		{map[string]string{"pop3.txt": role}, "pop3.join.txt has no dialogue"},
		{map[string]string{"pop3.join.txt": join}, "pop3.txt has no dialogue"},
		{map[string]string{"pop3.txt": "== a [accept]\n" + pop3Accept, "pop3.join.txt": join}, `role "request": true`},
		{map[string]string{"pop3.txt": role, "pop3.join.txt": join, "pop3.upgraded.txt": join}, "nothing for pop3 to play"},
	} {
		_, err := ReadAll(written(t, c.files), upgrade.POP3)
		if c.why == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.why)
	}
}

func TestReadSession(t *testing.T) {
	const file = "pop3.session.txt"
	session := func(text string) (*Session, error) {
		return ReadSession(written(t, map[string]string{file: text}), upgrade.POP3)
	}
	s, err := session("== use\n@ marker b\nC: a\nS~ ^(?P<b>.)\nS: c\n\n== empty\n")
	require.NoError(t, err)
	d, err := s.Dialogue("use")
	require.NoError(t, err)
	require.Equal(t, []Step{{Who: 'C', Data: []byte("a\r\n"), lines: 1}, {Who: 'S', Pattern: "^(?P<b>.)"}, {Who: 'S', Data: []byte("c\r\n"), lines: 1}}, d.Steps)
	require.Equal(t, "b", d.Option("marker"))
	require.Empty(t, d.Option("other"))
	require.True(t, s.Has("empty"))
	require.False(t, s.Has("other"))
	for _, title := range []string{"empty", "other"} {
		_, err := s.Dialogue(title)
		require.ErrorContains(t, err, file+" needs a dialogue \""+title+"\"")
	}
	for text, why := range map[string]string{"== a\n== a": "twice", "== a\nC~ (": "missing closing", "C: a": "before the first title"} {
		_, err := session(text)
		require.ErrorContains(t, err, why)
	}
	_, err = ReadSession(t.TempDir(), upgrade.POP3)
	require.ErrorContains(t, err, "pop3 needs a file with its session")
}
