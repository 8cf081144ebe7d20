package projector_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
)

// rewrites holds that rewrite refuses with ErrContent, or gives what it got; with lax it may give another spelling, which is final.
func rewrites(t *testing.T, rewrite func([]byte) ([]byte, error), b []byte, lax bool) {
	t.Helper()
	once, err := rewrite(b)
	if err != nil {
		if !errors.Is(err, projector.ErrContent) {
			t.Errorf("got %v, want ErrContent", err)
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

func FuzzParseSummary(f *testing.F) {
	for _, n := range []int{0, 40, 107, 108, 109, 120} {
		f.Add(make([]byte, n))
	}
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, projector.RewriteSummary, b, false) })
}

func FuzzParsePlace(f *testing.F) {
	var chain event.Chain
	f.Add([]byte{})
	f.Add(make([]byte, 8))
	f.Add(chain.AppendBinary(make([]byte, 8)))
	f.Add(append(chain.AppendBinary(make([]byte, 8)), 0))
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, projector.RewritePlace, b, false) })
}

// FuzzParseHashValue is lax: the zero bytes behind type and id are not asked for.
func FuzzParseHashValue(f *testing.F) {
	for _, seed := range []string{"", "12345678", "123456789", "patient\x00id\x00\x00\x00\x00\x00\x00\x00\x00\x01", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) { rewrites(t, projector.RewriteHashValue, b, true) })
}

// FuzzParseCursor holds that a cursor is refused as malformed, or names an aggregate with which a list goes on. Package base64 skips line ends.
func FuzzParseCursor(f *testing.F) {
	for _, seed := range []string{"", "log\x00patient\x00id", "\x00\x00", "log\x00patient\x00i\x00d", "log\x00Patient\x00id"} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(seed)))
	}
	f.Add("bG9n\n")
	f.Add("====")
	f.Fuzz(func(t *testing.T, s string) {
		once, err := projector.RewriteCursor(s)
		if err != nil {
			if !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
				t.Errorf("got %v, want a problem that says malformed", err)
			}
			return
		}
		if twice, err := projector.RewriteCursor(once); err != nil || once != twice {
			t.Errorf("got %q, %v, want %q", twice, err, once)
		}
	})
}
