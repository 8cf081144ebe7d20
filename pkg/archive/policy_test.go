package archive_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// What is due, of a log whose blocks were written a second apart.
func TestDue(t *testing.T) {
	f := newFixture(t, 100)
	f.store.Purge("patient", 10)
	start := time.Unix(0, int64(verifytest.Start))
	tests := []struct {
		policy archive.Policy
		size   uint64
		now    time.Duration // since the builder's start; block n was written at n seconds
		want   uint64
	}{
		{archive.Policy{}, 1000, time.Hour, 0},
		{archive.Policy{OlderThan: time.Second}, 0, 51*time.Second + 1, 50},
		{archive.Policy{OlderThan: time.Second}, 0, 51 * time.Second, 49},
		{archive.Policy{OlderThan: time.Minute}, 0, 70 * time.Second, 0}, // block 10 was purged
		{archive.Policy{OlderThan: time.Second}, 0, time.Hour, 100},
		{archive.Policy{OlderThan: time.Hour}, 0, 0, 0},
		{archive.Policy{LargerThan: 900}, 900, 0, 0},
		{archive.Policy{LargerThan: 900}, 901, 0, 55},
		{archive.Policy{LargerThan: 900}, 9000, 0, 95},
		{archive.Policy{LargerThan: 1}, 9000, 0, 99},
		{archive.Policy{OlderThan: time.Second, LargerThan: 900}, 9000, 51 * time.Second, 95},
	}
	for i, test := range tests {
		r := archive.NewArchiver(archive.ArchiverConfig{Logs: f.store, Size: func(context.Context, string) (uint64, error) { return test.size, nil }})
		if got, err := r.Due(t.Context(), "patient", test.policy, start.Add(test.now)); got != test.want || err != nil {
			t.Errorf("%d: got %d, %v, want %d", i, got, err, test.want)
		}
	}
	r := archive.NewArchiver(archive.ArchiverConfig{Logs: f.store})
	if _, err := r.Due(t.Context(), "nothing", archive.Policy{OlderThan: 1}, start); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
