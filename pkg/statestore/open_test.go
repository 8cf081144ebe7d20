package statestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

func TestOpenDoubts(t *testing.T) {
	tests := map[string]func(t *testing.T, c *statestore.Config){
		"another key":      func(t *testing.T, c *statestore.Config) { c.Key = bytes.Repeat([]byte{8}, 32) },
		"another key size": func(t *testing.T, c *statestore.Config) { c.Key = bytes.Repeat([]byte{7}, 16) },
		"another identity": func(t *testing.T, c *statestore.Config) { c.Identity = "hospital/patient/index/1" },
		"a newer format":   replaceIn("state.json", `"format":1`, `"format":2`),
		"a broken mark":    replaceIn("state.json", `"format"`, `format`),
		"a missing mark":   remove("state.json"),
		"a missing table":  remove("db/*.sst"),
		"a cut table":      cut("db/*.sst"),
		"a cut manifest":   cut("db/MANIFEST"),
		"no manifest":      remove("db/MANIFEST"),
		"no data keys":     remove("db/KEYREGISTRY"),
		"a machine that went down": replaceIn("state.json", `"open":false`,
			`"open":true,"boot":"00000000-0000-0000-0000-000000000000"`),
		"processes that ended": replaceIn("state.json", `"attempts":0`, `"attempts":3`),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := config(t.TempDir())
			s := open(t, c)
			set(t, s, "a", "1")
			closeStore(t, s)
			changed := c
			change(t, &changed)
			if s, err := statestore.Open(changed); !errors.Is(err, statestore.ErrDoubted) {
				t.Errorf("got %v, %v, want ErrDoubted", s, err)
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

func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: got %v, %v, want a file", pattern, paths, err)
	}
	return paths[0]
}

func remove(pattern string) func(*testing.T, *statestore.Config) {
	return func(t *testing.T, c *statestore.Config) {
		if err := os.Remove(one(t, c.Dir, pattern)); err != nil {
			t.Fatal(err)
		}
	}
}

func cut(pattern string) func(*testing.T, *statestore.Config) {
	return func(t *testing.T, c *statestore.Config) {
		path := one(t, c.Dir, pattern)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()-5); err != nil {
			t.Fatal(err)
		}
	}
}

func replaceIn(name, old, with string) func(*testing.T, *statestore.Config) {
	return func(t *testing.T, c *statestore.Config) {
		path := filepath.Join(c.Dir, name)
		content, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(content), old) {
			t.Fatalf("%s: %v, %q is not in %s", name, err, old, content)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(content), old, with, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneStoreAtATime(t *testing.T) {
	c := config(t.TempDir())
	s := open(t, c)
	if _, err := statestore.Open(c); !errors.Is(err, statestore.ErrLocked) {
		t.Errorf("Open: got %v, want ErrLocked", err)
	}
	if err := statestore.Remove(c.Dir); !errors.Is(err, statestore.ErrLocked) {
		t.Errorf("Remove: got %v, want ErrLocked", err)
	}
	set(t, s, "a", "1")
}

func TestRemoveLeavesOtherFoldersAlone(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(mine, []byte("words"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := statestore.Remove(dir); err == nil {
		t.Error("got nil, want an error")
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
	if err := statestore.Remove(filepath.Join(dir, "nothing")); err != nil {
		t.Errorf("a folder that does not exist: %v", err)
	}
}

func TestAWrongConfigIsNoDoubt(t *testing.T) {
	for name, c := range map[string]statestore.Config{
		"no folder":   {Key: make([]byte, 32), Identity: "x"},
		"no key":      {Dir: t.TempDir(), Identity: "x"},
		"short key":   {Dir: t.TempDir(), Key: make([]byte, 15), Identity: "x"},
		"no identity": {Dir: t.TempDir(), Key: make([]byte, 32)},
	} {
		if _, err := statestore.Open(c); err == nil || errors.Is(err, statestore.ErrDoubted) {
			t.Errorf("%s: got %v, want an error that is not ErrDoubted", name, err)
		}
	}
}

// The test binary runs itself as a child, which ends without closing the store.
const (
	childDir  = "STATESTORE_TEST_DIR"
	childStep = "STATESTORE_TEST_STEP"
)

// child writes until it is killed, and says each number that an Update has returned for.
func child(dir, step string) int {
	s, err := statestore.Open(config(dir))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for n := 0; ; n++ {
		err := s.Update(func(b *statestore.Batch) error {
			value := fmt.Appendf(nil, "%s %08d", step, n)
			b.Set([]byte("first"), value)
			for i := range 20 {
				b.Set(fmt.Appendf(nil, "%s/%d/%d", step, n%500, i), bytes.Repeat(value, 100))
			}
			b.Set([]byte("last"), value)
			return nil
		})
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(n)
	}
}

// killed runs a child until it has said number, and kills it.
func killed(t *testing.T, dir, step string, number int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childStep+"="+step)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said int
	for said < number {
		if _, err := fmt.Fscanln(out, &said); err != nil {
			t.Fatalf("child said %d last: %v", said, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}

func TestOpenAfterKill(t *testing.T) {
	c := config(t.TempDir())
	for i, number := range []int{1, 50, 2500, 700} { // 2,500 batches of 36 kB fill several tables in memory
		step := fmt.Sprintf("run%d", i)
		killed(t, c.Dir, step, number)
		s := open(t, c)
		first, err := s.Get([]byte("first"))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s %08d", step, number); string(first) < want {
			t.Errorf("got %s, want at least %s, which Update had returned for", first, want)
		}
		if last, err := s.Get([]byte("last")); err != nil || !bytes.Equal(first, last) {
			t.Errorf("got %s, %v, want the %s of the same batch", last, err, first)
		}
		closeStore(t, s)
	}
}
