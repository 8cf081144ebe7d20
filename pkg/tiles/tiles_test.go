package tiles_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/tiles"
)

func key() *logtree.Key { return logtree.NewKey("main", [32]byte{7}) }

// entry is that of an event by somebody.
func entry(i int, actor string) []byte {
	c := &event.Commit{Site: "main", CommandID: fmt.Sprint("c-", i), Aggregate: event.AggregateID{Type: "patient", ID: fmt.Sprint("P", i%100)}, First: event.Version(i/100 + 1), Actor: actor,
		TokenID: "t", Issuer: "i", Transaction: event.Transaction{Count: 1}, Time: event.Time(i + 1), Events: []event.Event{{Type: "crp", Payload: []byte{0}}}}
	return c.AppendEntry(nil, 0)
}

// log is what a server has: entries, and a checkpoint of the first so many.
type log struct {
	entries [][]byte
	fail    func(from uint64) error
}

func newLog(n int) *log {
	l := &log{}
	l.grow(n)
	return l
}

func (l *log) grow(n int) {
	for i := len(l.entries); i < n; i++ {
		l.entries = append(l.entries, entry(i, "user:ada"))
	}
}

func (l *log) source(_ context.Context, from, to uint64) ([][]byte, error) {
	if l.fail != nil {
		if err := l.fail(from); err != nil {
			return nil, err
		}
	}
	return l.entries[from:min(to, from+100)], nil
}

func (l *log) signed(t testing.TB, size int) (text []byte, c logtree.Checkpoint) {
	t.Helper()
	var tree event.Tree
	for _, e := range l.entries[:size] {
		tree = tree.Append(event.EntryLeaf(e))
	}
	text, err := key().Sign("patient", tree.Size(), tree.Root())
	if err != nil {
		t.Fatal(err)
	}
	return text, logtree.Checkpoint{Origin: key().Origin("patient"), Size: tree.Size(), Root: tree.Root()}
}

func (l *log) export(t testing.TB, dir string, size int) error {
	t.Helper()
	text, c := l.signed(t, size)
	_, err := tiles.Export{Dir: dir, Note: text, Checkpoint: c, Entries: l.source}.Run(context.Background())
	return err
}

func open(signed []byte) (logtree.Checkpoint, error) {
	return logtree.Open(signed, key().VKey("patient"))
}

func check(dir string, older ...logtree.Checkpoint) error {
	_, err := tiles.Check(context.Background(), dir, open, older...)
	return err
}

// checkOutside has tessera's fsck, which shares nothing with this repository, judge a folder.
func checkOutside(t *testing.T, dir string) error {
	t.Helper()
	v, err := note.NewVerifier(key().VKey("patient"))
	if err != nil {
		t.Fatal(err)
	}
	hash := func(bundle []byte) (out [][]byte, err error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		for _, e := range b.Entries {
			h := event.EntryLeaf(e)
			out = append(out, h[:])
		}
		return out, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return fsck.New(key().Origin("patient"), v, client.FileFetcher{Root: dir}, hash, fsck.Opts{N: 2}).Check(ctx)
}

// TestExport: an export that grows step by step is the same as one made at once, and both checkers accept every step.
func TestExport(t *testing.T) {
	dir := t.TempDir()
	l := newLog(70_000)
	for _, size := range []int{1, 2, 255, 256, 257, 512, 1000, 65_535, 65_536, 66_000, 70_000} {
		if err := l.export(t, dir, size); err != nil {
			t.Fatalf("export of %d: %v", size, err)
		}
		if size > 1000 && size < 66_000 {
			continue // the two checkers read everything each time
		}
		if err := check(dir); err != nil {
			t.Errorf("check of %d: %v", size, err)
		}
		if err := checkOutside(t, dir); err != nil {
			t.Errorf("fsck of %d: %v", size, err)
		}
	}
	once := t.TempDir()
	if err := l.export(t, once, 70_000); err != nil {
		t.Fatal(err)
	}
	if a, b := listing(t, dir), listing(t, once); a != b {
		t.Errorf("step by step and at once differ:\n%s\n%s", a, b)
	}
}

// listing is every file of a folder with its bytes, in order.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %x\n", strings.TrimPrefix(path, dir), content[:min(len(content), 64)])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestExportIsCutShort: cut short anywhere, an export leaves what its checkpoint describes, and goes on.
func TestExportIsCutShort(t *testing.T) {
	cut := errors.New("cut")
	for _, at := range []uint64{256, 512, 600, 768} {
		dir := t.TempDir()
		l := newLog(1000)
		if err := l.export(t, dir, 300); err != nil {
			t.Fatal(err)
		}
		l.fail = func(from uint64) error {
			if from >= at {
				return cut
			}
			return nil
		}
		if err := l.export(t, dir, 1000); !errors.Is(err, cut) {
			t.Fatalf("got %v, want it cut", err)
		}
		if err := check(dir); err != nil {
			t.Errorf("cut at %d: %v", at, err)
		}
		l.fail = nil
		if err := l.export(t, dir, 1000); err != nil {
			t.Errorf("cut at %d, and again: %v", at, err)
		}
		if err := check(dir); err != nil {
			t.Errorf("cut at %d, and again: %v", at, err)
		}
	}
}

// TestRewritten: a log that does not hold what was exported is named, by the next export and against an older checkpoint.
func TestRewritten(t *testing.T) {
	l := newLog(900)
	_, old := l.signed(t, 600)
	dir := t.TempDir()
	if err := l.export(t, dir, 600); err != nil {
		t.Fatal(err)
	}
	for _, place := range []int{0, 300, 599} {
		other := newLog(900)
		other.entries[place] = entry(place, "user:eve")
		if err := other.export(t, dir, 900); !errors.Is(err, tiles.ErrForked) {
			t.Errorf("entry %d rewritten: got %v, want ErrForked", place, err)
		}
		fresh := t.TempDir()
		if err := other.export(t, fresh, 900); err != nil {
			t.Fatal(err)
		}
		if err := check(fresh); err != nil {
			t.Errorf("it agrees with itself: %v", err)
		}
		if err := check(fresh, old); !errors.Is(err, tiles.ErrForked) {
			t.Errorf("entry %d rewritten, against an older checkpoint: got %v, want ErrForked", place, err)
		}
	}
	if err := l.export(t, dir, 500); !errors.Is(err, tiles.ErrTruncated) {
		t.Errorf("a shorter log: got %v, want ErrTruncated", err)
	}
	short := t.TempDir()
	if err := l.export(t, short, 500); err != nil {
		t.Fatal(err)
	}
	if err := check(short, old); !errors.Is(err, tiles.ErrTruncated) {
		t.Errorf("a shorter log against an older checkpoint: got %v, want ErrTruncated", err)
	}
	if err := check(dir, old); err != nil {
		t.Errorf("the log as it was: %v", err)
	}
	text, c := l.signed(t, 600)
	c.Origin = key().Origin("ward")
	if _, err := (tiles.Export{Dir: dir, Note: text, Checkpoint: c, Entries: l.source}).Run(context.Background()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another log into the same folder: got %v, want ErrExist", err)
	}
}

// TestEveryFile: whichever file of a folder is changed, cut or missing, Check refuses it.
func TestEveryFile(t *testing.T) {
	dir := t.TempDir()
	l := newLog(700)
	if err := l.export(t, dir, 700); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		put := func(what string, bad []byte) {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := check(dir); err == nil {
				t.Errorf("%s of %s: accepted", what, path)
			}
		}
		end := len(content)
		if filepath.Base(path) == logtree.CheckpointPath {
			end = bytes.Index(content, []byte("\n\n")) // the last bits of a signature's base64 say nothing
		}
		for at := 0; at < end; at += max(1, end/23) {
			bad := append([]byte(nil), content...)
			bad[at] ^= 1
			put(fmt.Sprint("byte ", at), bad)
		}
		put("the end", content[:len(content)-1])
		put("more", append(append([]byte(nil), content...), 0))
		if err := os.Remove(path); err != nil {
			return err
		}
		if err := check(dir); err == nil {
			t.Errorf("%s missing: accepted", path)
		}
		return os.WriteFile(path, content, 0o600)
	})
	if err != nil || files != 8 {
		t.Fatalf("%d files, %v; want 8: checkpoint, 3 bundles, 3 tiles and one above", files, err)
	}
}

func TestBundleLimits(t *testing.T) {
	if _, err := logtree.EncodeEntries([][]byte{make([]byte, 1<<16)}); !errors.Is(err, logtree.ErrFormat) {
		t.Errorf("got %v, want ErrFormat", err)
	}
	long := binary.BigEndian.AppendUint16(nil, 9)
	if _, err := logtree.DecodeEntries(long, 1); !errors.Is(err, logtree.ErrFormat) {
		t.Errorf("a cut bundle: got %v, want ErrFormat", err)
	}
}
