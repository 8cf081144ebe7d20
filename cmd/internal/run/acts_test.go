package run_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// ledger is a system log that does what the test says; it stores an act once, as EnterConfig promises.
type ledger struct {
	fails func(writer.ConfigAct) *problem.Problem // nil: stored
	sent  []string
	acts  map[string]string
}

func (l *ledger) enter(_ context.Context, a writer.ConfigAct) *problem.Problem {
	l.sent = append(l.sent, a.Event)
	if l.fails != nil {
		if p := l.fails(a); p != nil {
			return p
		}
	}
	l.acts[a.ID] = a.Event + " " + a.Fields["proved"] + " " + a.Fields["settings"]
	return nil
}

// noting is a data folder with three acts in its key file.
func noting(t *testing.T) (string, *keyring.Keyring) {
	t.Helper()
	dir := t.TempDir()
	n := keyring.New{Site: "here", MasterKey: []byte("a master key of the test"), DEK: dek, Cost: keyring.Cost{Memory: 64, Time: 1, Threads: 1}, By: run.Me()}
	keys, _, err := n.Create(filepath.Join(dir, run.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := keys.Renew(keyring.Renewal{}, keyring.Renewal{Old: dek, New: dek}, run.Me()); err != nil {
			t.Fatal(err)
		}
	}
	return dir, keys
}

var threeActs = []string{"site-configured", "dek-replaced", "dek-replaced"}

// TestActsAreEnteredBehindAnyCrash ends the entering of acts behind each of its steps; the next process enters what is left, and each stands there once.
func TestActsAreEnteredBehindAnyCrash(t *testing.T) {
	for stored := range 4 {
		for _, noted := range []bool{true, false} {
			dir, keys := noting(t)
			l := &ledger{acts: map[string]string{}}
			n := 0
			l.fails = func(a writer.ConfigAct) *problem.Problem {
				if n++; n > stored {
					return problem.New(problem.Unavailable, "nobody answers")
				}
				return nil
			}
			err := run.NewActEntry(dir, keys, l.enter, zerolog.Nop()).Look(t.Context())
			if (err == nil) != (stored == 3) || len(l.acts) != stored || len(run.EnteredActs(dir)) != stored {
				t.Errorf("%d stored: got %v, %d acts, %d of them noted", stored, err, len(l.acts), len(run.EnteredActs(dir)))
			}
			if !noted && stored > 0 {
				if err := os.Remove(filepath.Join(dir, "acts-entered")); err != nil {
					t.Fatal(err)
				}
			}
			l.fails, l.sent = nil, nil
			again := run.NewActEntry(dir, keys, l.enter, zerolog.Nop())
			for range 3 {
				if err := again.Look(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(threeActs, l.sent); diff != "" || len(l.acts) != 3 || len(run.EnteredActs(dir)) != 3 {
				t.Errorf("%d stored: %d acts; sent again (-want +got):\n%s", stored, len(l.acts), diff)
			}
		}
	}
}

func TestPendingSettingsWaitForTheirFile(t *testing.T) {
	dir, keys := noting(t)
	l := &ledger{acts: map[string]string{}}
	e := run.NewActEntry(dir, keys, l.enter, zerolog.Nop())
	if err := keys.NoteSettings(run.Me(), map[string]string{"port": "1234"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	look := func(want ...string) {
		t.Helper()
		if err := e.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, l.sent); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
	}
	look(threeActs...)
	path := filepath.Join(dir, settings.File)
	if err := os.WriteFile(path, []byte("format = 1\nport = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	look(threeActs...)
	if err := os.WriteFile(path, []byte("format = 1\nport = 1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	look(append(threeActs, "settings-changed")...) // config was killed behind that
	if err := keys.SettleSettings(func(map[string]string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	look(append(threeActs, "settings-changed")...)
}

// TestActsThatCannotBeEntered: what is refused for good holds nothing up and is not taken for entered; a key file that is no longer whole, or another site's, enters nothing.
func TestActsThatCannotBeEntered(t *testing.T) {
	dir, keys := noting(t)
	l := &ledger{acts: map[string]string{}, fails: func(a writer.ConfigAct) *problem.Problem {
		if a.Event == "site-configured" {
			return problem.New(problem.Invalid, "it breaks a rule")
		}
		return nil
	}}
	var out bytes.Buffer
	e := run.NewActEntry(dir, keys, l.enter, zerolog.New(&out))
	path := filepath.Join(dir, run.KeyFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	otherDir, _ := noting(t)
	foreign, err := os.ReadFile(filepath.Join(otherDir, run.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"half": whole[:len(whole)/2], "empty": nil, "another site's": foreign} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := e.Look(t.Context()); err == nil || len(l.sent) > 0 {
			t.Errorf("%s: got %v, sent %q, want an error", name, err, l.sent)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	acts, err := keys.Acts()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := run.EnteredActs(dir), []string{acts[1].ID, acts[2].ID}; !slices.Equal(got, want) || !bytes.Contains(out.Bytes(), []byte("was refused by the system log")) {
		t.Errorf("got %q noted, want %q; log:\n%s", got, want, &out)
	}
	l.fails = nil
	for range 2 {
		e.SendAgain()
		if err := e.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(run.EnteredActs(dir)) != 3 || len(l.sent) != 4 {
		t.Errorf("got %q noted, sent %q: want what was refused sent once more, and entered", run.EnteredActs(dir), l.sent)
	}
	if err := os.WriteFile(filepath.Join(dir, "acts-entered"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := run.EnteredActs(dir); got != nil {
		t.Errorf("got %q of a note that is cut off, want none", got)
	}
}

// TestWhatWasEnteredIsNotTold: every start sends the acts again, in case the system log lost its end, and says so only of those that no start before entered.
func TestWhatWasEnteredIsNotTold(t *testing.T) {
	dir, keys := noting(t)
	l := &ledger{acts: map[string]string{}}
	for start, want := range []int{3, 0, 0} {
		var out bytes.Buffer
		if err := run.NewActEntry(dir, keys, l.enter, zerolog.New(&out)).Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Count(out.Bytes(), []byte("was entered")); got != want {
			t.Errorf("start %d: %d acts are told, want %d: %s", start, got, want, out.String())
		}
	}
}
