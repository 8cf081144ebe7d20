package archive_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// record has the log say that it was archived up to a cut.
func (f *fixture) record(cut uint64, state string) {
	f.builder.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("eventful-archive", "patient"), Events: []verifytest.Event{
		{Type: "log-archived", Fields: []event.Field{verifytest.Text("cut", strconv.FormatUint(cut, 10)), verifytest.Text("state", state)}}}})
}

// purged is a log of 50 blocks with a record, whose first 40 are in the archive alone.
func purged(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, 50)
	if err := extend(t.Context(), open(t, f.cfg), f.log, 40); err != nil {
		t.Fatal(err)
	}
	f.record(40, "50-state")
	f.store.Purge("patient", 40)
	f.write(5)
	return f
}

// unmount takes the place away, as a file system that is not mounted, and gives what puts it back.
func (f *fixture) unmount(t *testing.T) (back func()) {
	t.Helper()
	dir := f.folder.String()
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
	}
}

func wantAway(t *testing.T, what string, err error, place string) {
	t.Helper()
	if !errors.Is(err, eventlog.ErrAway) || !errors.Is(err, eventlog.ErrUnavailable) || isUnreadable(err) || !strings.Contains(err.Error(), place) {
		t.Errorf("%s: got %v, want ErrAway with the place %s", what, err, place)
	}
}

// A place that is not mounted, is empty, or lost a segment that the log names is away, and no damage: for who saw it before, and for who never did. Once it is back, reading goes on.
func TestAPlaceThatIsNotThereIsAway(t *testing.T) {
	lose := map[string]func(t *testing.T, f *fixture) (back func()){
		"not mounted": func(t *testing.T, f *fixture) func() { return f.unmount(t) },
		"empty": func(t *testing.T, f *fixture) func() {
			back := f.unmount(t)
			if err := os.Mkdir(f.folder.String(), 0o700); err != nil {
				t.Fatal(err)
			}
			return back
		},
		"a segment": func(t *testing.T, f *fixture) func() {
			path := segments(t, f)[0]
			if err := os.Rename(path, path+".away"); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := os.Rename(path+".away", path); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	for name, away := range lose {
		for _, seen := range []bool{true, false} {
			t.Run(name+", seen "+strconv.FormatBool(seen), func(t *testing.T) {
				f := purged(t)
				l := f.joined(t)
				if seen {
					wantVerified(t, l, 56)
					l = f.cold(t) // as the one before, with nothing in memory
				}
				back := away(t, f)
				_, err := l.Get(t.Context(), 3)
				wantAway(t, "Get", err, f.folder.String())
				_, err = verify.All(t.Context(), l, nil)
				wantAway(t, "verify", err, f.folder.String())
				if m, err := l.Get(t.Context(), 45); err != nil || m.Sequence != 45 {
					t.Errorf("what the stream has: got %d, %v", m.Sequence, err)
				}
				back()
				wantVerified(t, l, 56)
			})
		}
	}
}

// cold is joined, of an archive that knows its segments and has opened none.
func (f *fixture) cold(t *testing.T) eventlog.Log {
	t.Helper()
	l := f.joined(t)
	if _, _, err := l.Bounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// What no record of the log names is missing, as ever: that an archive is short is no excuse for it.
func TestWhatWasNeverArchivedIsMissing(t *testing.T) {
	f := purged(t)
	f.store.Purge("patient", 45)
	r, err := verify.All(t.Context(), f.joined(t), nil)
	if err != nil || len(r.Damage) == 0 || r.Damage[0].From != 41 || r.Damage[0].To != 45 {
		t.Errorf("got %v, %v, want messages 41 to 45 missing", r.Damage, err)
	}
	f.store.Purge("patient", 51) // the record too
	defer f.unmount(t)()
	if _, err := f.joined(t).Get(t.Context(), 3); !errors.Is(err, eventlog.ErrNotFound) || errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("without a record: got %v, want ErrNotFound", err)
	}
}

// archiver archives the log of a fixture; purging is counted, and done.
func (f *fixture) archiver(a *archive.Archive, purges *int) *archive.Archiver {
	return archive.NewArchiver(archive.ArchiverConfig{
		Archive: a, Logs: f.store,
		Passed: func(context.Context, string) (uint64, error) { return 1 << 60, nil },
		Purge: func(_ context.Context, log string, upTo uint64) error {
			*purges++
			f.store.Purge(log, upTo)
			return nil
		},
	})
}

func keepNothing(context.Context, string, uint64, event.Hash) (eventlog.KeptSnapshot, error) {
	return eventlog.KeptSnapshot{}, errors.New("the writer was asked for its state")
}

// An archiver whose place does not have what was archived writes nothing there and purges nothing, whether it saw the place before or not.
func TestNothingIsArchivedIntoAnotherPlace(t *testing.T) {
	for _, seen := range []bool{true, false} {
		for _, empty := range []bool{true, false} {
			f := purged(t)
			a, purges := open(t, f.cfg), 0
			if seen {
				if _, err := a.Get(t.Context(), "patient", 40); err != nil {
					t.Fatal(err)
				}
			}
			back := f.unmount(t)
			if empty {
				if err := os.Mkdir(f.folder.String(), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, log := range []string{"patient", "ward"} { // ward was never archived: the place is not this site's all the same
				if log == "ward" {
					if _, err := f.store.Create(t.Context(), log); err != nil {
						t.Fatal(err)
					}
				}
				_, err := f.archiver(a, &purges).Archive(t.Context(), log, 0, keepNothing)
				wantAway(t, log, err, f.folder.String())
			}
			if left, err := os.ReadDir(f.folder.String()); len(left) > 0 || purges > 0 {
				t.Errorf("seen %v: got %v in the place, %v, and %d purges, want none", seen, left, err, purges)
			}
			back()
			if _, err := f.archiver(a, &purges).Archive(t.Context(), "patient", 0, keepNothing); err == nil || !strings.Contains(err.Error(), "was asked for its state") {
				t.Errorf("the place is back: got %v, want it to go on", err)
			}
		}
	}
}

// The place goes away in the middle: between two segments, and before the purge.
func TestAPlaceThatGoesAwayInTheMiddle(t *testing.T) {
	f := purged(t)
	a := open(t, f.cfg)
	if _, _, err := a.Extend(t.Context(), f.log, 45); err != nil {
		t.Fatal(err)
	}
	defer f.unmount(t)()
	_, _, err := a.Extend(t.Context(), f.log, 56)
	wantAway(t, "Extend", err, f.folder.String())
	if _, err := os.Stat(f.folder.String()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want no place made anew", err)
	}
}

// A record whose cut was never purged, and a place that has nothing of the log: only the one that the record names is gone on with.
func TestARecordNamesItsPlace(t *testing.T) {
	f := newFixture(t, 50)
	f.record(40, "50-state")
	purges := 0
	_, err := f.archiver(open(t, f.cfg), &purges).Archive(t.Context(), "patient", 0, keepNothing)
	wantAway(t, "another place", err, f.folder.String())
	if err := f.objects.Create(t.Context(), "test-site/patient/states/50-state/index", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.archiver(open(t, f.cfg), &purges).Archive(t.Context(), "patient", 0, keepNothing); err == nil || !strings.Contains(err.Error(), "was asked for its state") {
		t.Errorf("the place of the record: got %v, want it to go on", err)
	}
}
