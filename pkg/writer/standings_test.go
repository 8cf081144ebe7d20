package writer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// sharing are the metrics of a member about who writes what.
func (m *member) sharing() map[string]float64 {
	m.c.t.Helper()
	families, err := m.metrics.Gather()
	if err != nil {
		m.c.t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, one := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "eventful_writer_")
			for _, l := range one.GetLabel() {
				name += " " + l.GetValue()
			}
			switch name {
			case "logs_led", "standby_lag_blocks patient", "standby_lag_blocks eventful":
				values[name] = one.GetGauge().GetValue()
			case "takeovers_total":
				values[name] = one.GetCounter().GetValue()
			}
		}
	}
	return values
}

// The metrics say how many logs a process writes, how far it is behind with the others, and how often it took one over.
func TestMetricsOfSharing(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.lead("a", "eventful")
	c.lead("a", "patient")
	a, b := c.members["a"], c.members["b"]
	before := b.sharing()["takeovers_total"]
	c.until("the standby has everything", func() bool {
		return cmp.Diff(map[string]float64{"logs_led": 0, "standby_lag_blocks eventful": 0, "standby_lag_blocks patient": 0, "takeovers_total": before}, b.sharing()) == ""
	})
	if got := a.sharing(); got["logs_led"] != 2 || len(got) != 2 {
		t.Errorf("got %v from the writer of both logs, want 2 led and no lag", got)
	}
	c.lead("b", "patient")
	c.until("one was taken over", func() bool { return b.sharing()["takeovers_total"] == before+1 && b.sharing()["logs_led"] == 1 })
	wake := b.cutOff()
	b.clock.forward(time.Hour)
	c.until("it is not sure to lead anything", func() bool { return b.w.Lapsed() != nil })
	if got := fmt.Sprint(b.w.Lapsed()); !strings.Contains(got, "leases could not be renewed") {
		t.Errorf("got %s, want that its leases lapsed", got)
	}
	if err := a.w.Lapsed(); err != nil {
		t.Errorf("the other one: got %v, want nil", err)
	}
	wake()
	c.until("its leases hold again", func() bool { return b.w.Lapsed() == nil })
}
