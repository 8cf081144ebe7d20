package statestore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/statestore"
)

func TestReopenFindsTheContent(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	set(t, s, "a", "1", "b", "2")
	before, err := s.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		closeStore(t, s)
		s = open(t, c)
		if after, err := s.Digest(); err != nil || after != before {
			t.Fatalf("got digest %x, %v, want %x", after, err, before)
		}
	}
}

// files are those that a store keeps its content in.
func files(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "[^l]*"))
	if err != nil || len(paths) < 2 {
		t.Fatalf("got the files %v, %v, want some", paths, err)
	}
	return paths
}

// content reads all of a store; the error may come with Open or later.
func content(c statestore.Config) (map[string]string, error) {
	s, err := statestore.Open(c)
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	err = s.Scan(nil, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true })
	return got, errors.Join(err, s.Close())
}

// Another key, another identity, and every file that is cut or has one byte flipped are found out; removed and opened anew the store is empty.
func TestOpenDoubts(t *testing.T) {
	tests := map[string]func(t *testing.T, c *statestore.Config){
		"another key":      func(_ *testing.T, c *statestore.Config) { c.Key = bytes.Repeat([]byte{8}, 32) },
		"another key size": func(_ *testing.T, c *statestore.Config) { c.Key = bytes.Repeat([]byte{7}, 16) },
		"another identity": func(_ *testing.T, c *statestore.Config) { c.Identity = "hospital/patient/index/1" },
		"a cut run":        change("*.run", func(b []byte) []byte { return b[:len(b)-5] }),
		"a flipped run":    change("*.run", func(b []byte) []byte { b[3] ^= 1; return b }),
		"a cut manifest":   change("manifest", func(b []byte) []byte { return b[:len(b)-1] }),
		"an older format":  func(t *testing.T, c *statestore.Config) { write(t, filepath.Join(c.Dir, "state.json"), []byte("{}")) },
		"no runs": func(t *testing.T, c *statestore.Config) {
			if err := os.Remove(one(t, c.Dir, "*.run")); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := config(t.TempDir())
			s := open(t, c)
			set(t, s, "a", "1")
			closeStore(t, s)
			changed := c
			change(t, &changed)
			if got, err := content(changed); !errors.Is(err, statestore.ErrDoubted) {
				t.Errorf("got %v, %v, want ErrDoubted", got, err)
			}
			if err := statestore.Remove(c.Dir); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, changed).Get([]byte("a")); !errors.Is(err, statestore.ErrNotFound) {
				t.Errorf("after Remove: got %v, want ErrNotFound", err)
			}
		})
	}
}

// Without its manifest a store is a new one: its owner rebuilds it.
func TestWithoutAManifestNothingIsLeft(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	set(t, s, "a", "1")
	closeStore(t, s)
	if err := os.Remove(one(t, c.Dir, "manifest")); err != nil {
		t.Fatal(err)
	}
	if got, err := content(c); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v, want nothing", got, err)
	}
}

// Every byte of every file flipped: what is read is right, or the store is doubted.
func TestEveryByte(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	set(t, s, "a", "1", "b", "2")
	set(t, s, "b", "3")
	closeStore(t, s)
	for _, path := range files(t, c.Dir) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			damaged := bytes.Clone(raw)
			damaged[i] ^= 0x10
			write(t, path, damaged)
			if got, err := content(c); !errors.Is(err, statestore.ErrDoubted) {
				t.Fatalf("%s, byte %d: got %v, %v, want ErrDoubted", filepath.Base(path), i, got, err)
			}
		}
		write(t, path, raw)
	}
}

func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: got %v, %v, want a file", pattern, paths, err)
	}
	return paths[0]
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func change(pattern string, to func([]byte) []byte) func(*testing.T, *statestore.Config) {
	return func(t *testing.T, c *statestore.Config) {
		path := one(t, c.Dir, pattern)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, to(raw))
	}
}

func TestOneStoreAtATime(t *testing.T) {
	c := config(t.TempDir())
	open(t, c)
	if _, err := statestore.Open(c); !errors.Is(err, statestore.ErrLocked) {
		t.Errorf("Open: got %v, want ErrLocked", err)
	}
	if err := statestore.Remove(c.Dir); !errors.Is(err, statestore.ErrLocked) {
		t.Errorf("Remove: got %v, want ErrLocked", err)
	}
}

func TestOpenRefusesAWrongConfig(t *testing.T) {
	for name, c := range map[string]statestore.Config{
		"no folder":   {Key: make([]byte, 32), Identity: "x"},
		"no identity": {Dir: t.TempDir(), Key: make([]byte, 32)},
		"a short key": {Dir: t.TempDir(), Key: make([]byte, 5), Identity: "x"},
	} {
		if _, err := statestore.Open(c); err == nil || errors.Is(err, statestore.ErrDoubted) {
			t.Errorf("%s: got %v, want an error that is no doubt", name, err)
		}
	}
}
