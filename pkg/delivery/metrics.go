package delivery

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count per plugin.
type metrics struct {
	changes *prometheus.CounterVec
	took    *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventful_plugin_changes_total",
			Help: "Changes by what became of them: delivered, parked, or to be tried again."}, []string{"plugin", "outcome"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "eventful_plugin_call_seconds",
			Help: "How long one call to the target of a plugin took.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9)}, []string{"plugin"}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(r.Register(m.changes), r.Register(m.took))
}

func (m *metrics) settled(plugin string, arrived, refused, again int, took time.Duration) {
	m.changes.WithLabelValues(plugin, "delivered").Add(float64(arrived))
	m.changes.WithLabelValues(plugin, "parked").Add(float64(refused))
	m.changes.WithLabelValues(plugin, "retried").Add(float64(again))
	m.took.WithLabelValues(plugin).Observe(took.Seconds())
}
