package delivery_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// holding is a target that answers no call before the call's time is over.
type holding struct {
	*target
	called chan struct{}
}

// Deliver implements plugin.Plugin.
func (h holding) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	h.called <- struct{}{}
	<-ctx.Done()
	return plugin.All(len(b.Changes), plugin.Retry(ctx.Err()))
}

// A runner that is told to end gives a call that is under way two seconds, and not its --call-timeout. What the call had comes again.
func TestAnEndCutsCallsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newTarget()
		held := holding{sink, make(chan struct{}, 1)}
		k := sink.kind(false)
		opens := k.Open
		k.Open = func(context.Context, plugin.Settings) (plugin.Plugin, error) { return held, nil }
		w := newWorld(t, k)
		w.write(1, 1)
		w.configure("sink", map[string]string{"call-timeout": "60s"})
		_, stop := w.runner()
		<-held.called
		told := time.Now()
		stop()
		if took := time.Since(told); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("it ended after %v, want two seconds and at most one more", took)
		}
		k.Open = opens
		_, stop = w.runner()
		w.arrived(sink)
		stop()
	})
}
