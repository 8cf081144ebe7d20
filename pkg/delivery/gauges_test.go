package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// gathered are the values of the gauges, by name and labels.
func gathered(t *testing.T, w *world) map[string]float64 {
	t.Helper()
	d := w.desk()
	d.Now = func() time.Time { return time.Now().Add(time.Hour) }
	r := prometheus.NewRegistry()
	r.MustRegister(delivery.Gauges{Desk: d, Plugins: func() []*registry.Plugin { return []*registry.Plugin{w.registered("sink")} }, Logs: func([]string) []string { return []string{"patient"} }})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			values[name] = m.GetGauge().GetValue()
		}
	}
	return values
}

// The metrics tell of each partition how far it is behind, and how much is parked, also while nobody works on it; of a disabled plugin only the latter.
func TestTheMetricsTellHowFarPluginsAre(t *testing.T) {
	t.Parallel()
	sink := newRefuser()
	w := newWorld(t, sink.kind(false))
	w.configure("sink", map[string]string{"partitions": "2"})
	w.logs["patient"].Block(w.commit("A", "came"), w.commit("A", "came"), w.commit("B", "came"))
	before := gathered(t, w)
	for _, partition := range []string{"0", "1"} {
		if got := before["eventful_plugin_lag_events partition="+partition+" plugin=sink"]; got != 3 {
			t.Errorf("partition %s, not begun: got a lag of %v events, want 3", partition, got)
		}
		if got := before["eventful_plugin_lag_seconds partition="+partition+" plugin=sink"]; got == 0 {
			t.Errorf("partition %s, not begun: got a lag of %v seconds, want more", partition, got)
		}
	}
	_, stop := w.runner()
	w.until("all is settled", func() bool { return gathered(t, w)["eventful_plugin_lag_events partition=0 plugin=sink"] == 0 })
	w.until("all is settled", func() bool { return gathered(t, w)["eventful_plugin_lag_events partition=1 plugin=sink"] == 0 })
	if got := gathered(t, w)["eventful_plugin_parked_changes plugin=sink"]; got != 1 {
		t.Errorf("got %v parked, want 1", got)
	}

	// One aggregate is held up: the partition that has it is behind, and the other is not.
	held := registry.Partition(verifytest.Aggregate("patient", "A"), 2)
	sink.mu.Lock()
	refuse := sink.outcome
	sink.outcome = func(c *plugin.Change) plugin.Outcome {
		if c.Aggregate.ID == "A" {
			return plugin.Retry(errBusy)
		}
		return refuse(c)
	}
	sink.mu.Unlock()
	w.logs["patient"].Block(w.commit("A", "came"))
	w.until("one partition is behind", func() bool {
		now := gathered(t, w)
		return now[fmt.Sprintf("eventful_plugin_lag_events partition=%d plugin=sink", held)] == 1 && now[fmt.Sprintf("eventful_plugin_lag_seconds partition=%d plugin=sink", held)] > 0 &&
			now[fmt.Sprintf("eventful_plugin_lag_events partition=%d plugin=sink", 1-held)] == 0 && now[fmt.Sprintf("eventful_plugin_lag_seconds partition=%d plugin=sink", 1-held)] == 0
	})
	w.plugin("sink", registry.Disabled, nil)
	if now := gathered(t, w); len(now) != 1 || now["eventful_plugin_parked_changes plugin=sink"] != 1 {
		t.Errorf("disabled: got %v, want what is parked alone", now)
	}
	stop()
}
