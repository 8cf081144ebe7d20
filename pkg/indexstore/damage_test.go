package indexstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// filled is a folder with three batches, of which the last one is small.
func filled(t *testing.T) (dir string, want map[string]string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir)
	want = map[string]string{"a": "secret one", "b": "secret two"}
	for k, v := range want {
		write(t, s, "note "+k, map[string]string{k: v})
	}
	closed(t, s)
	return dir, want
}

// readAll gives the content of a folder, or the error that Open or reading gives.
func readAll(dir string) (map[string]string, error) {
	s, err := indexstore.Open(config(dir))
	if err != nil {
		return nil, err
	}
	got, err := content(s)
	return got, errors.Join(err, s.Close())
}

// TestEveryByte flips each byte of each file: what is read is right, or the store is doubted.
func TestEveryByte(t *testing.T) {
	dir, want := filled(t)
	files, err := filepath.Glob(filepath.Join(dir, "[^l]*"))
	if err != nil || len(files) != 4 {
		t.Fatalf("got files %v, %v, want manifest, two runs and one file of records", files, err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			damaged := bytes.Clone(raw)
			damaged[i] ^= 0x40
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := readAll(dir); !errors.Is(err, indexstore.ErrDoubted) {
				t.Fatalf("%s, byte %d: got %v, %v, want ErrDoubted", filepath.Base(path), i, got, err)
			}
		}
		for _, cut := range []int{0, 1, len(raw) / 2, len(raw) - 1} {
			if err := os.WriteFile(path, raw[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := readAll(dir); !errors.Is(err, indexstore.ErrDoubted) {
				t.Errorf("%s, cut at %d: got %v, %v, want ErrDoubted", filepath.Base(path), cut, got, err)
			}
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := readAll(dir); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("as it was: got %v, %v, want %v", got, err, want)
	}
}

// TestFilesOfOthers: a file in another one's place, also from a sound store with the same key, is not read.
func TestFilesOfOthers(t *testing.T) {
	dir, _ := filled(t)
	other, _ := filled(t)
	for _, pattern := range []string{"*.run", "*.records"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		mine, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := os.ReadFile(filepath.Join(other, filepath.Base(files[0])))
		if err == nil {
			err = os.WriteFile(files[0], theirs, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(dir); !errors.Is(err, indexstore.ErrDoubted) {
			t.Errorf("%s of another store: got %v, %v, want ErrDoubted", pattern, got, err)
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(dir); !errors.Is(err, indexstore.ErrDoubted) {
			t.Errorf("%s removed: got %v, %v, want ErrDoubted", pattern, got, err)
		}
		if err := os.WriteFile(files[0], mine, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir, want := filled(t)
	another, identity := config(dir), config(dir)
	another.Key, identity.Identity = bytes.Repeat([]byte{1}, 32), "test-site/bed/index/1"
	for name, c := range map[string]indexstore.Config{"another key": another, "another identity": identity} {
		if _, err := indexstore.Open(c); !errors.Is(err, indexstore.ErrDoubted) {
			t.Errorf("%s: got %v, want ErrDoubted", name, err)
		}
	}
	short, nameless, nowhere := config(dir), config(dir), config("")
	short.Key, nameless.Identity = []byte("short"), ""
	for name, c := range map[string]indexstore.Config{"short key": short, "no identity": nameless, "no folder": nowhere} {
		if _, err := indexstore.Open(c); err == nil || errors.Is(err, indexstore.ErrDoubted) {
			t.Errorf("%s: got %v, want an error that is no doubt", name, err)
		}
	}
	s := open(t, dir)
	if _, err := indexstore.Open(config(dir)); !errors.Is(err, indexstore.ErrLocked) {
		t.Errorf("open twice: got %v, want ErrLocked", err)
	}
	if err := indexstore.Remove(dir); !errors.Is(err, indexstore.ErrLocked) {
		t.Errorf("remove an open one: got %v, want ErrLocked", err)
	}
	wantContent(t, s, want)
}

// TestRemove: a store goes, one of an earlier release too, and nothing else does.
func TestRemove(t *testing.T) {
	dir, _ := filled(t)
	if err := indexstore.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the folder is gone", err)
	}
	if err := indexstore.Remove(dir); err != nil {
		t.Errorf("a folder that is not there: got %v, want nil", err)
	}
	earlier := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(earlier, "db"), 0o700), os.WriteFile(filepath.Join(earlier, "state.json"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := indexstore.Open(config(earlier)); !errors.Is(err, indexstore.ErrDoubted) {
		t.Errorf("open the store of an earlier release: got %v, want ErrDoubted", err)
	}
	if err := indexstore.Remove(earlier); err != nil {
		t.Errorf("the store of an earlier release: got %v, want nil", err)
	}
	strange := t.TempDir()
	if err := os.WriteFile(filepath.Join(strange, "thesis.doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := indexstore.Remove(strange); err == nil {
		t.Error("a folder with other files: got nil, want an error")
	}
}

// TestNothingPlain: no file holds what was stored, and one content stored twice looks different each time.
func TestNothingPlain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	secret := "a secret that is long enough to be found"
	for i := range 3 {
		write(t, s, secret, map[string]string{secret: secret, fmt.Sprint(i): secret})
	}
	closed(t, s)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[16]byte]bool{}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte("secret")) {
			t.Errorf("%s holds plain text", filepath.Base(path))
		}
		for i := 0; i+16 <= len(raw); i++ {
			part := [16]byte(raw[i:])
			if seen[part] {
				t.Fatalf("%s, byte %d: the same 16 bytes as elsewhere", filepath.Base(path), i)
			}
			seen[part] = true
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, %v, want 0600", filepath.Base(path), info.Mode(), err)
		}
	}
}
