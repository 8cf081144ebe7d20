package writer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/archive/archivetest"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// archived is a site whose logs go on in an archive.
type archived struct {
	*site
	memory  *eventlog.Memory
	objects *archivetest.Faulty
	archive *archive.Archive
	purges  func(log string, upTo uint64) error // asked before a purge; its error behind it, if it gives one of the second kind
	said    strings.Builder
	jwt     string
}

// errBehind marks an error that comes when a purge is done.
var errBehind = errors.New("the answer was lost, says the test")

func newArchived(t *testing.T) *archived {
	t.Helper()
	folder, err := archive.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := &archived{memory: eventlog.NewMemory(), objects: archivetest.NewFaulty(folder)}
	a.purges = func(string, uint64) error { return nil }
	a.open(t)
	a.site = newSite(t, archive.Join(a.memory, a.archive))
	a.jwt = a.token(100_000)
	a.reopen()
	return a
}

func (a *archived) open(t *testing.T) {
	t.Helper()
	var err error
	if a.archive, err = archive.New(archive.Config{Objects: a.objects, Site: "here", Key: make([]byte, 32), SegmentBytes: 3000}); err != nil {
		t.Fatal(err)
	}
}

// reopen starts writer and archive anew, as another process would.
func (a *archived) reopen() {
	a.t.Helper()
	if err := a.stop(); err != nil {
		a.t.Fatal(err)
	}
	a.open(a.t.(*testing.T))
	a.store = archive.Join(a.memory, a.archive)
	a.cfg.Store, a.cfg.Snapshots, a.cfg.Log = a.store, a.archive, zerolog.New(&a.said)
	a.start()
}

// loseState is reopen without the writer's states.
func (a *archived) loseState() {
	a.t.Helper()
	if err := a.stop(); err != nil {
		a.t.Fatal(err)
	}
	if err := os.RemoveAll(a.dir); err != nil {
		a.t.Fatal(err)
	}
	a.said.Reset()
	a.reopen()
}

func (a *archived) write(n int) {
	a.t.Helper()
	for i := range n {
		a.must(crp(a.jwt, "", fmt.Sprint(i%9), fmt.Sprint(i)))
	}
}

// run archives a log up to its end.
func (a *archived) run(log string) (archive.Outcome, error) {
	r := archive.NewArchiver(archive.ArchiverConfig{
		Archive: a.archive, Logs: a.memory,
		Passed: func(context.Context, string) (uint64, error) { return 1 << 60, nil },
		Purge: func(_ context.Context, log string, upTo uint64) error {
			err := a.purges(log, upTo)
			if err == nil || errors.Is(err, errBehind) {
				a.memory.Purge(log, upTo)
			}
			return err
		},
	})
	ctx, cancel := context.WithTimeout(a.t.Context(), 3*time.Second)
	defer cancel()
	return r.Archive(ctx, log, 0, func(ctx context.Context, log string, cut uint64, segment event.Hash) (eventlog.KeptSnapshot, error) {
		return a.w.KeepState(ctx, log, a.adminToken(), writer.Cut{Sequence: cut, Segment: segment.String()})
	})
}

func (a *archived) mustRun(log string) archive.Outcome {
	a.t.Helper()
	o, err := a.run(log)
	if err != nil || !o.Done {
		a.t.Fatalf("archive %s: got %+v, %v, want it done", log, o, err)
	}
	return o
}

// A log is archived, its state is lost, and the writer goes on from what the archive has of it: the same state as one that is built from every block.
func TestAStateComesBackFromTheArchive(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	a.write(120)
	a.must(crp(a.jwt, "once", "A", "1"))
	if o := a.mustRun("patient"); o.First < 120 || o.Archived != o.First-1 {
		t.Errorf("got %+v, want all of it purged", o)
	}
	if first, _, err := open(t, a.memory, "patient").Bounds(t.Context()); first < 120 || err != nil {
		t.Fatalf("the stream begins at %d, %v", first, err)
	}
	a.write(10)
	a.mustRun("eventful")
	a.loseState()
	if n := strings.Count(a.said.String(), "state was taken over from the archive"); n != 2 {
		t.Errorf("got %d states from the archive, want 2:\n%s", n, a.said.String())
	}
	if again := a.must(crp(a.jwt, "once", "A", "1")); !again.Repeated {
		t.Error("a repeated command was stored again")
	}
	wantCode(t, a.do(crp(a.jwt, "once", "A", "2")), problem.CommandIDReused)
	a.write(10)
	a.cfg.Snapshots = nil // the other one is built from every block
	a.stateIsOfTheLog("patient", "eventful")
}

func open(t *testing.T, store eventlog.Store, name string) eventlog.Log {
	t.Helper()
	l, err := store.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What the record in the log does not name, what is another's, or what was changed, is not taken: the state is built from every block.
func TestAStateThatIsDoubtedIsNotTaken(t *testing.T) {
	t.Parallel()
	tests := map[string]func(a *archived){
		"another digest": func(a *archived) { a.manifest(`"digest":"`, `"digest":"00`) },
		"another record": func(a *archived) { a.manifest(`"record":"patient/`, `"record":"patient/1`) },
		"another key":    func(a *archived) { a.cfg.Key = []byte("another key for states, 32 bytes") },
		"a byte":         func(a *archived) { a.corrupt("/000000") },
		"the index":      func(a *archived) { a.corrupt("/index") },
		"other unique": func(a *archived) {
			a.migrate(strings.Replace(patientSchema, `{"max-length":20}`, `{"max-length":20,"unique":true}`, 1))
		},
		"parts lost": func(a *archived) { a.lose("/000000") },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newArchived(t)
			a.write(40)
			a.mustRun("patient")
			a.write(5)
			spoil(a)
			a.loseState()
			if strings.Contains(a.said.String(), "was taken over from the archive") {
				t.Errorf("it was taken:\n%s", a.said.String())
			}
			a.cfg.Snapshots = nil
			a.stateIsOfTheLog("patient")
		})
	}
}

func (a *archived) names(suffix string) (names []string) {
	a.t.Helper()
	all, err := a.objects.List(a.t.Context(), "here/patient/states/")
	if err != nil {
		a.t.Fatal(err)
	}
	for _, name := range all {
		if strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		a.t.Fatalf("no object ends with %s: %q", suffix, all)
	}
	return names
}

func (a *archived) replace(name string, change func([]byte) []byte) {
	a.t.Helper()
	size, err := a.objects.Size(a.t.Context(), name)
	if err != nil {
		a.t.Fatal(err)
	}
	data, err := a.objects.Read(a.t.Context(), name, 0, size)
	if err == nil {
		err = a.objects.Replace(a.t.Context(), name, change(data))
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *archived) corrupt(suffix string) {
	for _, name := range a.names(suffix) {
		a.replace(name, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	}
}

func (a *archived) lose(suffix string) {
	for _, name := range a.names(suffix) {
		if err := a.objects.Remove(a.t.Context(), name); err != nil {
			a.t.Fatal(err)
		}
	}
}

// manifest changes what the manifest says of states.
func (a *archived) manifest(old, next string) {
	a.replace("here/patient/manifest.json", func(b []byte) []byte {
		at := strings.Index(string(b), `"states"`)
		out := string(b[:at]) + strings.Replace(string(b[at:]), old, next, 1)
		if out == string(b) {
			a.t.Fatalf("%s stands not in %s", old, b)
		}
		return []byte(out)
	})
}

// Every side effect of archiving fails twice, not done and done with the answer lost; then the process ends. The next one goes on: nothing is lost, nothing stands twice.
func TestArchivingFailsEachWay(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"segments/", "manifest", "states/", "index", "record", "act", "purge"} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, done %v", step, done), func(t *testing.T) {
				t.Parallel()
				a := newArchived(t)
				a.write(60)
				_, last := ended(t, a.store, "patient")
				a.fail(step, done)
				if o, err := a.run("patient"); err == nil && (step == "segments/" || step == "manifest" || step == "purge") { // the others are tried again at once
					t.Errorf("got %+v, want the failure", o)
				}
				a.objects.SetFault(nil)
				a.memory.SetFault(nil)
				a.reopen()
				a.fail(step, !done)
				_, _ = a.run("patient") // what it leaves is what counts
				a.objects.SetFault(nil)
				a.memory.SetFault(nil)
				a.purges = func(string, uint64) error { return nil }
				a.loseState()
				a.mustRun("patient")
				if first, _, err := open(t, a.memory, "patient").Bounds(t.Context()); first <= last || err != nil {
					t.Errorf("the stream begins at %d, %v, want all of the first %d blocks purged", first, err, last)
				}
				a.write(3)
				a.wantOnce("patient", 63)
				a.wantActs()
				a.cfg.Snapshots = nil
				a.stateIsOfTheLog("patient")
			})
		}
	}
}

// fail makes one step fail once.
func (a *archived) fail(step string, done bool) {
	failed := false
	told := errors.New("it failed, says the test")
	a.objects.SetFault(func(at, name string) (before, after error) {
		if failed || at != "create" && at != "replace" || !strings.Contains(name, step) || step == "states/" && strings.HasSuffix(name, "index") {
			return nil, nil
		}
		if failed = true; done {
			return nil, told
		}
		return told, nil
	})
	a.purges = func(string, uint64) error {
		switch {
		case failed || step != "purge":
			return nil
		case done:
			failed = true
			return errBehind
		}
		failed = true
		return told
	}
	stored, ofLog := map[string]string{"record": "log-archived", "act": "events-archived"}[step]
	if !ofLog {
		return
	}
	a.memory.SetFault(func(log string, _ uint64, data []byte) eventlog.Fault {
		if failed || !strings.Contains(string(data), stored) {
			return eventlog.None
		}
		if failed = true; done {
			return eventlog.LoseAfter
		}
		return eventlog.LoseBefore
	})
}

// wantActs holds that each cut is recorded in the system log, once at most, and the newest one, by which the log was purged, is.
func (a *archived) wantActs() {
	a.t.Helper()
	acts, newest := map[string]int{}, ""
	for _, c := range a.commits("eventful") {
		if c.Aggregate.Type == schema.SystemArchiveAct {
			acts[c.Aggregate.ID]++
		}
	}
	for _, c := range a.commits("patient") {
		if c.Aggregate.Type == schema.SystemArchive {
			newest = "patient/" + a.field(c, "cut")
		}
	}
	for id, n := range acts {
		if n != 1 {
			a.t.Errorf("got %d acts of %s, want 1", n, id)
		}
	}
	if acts[newest] != 1 {
		a.t.Errorf("got acts %v, want one of %s", acts, newest)
	}
}

func (a *archived) field(c *event.Commit, name string) string {
	fields, err := event.DecodePayload(c.Events[0].Payload)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// wantOnce holds that a log has that many commands of users, each once.
func (a *archived) wantOnce(log string, commands int) {
	a.t.Helper()
	got := map[string]int{}
	for _, c := range a.commits(log) {
		if !event.IsReserved(c.Aggregate.Type) {
			got[c.CommandID]++
		}
	}
	want := map[string]int{}
	for id := range got {
		want[id] = 1
	}
	if d := cmp.Diff(want, got); d != "" || len(got) != commands {
		a.t.Errorf("got %d commands, want %d, each once (-want +got):\n%s", len(got), commands, d)
	}
}

// What differs from the stream, or cannot be read back, is named, and nothing is purged.
func TestNothingIsPurgedThatIsNotInTheArchive(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	a.write(40)
	a.purges = func(string, uint64) error { return errors.New("not yet, says the test") }
	if _, err := a.run("patient"); err == nil {
		t.Fatal("got no error of the purge")
	}
	a.purges = func(string, uint64) error { return nil }
	all, err := a.objects.List(t.Context(), "here/patient/segments/")
	if err != nil || len(all) < 2 { // there is something behind the one that is spoilt
		t.Fatalf("got segments %q, %v", all, err)
	}
	a.replace(all[0], func(b []byte) []byte { b[200] ^= 1; return b })
	a.reopen()
	if o, err := a.run("patient"); err == nil || !strings.Contains(err.Error(), all[0]) || o.First != 1 {
		t.Errorf("got %+v, %v, want the segment named and nothing purged", o, err)
	}
	a.replace(all[0], func(b []byte) []byte { b[200] ^= 1; return b })
	a.mustRun("patient")
}

// An archived log that nothing was written to is left alone: the record of its cut is not archived by a segment of its own, for ever.
func TestAnIdleLogIsNotArchivedAgain(t *testing.T) {
	t.Parallel()
	a := newArchived(t)
	a.write(10)
	a.mustRun("patient")
	_, last := ended(t, a.store, "patient")
	for range 3 {
		a.mustRun("patient")
	}
	if _, now := ended(t, a.store, "patient"); now != last {
		t.Errorf("the log went from %d to %d blocks", last, now)
	}
	a.write(1)
	a.mustRun("patient")
	records := 0
	for _, c := range a.commits("patient") {
		if c.Aggregate.Type == schema.SystemArchive {
			records++
		}
	}
	if records != 2 {
		t.Errorf("got %d records, want 2", records)
	}
	a.wantActs()
}
