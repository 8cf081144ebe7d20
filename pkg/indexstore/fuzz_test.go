package indexstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// FuzzPage holds that a page is doubted or read; what was read reads the same when it is written again.
func FuzzPage(f *testing.F) {
	f.Add([]byte{})
	f.Add(indexstore.WritePage([][]byte{[]byte("abc"), []byte("1"), []byte("abd"), nil}))
	f.Add([]byte{9, 1, 1, 'a', 'b'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1})
	f.Fuzz(func(t *testing.T, page []byte) {
		parts, err := indexstore.ReadPage(page)
		if err != nil {
			if !errors.Is(err, indexstore.ErrDoubted) {
				t.Errorf("got %v, want ErrDoubted", err)
			}
			return
		}
		again, err := indexstore.ReadPage(indexstore.WritePage(parts))
		if diff := cmp.Diff(parts, again); err != nil || diff != "" {
			t.Errorf("%v, diff (-want +got):\n%s", err, diff)
		}
	})
}

func FuzzFences(f *testing.F) {
	f.Add([]byte{}, int64(0))
	f.Add([]byte{1, 'a', 0, 2, 'a', 'b', 5}, int64(9))
	f.Add([]byte{1, 'a', 0, 2, 'a', 'b', 5}, int64(4))
	f.Fuzz(func(t *testing.T, b []byte, end int64) {
		once, err := indexstore.RewriteFences(b, end)
		if err != nil {
			if !errors.Is(err, indexstore.ErrDoubted) {
				t.Errorf("got %v, want ErrDoubted", err)
			}
			return
		}
		if twice, err := indexstore.RewriteFences(once, end); err != nil || cmp.Diff(once, twice) != "" {
			t.Errorf("got %x, %v, want %x", twice, err, once)
		}
	})
}

func FuzzLocation(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		at, rest, err := indexstore.ParseLocation(b)
		if err != nil {
			if !errors.Is(err, indexstore.ErrDoubted) {
				t.Errorf("got %v, want ErrDoubted", err)
			}
			return
		}
		again, behind, err := indexstore.ParseLocation(append(at.Append(nil), rest...))
		if err != nil || again != at || len(behind) != len(rest) {
			t.Errorf("got %+v, %x, %v, want %+v, %x", again, behind, err, at, rest)
		}
	})
}

// FuzzManifest holds that a store with any manifest is doubted or opened, and that one that was opened is the same when it is written again.
func FuzzManifest(f *testing.F) {
	const head = `{"format":1,"identity":"test-site/patient/index/1",`
	f.Add([]byte(`null`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"identity":"another"}`))
	f.Add([]byte(head + `"note":"AAE=","next":3,"runs":null,"contents":[]}`))
	f.Add([]byte(head + `"runs":[{"number":1,"id":[1,2],"level":-1,"entries":9,"pages":5,"fences":30,"size":60}]}`))
	f.Add([]byte(head + `"runs":[{"pages":-9,"size":9223372036854775807}],"contents":[{"number":18446744073709551615,"size":-1}]}`))
	f.Add([]byte(head + `"runs":[{"pages":9223372036854775807,"fences":9223372036854775807,"size":9223372036854775807}]}`))
	f.Add([]byte(head + `"runs":[{"number":7,"pages":0,"size":4611686018427387904}]}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		c := config(t.TempDir())
		if err := errors.Join(indexstore.SealManifest(c, plain), os.WriteFile(filepath.Join(c.Dir, "00000007.run"), make([]byte, 64), 0o600)); err != nil {
			t.Fatal(err)
		}
		once, unread := indexstore.ReadManifest(c)
		s, err := indexstore.Open(c)
		if err == nil {
			closed(t, s)
		} else if !errors.Is(err, indexstore.ErrDoubted) {
			t.Errorf("got %v, want ErrDoubted", err)
		}
		if unread != nil {
			if err == nil {
				t.Errorf("opened, and the manifest is none: %v", unread)
			}
			return
		}
		if err := indexstore.SealManifest(c, once); err != nil {
			t.Fatal(err)
		}
		if twice, err := indexstore.ReadManifest(c); err != nil || cmp.Diff(string(once), string(twice)) != "" {
			t.Errorf("got %s, %v, want %s", twice, err, once)
		}
	})
}
