package delivery_test

import (
	"testing"
	"time"
)

// Runners whose clocks are hours apart share the partitions, and take them over from each other, as others do.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	sink := newTarget()
	sink.outcome = flaky(0.05)
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"partitions": "4", "max-backoff": "50ms"})
	for _, w.ahead = range []time.Duration{5 * time.Hour, -5 * time.Hour} {
		_, stop := w.runner()
		w.write(500, 20)
		w.arrived(sink)
		w.ahead = -w.ahead
		_, stopOther := w.runner()
		w.until("they share the partitions", func() bool {
			owners := map[string]bool{}
			for _, c := range w.checkpoints("sink") {
				owners[c.Owner] = true
			}
			return len(owners) == 2
		})
		w.write(500, 20)
		w.arrived(sink)
		stop()
		w.write(500, 20)
		w.arrived(sink)
		stopOther()
	}
	if n := w.dead.count(); n > 0 {
		t.Errorf("got %d parked, want none", n)
	}
}
