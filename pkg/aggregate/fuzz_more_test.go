package aggregate_test

import (
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
)

// FuzzParseOccurredAt holds that a time that is read is the same when it is written and read again.
func FuzzParseOccurredAt(f *testing.F) {
	for _, seed := range []string{
		"", "2014-10-22T11:27:00Z", "2014-10-22T11:27:00.123456789+02:00", "2014-10-22T11:27:00.1234567890Z", "2014-10-22T1:27:00Z", "2014-10-22T11:27:00,5Z",
		"2014-10-22T11:27:60Z", "2014-10-22T11:27:00+24:00", "2014-10-22T11:27:00-23:59", "1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z",
		"2262-04-11T23:47:16.854775808Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := aggregate.ParseOccurredAt(s)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		text := time.Unix(0, int64(at)).UTC().Format(time.RFC3339Nano)
		if again, err := aggregate.ParseOccurredAt(text); err != nil || again != at {
			t.Errorf("%q: got %d, written %s and read again %d, %v", s, at, text, again, err)
		}
	})
}
