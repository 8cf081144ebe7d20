package writer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// entries are all keys and values of the stored state of a log. The writer must not run.
func (s *site) entries(log string) map[string]string {
	s.t.Helper()
	store := s.openState(log)
	out := make(map[string]string)
	err := store.Scan(nil, nil, func(key, value []byte) bool { out[string(key)] = string(value); return true })
	if err := errors.Join(err, store.Close()); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// stateIsOfTheLog holds that the stored state of each log equals one that is built from the log, key by key. The writer is restarted for that.
func (s *site) stateIsOfTheLog(logs ...string) {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	built := &site{t: s.t, store: upTo(s.t, s.store, "", 0), dir: s.t.TempDir(), cfg: s.cfg}
	built.cfg.Store, built.cfg.Dir = built.store, built.dir
	built.start()
	if err := built.stop(); err != nil {
		s.t.Fatal(err)
	}
	for _, log := range logs {
		want, got := built.entries(log), s.entries(log)
		_, last := ended(s.t, s.store, log)
		for _, entries := range []map[string]string{want, got} {
			position, rest, err := writer.SplitMeta([]byte(entries[metaKey]))
			if err != nil || position < last || len(entries) < 2 {
				s.t.Errorf("log %s: got a state of %d entries at sequence %d, %v, want it at %d", log, len(entries), position, err, last)
			}
			entries[metaKey] = string(rest) // the one that was built has an epoch block more
		}
		if d := cmp.Diff(want, got); d != "" {
			s.t.Errorf("log %s: the state differs from one built from the log, -want +got\n%s", log, d)
		}
	}
	s.start()
}

// statesAreOfTheLogs holds that what each member stored of each log, as far as it got, equals a state that is built from the log up to there, key by key. Nobody
// runs any more.
func (c *cluster) statesAreOfTheLogs() {
	c.t.Helper()
	logs, err := c.store.List(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, log := range logs {
		compared := 0
		for _, name := range c.names {
			s := &site{t: c.t, dir: filepath.Join(c.dir, name), cfg: writer.Config{Site: "here", Key: make([]byte, 32), Log: zerolog.Nop()}}
			if _, err := os.Stat(s.stateDir(log)); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			got := s.entries(log)
			position, rest, err := writer.SplitMeta([]byte(got[metaKey]))
			if err != nil || position == 0 {
				c.t.Errorf("%s, log %s: got a state of %d entries at sequence %d, %v", name, log, len(got), position, err)
				continue
			}
			got[metaKey] = string(rest)
			if d := cmp.Diff(builtState(c.t, upTo(c.t, c.store, log, position), log), got); d != "" {
				c.t.Errorf("%s, log %s: the state at %d differs from one built from the log, -want +got\n%s", name, log, position, d)
			}
			compared++
		}
		if compared == 0 {
			c.t.Errorf("log %s: no member has a state of it", log)
		}
	}
}

// builtState is what a writer keeps of a log that it reads from the beginning, without its place there.
func builtState(t testing.TB, store eventlog.Store, log string) map[string]string {
	t.Helper()
	built := &site{t: t, store: store, dir: t.TempDir()}
	built.cfg = writer.Config{Site: "here", Store: store, Dir: built.dir, Key: make([]byte, 32), Log: zerolog.Nop()}
	built.start()
	if err := built.stop(); err != nil {
		t.Fatal(err)
	}
	out := built.entries(log)
	_, rest, err := writer.SplitMeta([]byte(out[metaKey]))
	if err != nil {
		t.Fatal(err)
	}
	out[metaKey] = string(rest)
	return out
}

const metaKey = "m"

// The state equals one built from the log behind every way in which an append can fail, behind late blocks, lost states and states of an earlier time, which is what
// a killed process leaves.
func TestTheStateIsThatOfItsLog(t *testing.T) {
	random := rand.New(rand.NewPCG(7, seed(t)))
	m := eventlog.NewMemory()
	s := newSite(t, m)
	s.migrate(`{"aggregate":"user","log":"patient","fields":{"email":{"unique":true}},"events":{"registered":{"fields":["email"]},"left":{"deletes":true}}}`)
	s.migrate(`{"aggregate":"ward","events":{"opened":{}}}`)
	rounds := 12
	if torture() {
		rounds = 300
	}
	for round := range rounds {
		jwt := s.token(uint64(20 + random.IntN(100)))
		fault := []eventlog.Fault{eventlog.None, eventlog.Refuse, eventlog.LoseBefore, eventlog.LoseAfter, eventlog.Delay}[random.IntN(5)]
		skip := random.IntN(4)
		m.SetFault(func(string, uint64, []byte) eventlog.Fault {
			if skip--; skip == 0 {
				return fault
			}
			return eventlog.None
		})
		s.someCommands(random, jwt, round)
		m.SetFault(nil)
		for _, log := range []string{"patient", "ward", "eventful"} {
			m.Release(log)
		}
		if round%4 == 3 {
			s.stateIsOfTheLog("patient", "ward", "eventful")
		}
		s.afterwards(random, random.IntN(4))
	}
}

// someCommands sends commands of several kinds without waiting, then waits for all; what they come to does not matter here.
func (s *site) someCommands(random *rand.Rand, jwt string, round int) {
	s.t.Helper()
	var waits []<-chan outcome
	for i := range 10 + random.IntN(60) {
		id := fmt.Sprintf("s-%d-%d", round, i-random.IntN(3))
		var r writer.Request
		switch random.IntN(4) {
		case 0:
			r = change(jwt, id, user(fmt.Sprint("u", random.IntN(6)), fmt.Sprintf("%c@x", 'a'+random.IntN(4))))
		case 1:
			r = change(jwt, id, opened("W"))
		case 2:
			r = change(jwt, id, crp(jwt, id, "A", "1").Command.Changes[0], crp(jwt, id, "B", "2").Command.Changes[0])
		default:
			r = crp(jwt, id, fmt.Sprint("p", random.IntN(9)), "1")
		}
		waits = append(waits, s.send(r))
	}
	for _, w := range waits {
		s.wait(w)
	}
}

// afterwards leaves the writer running, restarts it, loses states, or puts states of an earlier time in their place.
func (s *site) afterwards(random *rand.Rand, what int) {
	s.t.Helper()
	if what == 0 {
		return
	}
	earlier := s.copyRunning()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	if what == 2 {
		if err := os.RemoveAll(s.dir); err != nil {
			s.t.Fatal(err)
		}
	}
	s.start()
	if what < 3 {
		return
	}
	s.someCommands(random, s.token(50), 1000+random.IntN(1000))
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(s.dir), os.CopyFS(s.dir, os.DirFS(earlier))); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

// copyRunning copies the states while the writer may be writing them, as a kill would leave them.
func (s *site) copyRunning() string {
	s.t.Helper()
	for {
		to := filepath.Join(s.t.TempDir(), "copy")
		err := os.CopyFS(to, os.DirFS(s.dir))
		if err == nil {
			return to
		}
		if !errors.Is(err, fs.ErrNotExist) { // a file was merged into another one meanwhile
			s.t.Fatal(err)
		}
	}
}

// A state folder that is older, of another site, cut or flipped in one byte, or that holds anything else, never gives a wrong answer: the state is that of the log afterwards.
func TestNoStateFolderIsBelieved(t *testing.T) {
	tests := map[string]func(t *testing.T, dir, older, other string){
		"older":           func(t *testing.T, dir, older, _ string) { replaceDir(t, dir, older) },
		"of another site": func(t *testing.T, dir, _, other string) { replaceDir(t, dir, other) },
		"of another log":  func(t *testing.T, dir, _, _ string) { replaceDir(t, dir, filepath.Join(filepath.Dir(dir), "eventful")) },
		"of both times":   func(t *testing.T, dir, older, _ string) { mixDirs(t, dir, older) },
		"cut": func(t *testing.T, dir, _, _ string) {
			changeFiles(t, dir, func(b []byte) []byte { return b[:len(b)*2/3] })
		},
		"cut by a byte": func(t *testing.T, dir, _, _ string) {
			changeFiles(t, dir, func(b []byte) []byte { return b[:len(b)-1] })
		},
		"empty": func(t *testing.T, dir, _, _ string) { changeFiles(t, dir, func([]byte) []byte { return nil }) },
		"flipped in front": func(t *testing.T, dir, _, _ string) {
			changeFiles(t, dir, func(b []byte) []byte { b[0] ^= 1; return b })
		},
		"flipped in between": func(t *testing.T, dir, _, _ string) {
			changeFiles(t, dir, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		},
		"flipped at the end": func(t *testing.T, dir, _, _ string) {
			changeFiles(t, dir, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, elsewhere := newSite(t, eventlog.NewMemory()), newSite(t, eventlog.NewMemory())
			elsewhere.must(crp(elsewhere.token(9), "", "A", "1"))
			older := filepath.Join(t.TempDir(), "older")
			jwt := s.token(100)
			s.must(crp(jwt, "first", "A", "1"))
			if err := errors.Join(s.stop(), os.CopyFS(older, os.DirFS(s.stateDir("patient")))); err != nil {
				t.Fatal(err)
			}
			s.start()
			s.must(crp(jwt, "second", "A", "2"))
			if err := errors.Join(s.stop(), elsewhere.stop()); err != nil {
				t.Fatal(err)
			}
			spoil(t, s.stateDir("patient"), older, elsewhere.stateDir("patient"))
			s.start()
			for _, id := range []string{"first", "second"} {
				value := map[string]string{"first": "1", "second": "2"}[id]
				if a := s.must(crp(jwt, id, "A", value)); !a.Repeated {
					t.Errorf("command %s was forgotten", id)
				}
				wantCode(t, s.do(crp(jwt, id, "A", "9")), problem.CommandIDReused)
			}
			s.must(expect(crp(jwt, "", "A", "3"), "2"))
			s.stateIsOfTheLog("patient", "eventful")
		})
	}
}

func replaceDir(t *testing.T, dir, by string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(by))); err != nil {
		t.Fatal(err)
	}
}

// mixDirs puts the manifest of another time beside the files of this one.
func mixDirs(t *testing.T, dir, older string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(older, "manifest"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "manifest"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// changeFiles changes every file of a state folder that is not empty.
func changeFiles(t *testing.T, dir string, change func([]byte) []byte) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil || len(raw) == 0 {
			return err
		}
		n++
		return os.WriteFile(path, change(bytes.Clone(raw)), 0o600)
	})
	if err != nil || n < 2 {
		t.Fatalf("%d files were changed: %v", n, err)
	}
}
