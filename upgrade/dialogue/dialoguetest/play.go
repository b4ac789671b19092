package dialoguetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Transcripts are those of one protocol, by what they are of.
type Transcripts struct {
	Roles    []*Dialogue // with a peer, in plaintext
	Joins    []*Dialogue // between a client and a backend
	Upgraded []*Dialogue // between a client and a backend that has been upgraded
}

// files has the names of the files, and what must be in the protocol for them.
func files(p *upgrade.Protocol) (names [3]string, wanted [3]bool) {
	names = [3]string{p.Name + ".txt", p.Name + ".join.txt", p.Name + ".upgraded.txt"}
	wanted[0] = p.Accept != nil || p.Request != nil
	if p.Join != nil {
		wanted[1] = true
		wanted[2] = p.Join(dialogue.Situation{Upgraded: true, Options: new(dialogue.Options)}) != nil
	}
	return names, wanted
}

// ReadAll reads the transcripts of a protocol from a folder. There must be some of each
// role that it has, of the filter by which it joins, and of the one that it has for backends
// that have been upgraded.
func ReadAll(folder string, p *upgrade.Protocol) (all Transcripts, err error) {
	names, wanted := files(p)
	for i, into := range []*[]*Dialogue{&all.Roles, &all.Joins, &all.Upgraded} {
		path := filepath.Join(folder, names[i])
		*into, err = Read(path)
		missing := errors.Is(err, fs.ErrNotExist)
		switch {
		case err != nil && !missing:
			return all, err
		case wanted[i] && len(*into) == 0:
			return all, fmt.Errorf("%s has no dialogue, and %s needs one", path, p.Name)
		case !wanted[i] && !missing:
			return all, fmt.Errorf("%s has nothing for %s to play", path, p.Name)
		}
	}
	for role, has := range map[string]bool{"accept": p.Accept != nil, "request": p.Request != nil} {
		if plays := slices.ContainsFunc(all.Roles, func(d *Dialogue) bool { return d.Plays(role) }); plays != has {
			return all, fmt.Errorf("%s: role %q: %t, in %s: %t", p.Name, role, has, names[0], plays)
		}
	}
	return all, nil
}

// Play plays all transcripts in the folder testdata, which are those of the given protocols:
// one that is missing, or that belongs to none of them, is an error. Each dialogue is
// played several times, with what is said cut in other places.
func Play(t *testing.T, protocols ...*upgrade.Protocol) {
	t.Helper()
	const folder = "testdata"
	var known []string
	for _, p := range protocols {
		all, err := ReadAll(folder, p)
		if err != nil {
			t.Fatal(err)
		}
		names, _ := files(p)
		known = append(append(known, names[:]...), sessionFile(p))
		if _, err := ReadSession(folder, p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		t.Run(p.Name, func(t *testing.T) { all.play(t, p) })
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".txt" && !slices.Contains(known, e.Name()) {
			t.Errorf("%s belongs to none of the protocols", e.Name())
		}
	}
}

func (all *Transcripts) play(t *testing.T, p *upgrade.Protocol) {
	for _, d := range all.Roles {
		for _, role := range []string{"accept", "request"} {
			if d.Plays(role) {
				t.Run(role+"/"+d.Name, func(t *testing.T) { d.eachChunk(t, chunks, role == "request", p, playRole) })
			}
		}
	}
	for _, d := range all.Joins {
		t.Run("join/"+d.Name, func(t *testing.T) { d.eachChunk(t, d.chunks(), false, p, playInBubble(t)) })
	}
	for _, d := range all.Upgraded {
		t.Run("upgraded/"+d.Name, func(t *testing.T) { d.eachChunk(t, d.chunks(), true, p, playInBubble(t)) })
	}
}

// A player plays a dialogue with what is said in pieces of chunk octets.
type player func(p *upgrade.Protocol, d *Dialogue, other bool, chunk int) error

func (d *Dialogue) eachChunk(t *testing.T, sizes []int, other bool, p *upgrade.Protocol, play player) {
	for _, chunk := range sizes {
		if err := play(p, d, other, chunk); err != nil {
			t.Errorf("in pieces of %d octets: %v", chunk, err)
		}
	}
}

// playInBubble is playJoin with a clock of its own.
func playInBubble(t *testing.T) player {
	return func(p *upgrade.Protocol, d *Dialogue, upgraded bool, chunk int) (err error) {
		synctest.Test(t, func(*testing.T) { err = playJoin(p, d, upgraded, chunk) })
		return err
	}
}

// chunks are larger ones if the dialogue is long.
func (d *Dialogue) chunks() []int {
	size := 0
	for _, s := range d.Steps {
		size += len(s.Data)
	}
	if size > dialogue.MaxFiltered {
		return []int{0, 511, 4096}
	}
	return chunks
}
