package heap_test

import (
	"context"
	"runtime/metrics"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/internal/heap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPercent(t *testing.T) {
	for _, test := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {6 << 20, 400}, {12 << 20, 200}, {24 << 20, 100}, {48 << 20, 50}, {1 << 40, 50}} {
		if got := heap.Percent(test.live, heap.Headroom); got != test.want {
			t.Errorf("live %d: got %d percent, want %d", test.live, got, test.want)
		}
	}
}

// percent reads the collector's setting.
func percent() uint64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// The collector is paced while the context lasts, and has Go's default behind it.
func TestPace(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		t.Setenv(name, "")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); heap.Pace(ctx, heap.Headroom) }()
	for deadline := time.Now().Add(10 * time.Second); percent() == 100; {
		if time.Now().After(deadline) {
			t.Fatal("the collector is not paced")
		}
	}
	cancel()
	<-ended
	if got := percent(); got != 100 {
		t.Errorf("got %d percent behind the end, want 100", got)
	}
}

// Whoever sets GOGC has decided.
func TestASettingOfAPersonStays(t *testing.T) {
	t.Setenv("GOGC", "70")
	before := percent()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	heap.Pace(ctx, heap.Headroom)
	if got := percent(); got != before {
		t.Errorf("got %d percent, want %d", got, before)
	}
}
