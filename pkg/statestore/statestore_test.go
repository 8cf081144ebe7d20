package statestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/statestore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func config(dir string) statestore.Config {
	return statestore.Config{Dir: dir, Key: bytes.Repeat([]byte{7}, 32), Identity: "hospital/patient/writer/1"}
}

func open(t *testing.T, c statestore.Config) *statestore.Store {
	t.Helper()
	s, err := statestore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func closeStore(t *testing.T, s *statestore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// set stores pairs of key and value in one batch.
func set(t *testing.T, s *statestore.Store, pairs ...string) {
	t.Helper()
	err := s.Update(func(b *statestore.Batch) error {
		for i := 0; i < len(pairs); i += 2 {
			b.Set([]byte(pairs[i]), []byte(pairs[i+1]))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestGetGivesWhatWasSet(t *testing.T) {
	s := open(t, config(t.TempDir()))
	set(t, s, "a", "1", "", "empty key", "b", "2")
	for key, want := range map[string]string{"a": "1", "": "empty key", "b": "2"} {
		if got, err := s.Get([]byte(key)); err != nil || string(got) != want {
			t.Errorf("Get(%q): got %q, %v, want %q", key, got, err, want)
		}
	}
	if _, err := s.Get([]byte("c")); !errors.Is(err, statestore.ErrNotFound) {
		t.Errorf("Get of a missing key: got %v, want ErrNotFound", err)
	}
	if err := s.Update(func(b *statestore.Batch) error { b.Delete([]byte("a")); b.Delete([]byte("zz")); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get([]byte("a")); !errors.Is(err, statestore.ErrNotFound) {
		t.Errorf("Get of a deleted key: got %v, want ErrNotFound", err)
	}
}

func TestAnErrorInUpdateStoresNothing(t *testing.T) {
	s := open(t, config(t.TempDir()))
	broken := errors.New("broken")
	err := s.Update(func(b *statestore.Batch) error { b.Set([]byte("a"), []byte("1")); return broken })
	if err != broken {
		t.Errorf("got %v, want the error of fn", err)
	}
	if _, err := s.Get([]byte("a")); !errors.Is(err, statestore.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestScan(t *testing.T) {
	s := open(t, config(t.TempDir()))
	set(t, s, "a/1", "1", "b", "1", "b/1", "1", "b/2", "1", "b/3", "1", "b/3\xff", "1", "b0", "1", "\xff", "1", "\xff\xff", "1", "b/25", "1")
	if err := s.Update(func(b *statestore.Batch) error { b.Delete([]byte("b/25")); return nil }); err != nil {
		t.Fatal(err)
	}
	const nothing = "-" // stands for nil
	tests := []struct {
		name, prefix, beyond string
		want                 []string
	}{
		{"prefix", "b/", nothing, []string{"b/1", "b/2", "b/3", "b/3\xff"}},
		{"beyond a key", "b/", "b/2", []string{"b/3", "b/3\xff"}},
		{"beyond a key that does not exist", "b/", "b/22", []string{"b/3", "b/3\xff"}},
		{"beyond a key before the prefix", "b/", "a", []string{"b/1", "b/2", "b/3", "b/3\xff"}},
		{"beyond a key behind the prefix", "b/", "c", nil},
		{"prefix of 0xFF", "\xff", nothing, []string{"\xff", "\xff\xff"}},
		{"no such prefix", "x", nothing, nil},
		{"all behind the empty key", "", "", []string{"a/1", "b", "b/1", "b/2", "b/3", "b/3\xff", "b0", "\xff", "\xff\xff"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var beyond []byte
			if test.beyond != nothing {
				beyond = []byte(test.beyond)
			}
			var got []string
			err := s.Scan([]byte(test.prefix), beyond, func(k, _ []byte) bool { got = append(got, string(k)); return true })
			if d := cmp.Diff(test.want, got); d != "" || err != nil {
				t.Errorf("%v, -want +got\n%s", err, d)
			}
		})
	}
}

func TestScanEndsWhenAsked(t *testing.T) {
	s := open(t, config(t.TempDir()))
	set(t, s, "a", "1", "b", "2", "c", "3")
	var got []string
	err := s.Scan(nil, nil, func(k, v []byte) bool { got = append(got, string(k)+string(v)); return len(got) < 2 })
	if d := cmp.Diff([]string{"a1", "b2"}, got); d != "" || err != nil {
		t.Errorf("%v, -want +got\n%s", err, d)
	}
}

func TestDigestTellsContentOnly(t *testing.T) {
	one, two := open(t, config(t.TempDir())), open(t, config(t.TempDir()))
	set(t, one, "a", "1", "b", "2")
	set(t, two, "b", "0", "x", "9")
	set(t, two, "b", "2")
	set(t, two, "a", "1")
	digest := func(s *statestore.Store) [32]byte {
		d, err := s.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if digest(one) == digest(two) {
		t.Error("different content has the same digest")
	}
	if err := two.Update(func(b *statestore.Batch) error { b.Delete([]byte("x")); return nil }); err != nil {
		t.Fatal(err)
	}
	if digest(one) != digest(two) {
		t.Error("the same content has different digests")
	}
}

// A large batch is stored like a small one.
func TestALargeBatch(t *testing.T) {
	s := open(t, config(t.TempDir()))
	err := s.Update(func(b *statestore.Batch) error {
		for i := range 50_000 {
			b.Set(fmt.Appendf(nil, "index/%040d", i), []byte("position"))
		}
		b.Set([]byte("block"), bytes.Repeat([]byte{1}, 1<<22))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := s.Scan([]byte("index/"), nil, func(_, _ []byte) bool { n++; return true }); err != nil || n != 50_000 {
		t.Errorf("got %d keys, %v, want 50,000", n, err)
	}
	if got, err := s.Get([]byte("block")); err != nil || len(got) != 1<<22 {
		t.Errorf("got %d bytes, %v, want 4 MiB", len(got), err)
	}
}

// An empty value would say that there is none: a batch with one stores nothing.
func TestAnEmptyValueIsRefused(t *testing.T) {
	s := open(t, config(t.TempDir()))
	err := s.Update(func(b *statestore.Batch) error { b.Set([]byte("a"), []byte("1")); b.Set([]byte("b"), nil); return nil })
	if err == nil || errors.Is(err, statestore.ErrDoubted) {
		t.Errorf("got %v, want an error that is no doubt", err)
	}
	if _, err := s.Get([]byte("a")); !errors.Is(err, statestore.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	set(t, s, "a", "2")
}

// Within a batch the last write of a key counts, also one that deletes.
func TestTheLastWriteCounts(t *testing.T) {
	s := open(t, config(t.TempDir()))
	err := s.Update(func(b *statestore.Batch) error {
		b.Set([]byte("a"), []byte("1"))
		b.Set([]byte("b"), []byte("1"))
		b.Delete([]byte("b"))
		b.Set([]byte("a"), []byte("2"))
		b.Delete([]byte("c"))
		b.Set([]byte("c"), []byte("3"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := s.Scan(nil, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "2", "c": "3"}, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestEveryFileIsEncrypted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, config(dir))
	set(t, s, "plain-key-Aurora", "plain-value-Borealis", "large", string(bytes.Repeat([]byte("plain-value-Borealis"), 60_000)))
	look := func(when string) {
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if bytes.Contains(content, []byte("Aurora")) || bytes.Contains(content, []byte("Borealis")) {
				t.Errorf("%s: %s holds plain text", when, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	look("open")
	closeStore(t, s)
	look("closed")
	if got := s.Size(); got <= 0 {
		t.Errorf("Size: got %d, want more than 0", got)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := open(t, config(t.TempDir()))
	closeStore(t, s)
	if _, err := s.Get([]byte("a")); !errors.Is(err, statestore.ErrClosed) {
		t.Errorf("Get: got %v, want ErrClosed", err)
	}
	if err := s.Update(func(*statestore.Batch) error { return nil }); !errors.Is(err, statestore.ErrClosed) {
		t.Errorf("Update: got %v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// A Scan reads on while the store is asked to close: what it reads with Get is then refused, and nothing waits for ever.
func TestCloseDuringAScan(t *testing.T) {
	s := open(t, config(t.TempDir()))
	set(t, s, "a", "1", "b", "2")
	closed := make(chan error, 1)
	seen := 0
	err := s.Scan(nil, nil, func(key, _ []byte) bool {
		if seen++; seen == 1 {
			go func() { closed <- s.Close() }()
		}
		for {
			if _, err := s.Get(key); errors.Is(err, statestore.ErrClosed) {
				return true
			}
		}
	})
	if err != nil || seen != 2 {
		t.Errorf("got %d keys, %v, want 2", seen, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
