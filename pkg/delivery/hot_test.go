package delivery_test

import (
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// An aggregate that its target does not take for a while fills its partition, and holds up no other one, however much waits behind it; what waits arrives when it may.
func TestAnotherPartitionGoesOn(t *testing.T) {
	t.Parallel()
	const many = 20000 // more than a partition holds
	sink, shut := newTarget(), true
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if shut && c.Aggregate.ID == "hot" {
			return plugin.Retry(errBusy)
		}
		return plugin.Done()
	}
	w := newWorld(t, sink.kind(true))
	w.configure("sink", map[string]string{"partitions": "3", "max-backoff": "100ms"})
	hot := verifytest.Aggregate("patient", "hot")
	var others []event.AggregateID
	for i := 0; len(others) < 4; i++ {
		if a := verifytest.Aggregate("patient", fmt.Sprint(i)); registry.Partition(a, 3) != registry.Partition(hot, 3) {
			others = append(others, a)
		}
	}
	all := func() (commits []verifytest.Commit) {
		for _, a := range others {
			commits = append(commits, w.commit(a.ID, "came"))
		}
		return commits
	}
	_, stop := w.runner()
	w.logs["patient"].Block(append(all(), w.commit("hot", "came"))...)
	for n := 0; n < many; n += 500 {
		var commits []verifytest.Commit
		for range 500 {
			commits = append(commits, w.commit("hot", "came"))
		}
		w.logs["patient"].Block(commits...)
	}
	for turn := 2; turn < 5; turn++ {
		w.logs["patient"].Block(all()...)
		w.until("the others go on", func() bool {
			for _, a := range others {
				if len(sink.versions(a)) < turn {
					return false
				}
			}
			return true
		})
	}
	sink.mu.Lock()
	shut = false
	sink.mu.Unlock()
	w.logs["patient"].Block(append(all(), w.commit("hot", "came"))...)
	w.arrived(sink)
	stop()
	for a, n := range sink.deliveries {
		if n != w.written[a] {
			t.Errorf("%s: got %d deliveries, want %d", a, n, w.written[a])
		}
	}
}
