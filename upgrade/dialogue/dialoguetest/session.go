package dialoguetest

import (
	"fmt"
	"path/filepath"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A Session has what a protocol's clients and servers say in tests of whole programs, by
// the titles of its dialogues. The README beside this file lists them.
type Session struct {
	path      string
	dialogues map[string]*Dialogue
}

func sessionFile(p *upgrade.Protocol) string { return p.Name + ".session.txt" }

// ReadSession reads the session of a protocol from a folder.
func ReadSession(folder string, p *upgrade.Protocol) (*Session, error) {
	s := &Session{path: filepath.Join(folder, sessionFile(p)), dialogues: map[string]*Dialogue{}}
	all, err := readDialogues(s.path)
	if err != nil {
		return nil, fmt.Errorf("%s needs a file with its session: %w", p.Name, err)
	}
	for _, d := range all {
		if _, twice := s.dialogues[d.Name]; twice {
			return nil, fmt.Errorf("%s: %q is there twice", s.path, d.Name)
		}
		d.Steps = d.Steps[1:] // that of nobody
		s.dialogues[d.Name] = d
	}
	return s, nil
}

// Dialogue returns the dialogue of the given title, which has at least one step.
func (s *Session) Dialogue(title string) (*Dialogue, error) {
	d, ok := s.dialogues[title]
	if !ok || len(d.Steps) == 0 {
		return nil, fmt.Errorf("%s needs a dialogue %q", s.path, title)
	}
	return d, nil
}

// Has reports whether there is a dialogue of the given title.
func (s *Session) Has(title string) bool { return s.dialogues[title] != nil }
