package statestore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/statestore"
)

// wantRightOrDoubted opens a damaged store: it must be doubted, or answer as before the damage.
func wantRightOrDoubted(t *testing.T, c statestore.Config, what string, digest [32]byte) (doubted bool) {
	t.Helper()
	s, err := statestore.Open(c)
	if errors.Is(err, statestore.ErrDoubted) {
		return true
	}
	if err != nil {
		t.Errorf("%s: got %v, want ErrDoubted", what, err)
		return false
	}
	got, err := s.Digest()
	if err := s.Close(); err != nil && !errors.Is(err, statestore.ErrDoubted) {
		t.Errorf("%s: close: %v", what, err)
	}
	if errors.Is(err, statestore.ErrDoubted) {
		return true
	}
	if err != nil || got != digest {
		t.Errorf("%s: got digest %x, %v, want %x or ErrDoubted", what, got, err, digest)
	}
	return false
}

// flip changes one bit of a file, and leaves everything else as it is.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0}
	_, err = file.ReadAt(b, at)
	b[0] ^= 1 << (at % 8)
	_, werr := file.WriteAt(b, at)
	if err := errors.Join(err, werr, file.Close()); err != nil {
		t.Fatal(err)
	}
}

// offsets are places spread over a file, among them its last 24 bytes.
func offsets(t *testing.T, path string) (list []int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < info.Size(); at += max(1, info.Size()/12) {
		list = append(list, at)
	}
	for at := max(0, info.Size()-24); at < info.Size(); at += 3 {
		list = append(list, at)
	}
	return list
}

func TestAFlippedBitNeverGivesAWrongAnswer(t *testing.T) {
	original := config(t.TempDir())
	s := open(t, original)
	for i := range 400 {
		set(t, s, fmt.Sprintf("key %d", i), fmt.Sprintf("value %d %0200d", i, i))
	}
	digest, err := s.Digest()
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	for _, name := range []string{"*.sst", "MANIFEST", "KEYREGISTRY"} {
		path := one(t, original.Dir, filepath.Join("db", name))
		doubted := 0
		for _, at := range offsets(t, path) {
			copied := config(t.TempDir())
			if err := os.CopyFS(copied.Dir, os.DirFS(original.Dir)); err != nil {
				t.Fatal(err)
			}
			flip(t, one(t, copied.Dir, filepath.Join("db", name)), at)
			if wantRightOrDoubted(t, copied, fmt.Sprintf("%s, byte %d", name, at), digest) {
				doubted++
			}
		}
		if all := len(offsets(t, path)); doubted < all-2 { // a bit or two of the encoding mean nothing
			t.Errorf("%s: got %d of %d flips doubted, want nearly all", name, doubted, all)
		}
	}
}

// After kill -9 the newest batches lie in write-ahead logs. Damage in the middle must not leave out a batch and keep a later one.
func TestAFlippedBitInAWriteAheadLog(t *testing.T) {
	dir := t.TempDir()
	killed(t, dir, "run", 1500) // more than one file
	logs, err := filepath.Glob(filepath.Join(dir, "db", "*.mem"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("got %v, %v, want write-ahead logs", logs, err)
	}
	for i, log := range logs {
		newest := i == len(logs)-1
		for _, at := range []int64{21, 1000, 100_000, 400_000} {
			copied := config(t.TempDir())
			if err := os.CopyFS(copied.Dir, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(copied.Dir, "db", filepath.Base(log))
			if occupied(t, path, at) {
				flip(t, path, at)
				s, err := statestore.Open(copied)
				switch {
				case err == nil && newest: // an earlier state is right; half of a batch is not
					wantWholeBatch(t, s)
					closeStore(t, s)
				case !errors.Is(err, statestore.ErrDoubted):
					t.Errorf("%s, byte %d: got %v, %v, want ErrDoubted", filepath.Base(log), at, s, err)
				}
			}
			if err := os.RemoveAll(copied.Dir); err != nil { // the files are large
				t.Fatal(err)
			}
		}
	}
}

// wantWholeBatch looks at the first and the last write of the child's batches.
func wantWholeBatch(t *testing.T, s *statestore.Store) {
	t.Helper()
	first, err := s.Get([]byte("first"))
	last, lastErr := s.Get([]byte("last"))
	if string(first) != string(last) || !errors.Is(err, lastErr) {
		t.Errorf("got %q, %v and %q, %v, want both of one batch", first, err, last, lastErr)
	}
}

// occupied tells whether anything but zeros lies around a place.
func occupied(t *testing.T, path string, at int64) bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	around := make([]byte, 4096)
	n, _ := file.ReadAt(around, at) // short at the end
	for _, b := range around[:n] {
		if b != 0 {
			return true
		}
	}
	return false
}
