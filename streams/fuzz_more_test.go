package streams_test

import (
	"testing"

	"github.com/eventfuldb/eventful/streams"
)

// FuzzParseAggregate holds that what is read is valid and is the text again.
func FuzzParseAggregate(f *testing.F) {
	for _, seed := range []string{"", "/", "patient/1", "patient/", "/1", "patient/a/b", "Patient/1", "patient/\x00", "patient/\xff", "patient/é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := streams.ParseAggregate(s)
		if err != nil {
			return
		}
		if err := a.Check(); err != nil {
			t.Errorf("%q: got an aggregate that is refused: %v", s, err)
		}
		if got := a.Type + "/" + a.ID; got != s {
			t.Errorf("got %q, want %q", got, s)
		}
	})
}
