package projector

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the projector's; a nil one takes everything and keeps nothing.
type metrics struct {
	lag      *prometheus.GaugeVec
	late     *prometheus.GaugeVec
	events   *prometheus.CounterVec
	rebuilds *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	m := &metrics{
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "eventful_projector_lag_events",
			Help: "Events stored in a log and not yet in its index, asked once a second."}, []string{"log"}),
		late: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "eventful_projector_lag_seconds",
			Help: "How much later the newest block of a log was written than the newest one in its index, asked once a second."}, []string{"log"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventful_projector_events_total",
			Help: "Events written to the index of a log since the program started."}, []string{"log"}),
		rebuilds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventful_projector_rebuilds_total",
			Help: "Times that the index of a log was dropped and rebuilt."}, []string{"log"}),
	}
	return m, errors.Join(register(r, m.lag), register(r, m.late), register(r, m.events), register(r, m.rebuilds))
}

func register(r prometheus.Registerer, c prometheus.Collector) error {
	if err := r.Register(c); err != nil {
		return fmt.Errorf("register metric: %w", err)
	}
	return nil
}

func (m *metrics) lagging(log string, events uint64, late time.Duration) {
	if m != nil {
		m.lag.WithLabelValues(log).Set(float64(events))
		m.late.WithLabelValues(log).Set(late.Seconds())
	}
}

func (m *metrics) indexed(log string, events int) {
	if m != nil {
		m.events.WithLabelValues(log).Add(float64(events))
	}
}

func (m *metrics) rebuilt(log string) {
	if m != nil {
		m.rebuilds.WithLabelValues(log).Inc()
	}
}
