package dialoguetest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Dialogue is one conversation of a transcript.
type Dialogue struct {
	Name  string
	Steps []Step // the first one is of nobody

	roles   string // "accept", "request" or both
	options [][2]string
	outcome string
	facts   map[string]string
}

// A Step is what one side does without waiting for another.
type Step struct {
	Who  byte // 'C' for the client, 'S' for the server, 'B' for the backend, 0 for nobody
	Data []byte
	End  bool // Who ends its half of the connection

	// Pattern is what Who says, in the files of sessions, in place of Data.
	Pattern string

	wait  time.Duration
	want  arrivals
	lines int // of the transcript
}

// arrivals are what comes of a step.
type arrivals struct {
	backend, client       string
	backendEnd, clientEnd bool
	warnings              int
	warning               string
	data                  string // that the filter asks for, a line each
}

// Read reads a transcript.
func Read(path string) (all []*Dialogue, err error) {
	all, err = readDialogues(path)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.outcome == "" {
			return nil, fmt.Errorf("%s: %s: no outcome", path, d.Name)
		}
		for _, s := range d.Steps {
			if s.Pattern != "" {
				return nil, fmt.Errorf("%s: %s: a pattern in a transcript: %s", path, d.Name, s.Pattern)
			}
		}
	}
	return all, nil
}

// readDialogues reads a file of dialogues, complete or not.
func readDialogues(path string) (all []*Dialogue, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(string(text), "\n") {
		if title, ok := strings.CutPrefix(line, "== "); ok {
			all = append(all, newDialogue(title))
			continue
		}
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s:%d: a line before the first title", path, n+1)
		}
		if err := all[len(all)-1].add(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
		}
	}
	return all, nil
}

func newDialogue(title string) *Dialogue {
	d := &Dialogue{Name: title, roles: "accept request", Steps: make([]Step, 1), facts: map[string]string{}}
	if name, role, ok := strings.Cut(title, " ["); ok {
		d.Name, d.roles = name, strings.TrimSuffix(role, "]")
	}
	return d
}

// Said is all that one side says.
func (d *Dialogue) Said(who byte) (all []byte) {
	for _, s := range d.Steps {
		if s.Who == who {
			all = append(all, s.Data...)
		}
	}
	return all
}

// Plays reports whether the dialogue is one of the given role: "accept" or "request".
func (d *Dialogue) Plays(role string) bool {
	for r := range strings.FieldsSeq(d.roles) {
		if r == role {
			return true
		}
	}
	return false
}

// add takes a line of the transcript.
func (d *Dialogue) add(line string) (err error) {
	kind, rest, _ := strings.Cut(line, " ")
	last := &d.Steps[len(d.Steps)-1]
	switch kind {
	case "@":
		name, value, _ := strings.Cut(rest, " ")
		d.options = append(d.options, [2]string{name, value})
	case "=>":
		return d.end(rest)
	case "B!", "C!":
		d.Steps = append(d.Steps, Step{Who: kind[0], End: true})
	case ">B!":
		last.want.backendEnd = true
	case ">C!":
		last.want.clientEnd = true
	case ">W:":
		last.want.warnings++
		last.want.warning = rest
	case ">D:":
		last.want.data += rest + "\n"
	case "...":
		step := Step{}
		step.wait, err = time.ParseDuration(rest)
		d.Steps = append(d.Steps, step)
	default:
		return d.addBytes(line)
	}
	return err
}

// end takes the line with the outcome.
func (d *Dialogue) end(text string) error {
	outcome, facts, some := strings.Cut(text, ", ")
	d.outcome = outcome
	if _, ok := outcomes[outcome]; !ok {
		return fmt.Errorf("unknown outcome %q", outcome)
	}
	for some {
		var fact string
		fact, facts, some = strings.Cut(facts, ", ")
		name, value, _ := strings.Cut(fact, "=")
		if checks[name] == nil {
			return fmt.Errorf("unknown fact %q", name)
		}
		d.facts[name] = value
	}
	return nil
}

// addBytes takes a line with what is said, or arrives.
func (d *Dialogue) addBytes(line string) error {
	said, arrives := strings.CutPrefix(line, ">")
	if len(said) < 2 || !strings.Contains("BCS", said[:1]) {
		return fmt.Errorf("what is %q?", line)
	}
	if !arrives && said[1] == '~' {
		return d.addPattern(said[0], strings.TrimPrefix(said[2:], " "))
	}
	data, err := scripted(said[1:])
	last := &d.Steps[len(d.Steps)-1]
	switch who := said[0]; {
	case arrives && who == 'B':
		last.want.backend += string(data)
	case arrives && who == 'C':
		last.want.client += string(data)
	case arrives:
		return fmt.Errorf("what arrives at a server is not seen: %q", line)
	case last.Who == who && !last.End && last.Pattern == "" && last.want == (arrivals{}):
		last.Data = append(last.Data, data...)
		last.lines++
	default:
		d.Steps = append(d.Steps, Step{Who: who, Data: data, lines: 1})
	}
	return err
}

// addPattern takes a line with a pattern of what is said.
func (d *Dialogue) addPattern(who byte, pattern string) error {
	_, err := regexp.Compile(pattern)
	d.Steps = append(d.Steps, Step{Who: who, Pattern: pattern})
	return err
}

// Option is what a dialogue's option of the given name says; empty if there is none.
func (d *Dialogue) Option(name string) string {
	for _, option := range d.options {
		if option[0] == name {
			return option[1]
		}
	}
	return ""
}

// has reports whether there is an option of the given name.
func (d *Dialogue) has(name string) bool {
	return slices.ContainsFunc(d.options, func(option [2]string) bool { return option[0] == name })
}

// scripted reads the bytes of a line behind the letter for who says them.
func scripted(line string) ([]byte, error) {
	rest := strings.TrimPrefix(line[1:], " ")
	switch line[0] {
	case ':':
		return []byte(rest + "\r\n"), nil
	case '#':
		return hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	case '=':
		s, err := strconv.Unquote(rest)
		return []byte(s), err
	case '*':
		return repeated(rest)
	}
	return nil, fmt.Errorf("unknown kind of line %q", line)
}

// repeated makes the bytes of a number and a quoted string.
func repeated(text string) ([]byte, error) {
	number, quoted, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("no number: %q", text)
	}
	s, err := strconv.Unquote(quoted)
	return bytes.Repeat([]byte(s), n), err
}
