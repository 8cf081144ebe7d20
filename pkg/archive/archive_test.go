package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/archive/archivetest"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/eventlog/eventlogtest"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "Aurora-Borealis-1234567890"

func folder(t *testing.T) *archive.Folder {
	t.Helper()
	f, err := archive.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func key() []byte { return bytes.Repeat([]byte{7}, 32) }

func open(t *testing.T, cfg archive.Config) *archive.Archive {
	t.Helper()
	cfg.Site = verifytest.Site
	a, err := archive.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fixture is a log in memory with an archive.
type fixture struct {
	store   *eventlog.Memory
	log     eventlog.Log // the stream
	builder *verifytest.Builder
	objects *archivetest.Faulty
	folder  *archive.Folder
	cfg     archive.Config
}

func newFixture(t *testing.T, blocks int) *fixture {
	t.Helper()
	f := &fixture{folder: folder(t)}
	f.store, f.log, f.builder = verifytest.Memory(t, "patient")
	f.objects = archivetest.NewFaulty(f.folder)
	f.cfg = archive.Config{Objects: f.objects, Key: key(), SegmentBytes: 2000}
	f.write(blocks)
	return f
}

func (f *fixture) write(blocks int) {
	for i := range blocks {
		f.builder.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", fmt.Sprint(i%7)), Events: []verifytest.Event{
			{Type: "updated", Fields: []event.Field{verifytest.Text("name", canary), verifytest.Text("note", strings.Repeat("x", i%300))}}}})
	}
}

// extend archives a log up to a sequence.
func extend(ctx context.Context, a *archive.Archive, log eventlog.Log, upTo uint64) error {
	for {
		if _, done, err := a.Extend(ctx, log, upTo); err != nil || done {
			return err
		}
	}
}

// joined is the log with what an archive opened anew has of it.
func (f *fixture) joined(t *testing.T) eventlog.Log {
	t.Helper()
	l, err := archive.Join(f.store, open(t, f.cfg)).Open(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantVerified(t *testing.T, log eventlog.Log, blocks uint64) {
	t.Helper()
	r, err := verify.All(t.Context(), log, nil)
	if err != nil || len(r.Damage)+len(r.Failed)+len(r.Void) > 0 || r.Blocks != blocks {
		t.Fatalf("verify: got %d blocks, %v, %v, %v, want %d and nothing wrong", r.Blocks, r.Damage, r.Failed, err, blocks)
	}
}

func TestFolderConforms(t *testing.T) {
	archivetest.Run(t, func(t *testing.T) archive.Objects { return folder(t) })
}

func TestJoinedConforms(t *testing.T) {
	eventlogtest.Run(t, func(t *testing.T) eventlog.Store {
		return archive.Join(eventlog.NewMemory(), open(t, archive.Config{Objects: folder(t), Key: key()}))
	})
}

// Whatever was purged, a joined log reads as the whole one did.
func TestReadersGoOnOverTheCut(t *testing.T) {
	for _, plain := range []bool{false, true} {
		f := newFixture(t, 300)
		f.cfg.Plain = plain
		before := verifytest.Messages(t, f.log)
		if err := extend(t.Context(), open(t, f.cfg), f.log, 250); err != nil {
			t.Fatal(err)
		}
		for _, cut := range []uint64{1, 99, 249, 250} {
			f.store.Purge("patient", cut)
			l := f.joined(t)
			wantVerified(t, l, 300)
			for _, after := range []uint64{0, 1, cut - 1, cut, cut + 1, 299} {
				wantFollowed(t, l, after, before)
			}
			for i, want := range before {
				if m, err := l.Get(t.Context(), uint64(i+1)); err != nil || !bytes.Equal(m.Data, want) {
					t.Fatalf("Get(%d): got %.20q, %v", i+1, m.Data, err)
				}
			}
		}
	}
}

func wantFollowed(t *testing.T, l eventlog.Log, after uint64, want [][]byte) {
	t.Helper()
	c, err := l.Follow(t.Context(), after)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	for i := after; i < uint64(len(want)); i++ {
		if m, err := c.Next(t.Context()); err != nil || m.Sequence != i+1 || !bytes.Equal(m.Data, want[i]) {
			t.Fatalf("behind %d, message %d: got %d, %v", after, i+1, m.Sequence, err)
		}
	}
}

// The stream is purged under a cursor that reads it, and that lags: it goes on from the archive.
func TestPurgedWhileItIsRead(t *testing.T) {
	f := newFixture(t, 100)
	before := verifytest.Messages(t, f.log)
	l := f.joined(t)
	c, err := l.Follow(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	a := open(t, f.cfg)
	for i := range uint64(100) {
		if i%10 == 3 {
			if err := extend(t.Context(), a, l, min(i+20, 95)); err != nil {
				t.Fatal(err)
			}
			f.store.Purge("patient", min(i+20, 95))
		}
		if m, err := c.Next(t.Context()); err != nil || m.Sequence != i+1 || !bytes.Equal(m.Data, before[i]) {
			t.Fatalf("message %d: got %d, %v", i+1, m.Sequence, err)
		}
	}
}

// A gap that the archive does not fill is seen as one.
func TestAGapStaysAGap(t *testing.T) {
	f := newFixture(t, 60)
	if err := extend(t.Context(), open(t, f.cfg), f.log, 20); err != nil {
		t.Fatal(err)
	}
	f.store.Purge("patient", 50)
	archived, err := open(t, f.cfg).Last(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	l := f.joined(t)
	if first, last, err := l.Bounds(t.Context()); first != 51 || last != 60 || err != nil {
		t.Errorf("got bounds %d, %d, %v, want 51, 60", first, last, err)
	}
	r, err := verify.All(t.Context(), l, nil)
	if err != nil || len(r.Damage) != 1 || r.Damage[0].From != archived+1 || r.Damage[0].To != 50 {
		t.Errorf("got %v, %v, want messages %d to 50 missing", r.Damage, err, archived+1)
	}
	if _, err := l.Get(t.Context(), 50); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// Each step fails before and behind it, twice; what comes of it in the end is the whole log, once.
func TestExtendFailsAtEachStep(t *testing.T) {
	for _, step := range []string{"create", "replace", "read", "size"} {
		for _, behind := range []bool{false, true} {
			t.Run(fmt.Sprint(step, behind), func(t *testing.T) {
				f := newFixture(t, 120)
				failures := 0
				f.objects.SetFault(func(at, _ string) (before, after error) {
					if failures++; at != step || failures%2 == 0 || failures > 9 {
						return nil, nil
					}
					err := errors.New("fault of the test")
					if behind {
						return nil, err
					}
					return err, nil
				})
				tries := 0
				for extend(t.Context(), open(t, f.cfg), f.log, 120) != nil {
					if tries++; tries > 20 {
						t.Fatal("it never went through")
					}
				}
				f.objects.SetFault(nil)
				if err := open(t, f.cfg).Compare(t.Context(), f.log, 1, 120); err != nil {
					archived := open(t, f.cfg)
					last, _ := archived.Last(t.Context(), "patient")
					t.Fatalf("archived up to %d: %v", last, err)
				}
				f.store.Purge("patient", 120)
				wantVerified(t, f.joined(t), 120)
			})
		}
	}
}

func TestTwoArchiversAgree(t *testing.T) {
	f := newFixture(t, 200)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := extend(t.Context(), open(t, f.cfg), f.log, 200); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	f.store.Purge("patient", 200)
	wantVerified(t, f.joined(t), 200)
}

// Without its manifest, or with one that lies, an archive is the same.
func TestTheManifestIsNotTrusted(t *testing.T) {
	f := newFixture(t, 100)
	if err := extend(t.Context(), open(t, f.cfg), f.log, 100); err != nil {
		t.Fatal(err)
	}
	f.store.Purge("patient", 100)
	for _, text := range []string{"", "{", `{"v":1}`, `{"v":1,"site":"test-site","log":"patient","segments":[{"first":2,"last":3,"digest":"00"}]}`} {
		if err := f.objects.Replace(t.Context(), "test-site/patient/manifest.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
		wantVerified(t, f.joined(t), 100)
	}
	if err := f.objects.Replace(t.Context(), "test-site/patient/manifest.json", []byte(`{"v":2}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, f.cfg).Last(t.Context(), "patient"); !errors.Is(err, archive.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

// files are the segments of a folder.
func segments(t *testing.T, f *fixture) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.folder.String(), "*", "*", "segments", "*.evs"))
	if err != nil || len(files) == 0 {
		t.Fatalf("got segments %q, %v", files, err)
	}
	return files
}

// Each byte of a segment is changed in turn: it is named, or (nothing hashes it) the content is what it was.
func TestEveryChangedByteIsFound(t *testing.T) {
	f := newFixture(t, 12)
	want := verifytest.Messages(t, f.log)
	if err := extend(t.Context(), open(t, f.cfg), f.log, 12); err != nil {
		t.Fatal(err)
	}
	f.store.Purge("patient", 12)
	f.write(1)
	path := segments(t, f)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f.wantNamed(t, fmt.Sprintf("byte %d of %d", i, len(good)), filepath.Base(path), want)
	}
	r, err := verify.All(t.Context(), f.joined(t), nil)
	if err != nil || len(r.Damage) == 0 || r.Damage[0].Verdict != verify.Unreadable || r.Damage[0].From != 1 || !r.Damage[0].Elsewhere { // its end was changed last
		t.Errorf("verify: got %v, %v, want messages from 1 on named", r.Damage, err)
	}
	for _, cut := range []int{0, 1, 40, len(good) / 2, len(good) - 1} {
		if err := os.WriteFile(path, good[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.joined(t).Get(t.Context(), 2); !isUnreadable(err) {
			t.Errorf("cut at %d: got %v, want it named", cut, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, f.joined(t), 13)
}

func isUnreadable(err error) bool {
	var u *eventlog.UnreadableError
	return errors.As(err, &u)
}

// wantNamed holds that each message comes as it was, or not at all with the segment named; at least one does not come.
func (f *fixture) wantNamed(t *testing.T, what, segment string, want [][]byte) {
	t.Helper()
	l, named := f.joined(t), 0
	for i := range want {
		m, err := l.Get(t.Context(), uint64(i+1))
		switch {
		case isUnreadable(err) && strings.Contains(err.Error(), segment):
			named++
		case err != nil || !bytes.Equal(m.Data, want[i]):
			t.Fatalf("%s, message %d: got %.30q, %v, want it as it was, or the segment named", what, i+1, m.Data, err)
		}
	}
	if named == 0 {
		t.Fatalf("%s was not found", what)
	}
}

// A place that cannot be reached is no damage: readers are told to try again.
func TestAnArchiveThatIsAway(t *testing.T) {
	f := newFixture(t, 50)
	if err := extend(t.Context(), open(t, f.cfg), f.log, 40); err != nil {
		t.Fatal(err)
	}
	f.store.Purge("patient", 40)
	l := f.joined(t)
	f.objects.SetFault(func(string, string) (error, error) { return errors.New("500 Internal Server Error"), nil })
	if _, err := l.Get(t.Context(), 3); !errors.Is(err, eventlog.ErrUnavailable) || isUnreadable(err) {
		t.Errorf("Get: got %v, want ErrUnavailable", err)
	}
	if _, err := verify.All(t.Context(), l, nil); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("verify: got %v, want ErrUnavailable", err)
	}
	if _, last, err := l.Bounds(t.Context()); err != nil || last != 50 {
		t.Errorf("Bounds: got %d, %v, want 50", last, err)
	}
	if m, err := l.Get(t.Context(), 45); err != nil || m.Sequence != 45 {
		t.Errorf("what the stream has: got %d, %v", m.Sequence, err)
	}
	f.objects.SetFault(nil)
	wantVerified(t, l, 50)
}

func TestNothingBehindDamageIsArchived(t *testing.T) {
	f := newFixture(t, 30)
	f.builder.Damage([]byte("no block"))
	f.builder.Damage([]byte("no block either"))
	a := open(t, f.cfg)
	if err := extend(t.Context(), a, f.log, 32); !errors.Is(err, archive.ErrLogDamaged) {
		t.Fatalf("got %v, want ErrLogDamaged", err)
	}
	if last, err := a.Last(t.Context(), "patient"); last != 30 || err != nil {
		t.Errorf("got %d, %v archived, want 30", last, err)
	}
}

func TestVoidBlocksAreKept(t *testing.T) {
	f := newFixture(t, 10)
	f.builder.Void(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "9"), Events: []verifytest.Event{{Type: "updated"}}})
	f.write(10)
	want := verifytest.Messages(t, f.log)
	a := open(t, f.cfg)
	for _, upTo := range []uint64{11, 21} { // a segment ends with the void block
		if err := extend(t.Context(), a, f.log, upTo); err != nil {
			t.Fatal(err)
		}
	}
	f.store.Purge("patient", 21)
	wantFollowed(t, f.joined(t), 0, want)
}

func TestCompareNamesWhatDiffers(t *testing.T) {
	f := newFixture(t, 40)
	a := open(t, f.cfg)
	if err := extend(t.Context(), a, f.log, 40); err != nil {
		t.Fatal(err)
	}
	if err := a.Compare(t.Context(), f.log, 1, 40); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Tamper("patient", 17, []byte("other")); err != nil {
		t.Fatal(err)
	}
	if err := a.Compare(t.Context(), f.log, 1, 40); !errors.Is(err, archive.ErrDiffers) || !strings.Contains(err.Error(), "sequence 17") {
		t.Errorf("got %v, want sequence 17 named", err)
	}
	f.write(5)
	if err := a.Compare(t.Context(), f.log, 30, 45); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("behind the archive's end: got %v, want ErrNotFound", err)
	}
}

func TestSegmentsAreEncrypted(t *testing.T) {
	f := newFixture(t, 30)
	if err := extend(t.Context(), open(t, f.cfg), f.log, 30); err != nil {
		t.Fatal(err)
	}
	f.store.Purge("patient", 30)
	cfg := f.cfg
	cfg.Key = bytes.Repeat([]byte{8}, 32)
	if _, err := open(t, cfg).Get(t.Context(), "patient", 1); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("another key: got %v, want ErrDamaged", err)
	}
	cfg.Key = nil
	if _, err := open(t, cfg).Get(t.Context(), "patient", 1); !errors.Is(err, archive.ErrSealed) {
		t.Errorf("no key: got %v, want ErrSealed", err)
	}
}
