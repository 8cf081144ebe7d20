package writer_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// rewrites holds that rewrite refuses with ErrDecode (ErrInvalid: of the tree), or gives what it got; with lax it may give another spelling, which is final.
func rewrites(t *testing.T, rewrite func([]byte) ([]byte, error), b []byte, lax bool) {
	t.Helper()
	once, err := rewrite(b)
	if err != nil {
		if !errors.Is(err, event.ErrDecode) && !errors.Is(err, event.ErrInvalid) {
			t.Errorf("got %v, want ErrDecode or ErrInvalid", err)
		}
		return
	}
	if !lax && !bytes.Equal(once, b) {
		t.Errorf("got %x, want %x", once, b)
	}
	if twice, err := rewrite(once); err != nil || !bytes.Equal(once, twice) {
		t.Errorf("got %x, %v, want %x", twice, err, once)
	}
}

func stateSeeds(f *testing.F) {
	for _, n := range []int{0, 16, 17, 37, 38, 71, 72, 73, 200} {
		f.Add(make([]byte, n))
	}
}

// FuzzDecodeHead is lax: any byte but 1 says not deleted, and a length may have more bytes than it needs.
func FuzzDecodeHead(f *testing.F) {
	stateSeeds(f)
	var tree event.Tree
	empty := tree.AppendBinary(nil)
	f.Add(append(append(make([]byte, 37), 1, 1, 'f', 2, 'v', 'w'), empty...))
	f.Add(append(make([]byte, 38), empty...))
	f.Add(append(append(make([]byte, 37), 2, 1, 'f', 0, 1, 'f', 0), empty...))
	f.Add(append(make([]byte, 37), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Add(append(make([]byte, 37), 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, writer.RewriteHead, b, true) })
}

// FuzzDecodeCommandIDs is lax: a number may have more bytes than it needs.
func FuzzDecodeCommandIDs(f *testing.F) {
	stateSeeds(f)
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 0, 9, 2, 5, 8, 1, 1, 1, 2}, make([]byte, 48)...))
	f.Add(append([]byte{0, 0, 0, 0, 0, 0, 0, 9, 1, 5, 9, 0}, make([]byte, 16)...))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 9, 1, 5, 9, 0x80, 8})
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, writer.RewriteCommandIDs, b, true) })
}

func FuzzDecodeMeta(f *testing.F) {
	stateSeeds(f)
	var chain event.Chain
	var tree event.Tree
	c := chain.AppendBinary(nil)
	position := append(append(make([]byte, 16), byte(len(c))), c...)
	f.Add(tree.AppendBinary(append(bytes.Clone(position), 0, 0, 0, 1, 'u')))
	f.Add(append(position, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, writer.RewriteMeta, b, false) })
}
