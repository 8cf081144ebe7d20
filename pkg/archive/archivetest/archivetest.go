// Package archivetest is the suite that every place of an archive must pass, and places that fail as a test says.
package archivetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/archive"
)

// Run runs the suite. open gives an empty place, which ends with the test it is given.
func Run(t *testing.T, open func(t *testing.T) archive.Objects) {
	tests := []struct {
		name string
		test func(*testing.T, archive.Objects)
	}{
		{"CreateOnce", testCreateOnce}, {"CreateByMany", testCreateByMany}, {"Replace", testReplace}, {"Ranges", testRanges}, {"Missing", testMissing},
		{"List", testList}, {"Remove", testRemove}, {"Names", testNames}, {"ContextEnded", testContextEnded}, {"Large", testLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, open(t)) })
	}
}

func create(t *testing.T, o archive.Objects, name string, data []byte) {
	t.Helper()
	if err := o.Create(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}

func wantContent(t *testing.T, o archive.Objects, name string, want []byte) {
	t.Helper()
	size, err := o.Size(t.Context(), name)
	if err != nil || size != int64(len(want)) {
		t.Fatalf("size of %s: got %d, %v, want %d", name, size, err, len(want))
	}
	if got, err := o.Read(t.Context(), name, 0, size); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("content of %s: got %.40q, %v, want %.40q", name, got, err, want)
	}
}

func testCreateOnce(t *testing.T, o archive.Objects) {
	create(t, o, "a/b/one", []byte("first"))
	if err := o.Create(t.Context(), "a/b/one", []byte("second")); !errors.Is(err, archive.ErrExists) {
		t.Errorf("second Create: got %v, want ErrExists", err)
	}
	wantContent(t, o, "a/b/one", []byte("first"))
}

func testCreateByMany(t *testing.T, o archive.Objects) {
	var workers sync.WaitGroup
	made := make(chan string, 8)
	for i := range 8 {
		workers.Go(func() {
			text := fmt.Sprint("content of ", i)
			switch err := o.Create(t.Context(), "a/one", []byte(text)); {
			case err == nil:
				made <- text
			case !errors.Is(err, archive.ErrExists):
				t.Errorf("Create: got %v, want nil or ErrExists", err)
			}
		})
	}
	workers.Wait()
	if len(made) != 1 {
		t.Fatalf("got %d that made the object, want 1", len(made))
	}
	wantContent(t, o, "a/one", []byte(<-made))
}

func testReplace(t *testing.T, o archive.Objects) {
	for _, text := range []string{"first", "second, longer", "x"} {
		if err := o.Replace(t.Context(), "a/one", []byte(text)); err != nil {
			t.Fatal(err)
		}
		wantContent(t, o, "a/one", []byte(text))
	}
}

func testRanges(t *testing.T, o archive.Objects) {
	create(t, o, "a/one", []byte("0123456789"))
	for _, test := range []struct {
		offset, length int64
		want           string
	}{{0, 10, "0123456789"}, {3, 4, "3456"}, {9, 1, "9"}} {
		if got, err := o.Read(t.Context(), "a/one", test.offset, test.length); err != nil || string(got) != test.want {
			t.Errorf("%d bytes from %d: got %q, %v, want %q", test.length, test.offset, got, err, test.want)
		}
	}
	for _, beyond := range [][2]int64{{9, 2}, {10, 1}, {100, 5}} {
		if got, err := o.Read(t.Context(), "a/one", beyond[0], beyond[1]); err == nil {
			t.Errorf("%d bytes from %d of 10: got %q, want an error", beyond[1], beyond[0], got)
		}
	}
}

func testMissing(t *testing.T, o archive.Objects) {
	if _, err := o.Size(t.Context(), "a/none"); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("Size: got %v, want ErrNotFound", err)
	}
	if _, err := o.Read(t.Context(), "a/none", 0, 1); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("Read: got %v, want ErrNotFound", err)
	}
	if names, err := o.List(t.Context(), "a/"); err != nil || len(names) != 0 {
		t.Errorf("List: got %q, %v, want none", names, err)
	}
}

func testList(t *testing.T, o archive.Objects) {
	for _, name := range []string{"a/log/2", "a/log/1", "a/logs/1", "b/log/1", "a/log/sub/3"} {
		create(t, o, name, []byte("x"))
	}
	names, err := o.List(t.Context(), "a/log/")
	if d := cmp.Diff([]string{"a/log/1", "a/log/2", "a/log/sub/3"}, names); d != "" || err != nil {
		t.Errorf("%v, -want +got\n%s", err, d)
	}
}

func testRemove(t *testing.T, o archive.Objects) {
	create(t, o, "a/one", []byte("x"))
	for range 2 {
		if err := o.Remove(t.Context(), "a/one"); err != nil {
			t.Fatal(err)
		}
	}
	create(t, o, "a/one", []byte("y"))
	wantContent(t, o, "a/one", []byte("y"))
}

func testNames(t *testing.T, o archive.Objects) {
	for _, name := range []string{"", "/", "a/", "/a", "a//b", "../a", "a/../../b", "a/.", "a\x00b", "a b", "ä"} {
		if err := o.Create(t.Context(), name, []byte("x")); err == nil {
			t.Errorf("Create(%q): got no error", name)
		}
		if _, err := o.Read(t.Context(), name, 0, 1); err == nil {
			t.Errorf("Read(%q): got no error", name)
		}
	}
}

func testContextEnded(t *testing.T, o archive.Objects) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Create(ctx, "a/one", []byte("x")); err == nil {
		t.Error("Create: got no error")
	}
	if _, err := o.Size(t.Context(), "a/one"); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound: nothing was stored", err)
	}
}

func testLarge(t *testing.T, o archive.Objects) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16)
	create(t, o, "a/large", data)
	wantContent(t, o, "a/large", data)
}
