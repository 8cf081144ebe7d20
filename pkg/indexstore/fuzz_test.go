package indexstore_test

import (
	"errors"
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
