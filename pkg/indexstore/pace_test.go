package indexstore_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

func TestPausesOfABatch(t *testing.T) {
	for _, test := range []struct {
		since, work time.Duration
		want        float64
	}{
		{time.Second, 0, 0}, // nothing is known yet
		{600 * time.Millisecond, 100 * time.Millisecond, 1},   // 200 ms in all
		{time.Hour, 100 * time.Millisecond, 1},                // the same
		{time.Hour, 10 * time.Millisecond, 4},                 // no longer pauses than that
		{300 * time.Millisecond, 80 * time.Millisecond, 0.25}, // the next one comes soon
		{100 * time.Millisecond, 80 * time.Millisecond, 0},    // there is no time
		{time.Hour, time.Second, 0},
	} {
		if got := indexstore.PauseFor(test.since, test.work); got != test.want {
			t.Errorf("since %v, work %v: got %v, want %v", test.since, test.work, got, test.want)
		}
	}
}

// taking writes a batch whose writer is busy for 1 ms after every 32 entries, 40 times, and says how long it took. meanwhile is called in the middle.
func taking(t *testing.T, begin func() (*indexstore.Batch, error), meanwhile func()) time.Duration {
	t.Helper()
	began := time.Now()
	b, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 * 32 {
		if i%32 == 31 {
			<-time.After(time.Millisecond)
		}
		if i == 20*32 && meanwhile != nil {
			meanwhile()
		}
		if err := b.Set(fmt.Appendf(nil, "%06d", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(nil); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// A batch that was begun gently takes longer than its work, as long as there is time for it, and no longer once somebody is in a hurry.
func TestABatchGivesWay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir)
		const work = 40 * time.Millisecond
		if got := taking(t, s.BeginGently, nil); got != work {
			t.Errorf("the first batch took %v, want %v: nothing is known of its length", got, work)
		}
		<-time.After(time.Minute)
		if got := taking(t, s.Begin, nil); got != work {
			t.Errorf("a batch that is waited for took %v, want %v", got, work)
		}
		s.Hurry() // about no batch
		<-time.After(time.Minute)
		if got := taking(t, s.BeginGently, nil); got != 5*work {
			t.Errorf("a gentle batch took %v, want %v", got, 5*work)
		}
		if got := taking(t, s.BeginGently, nil); got != work {
			t.Errorf("a batch right behind took %v, want %v", got, work)
		}
		<-time.After(time.Minute)
		if got := taking(t, s.BeginGently, s.Hurry); got < 2*work || got >= 4*work {
			t.Errorf("a batch that was hurried in the middle took %v, want %v and something", got, 3*work)
		}
	})
}
