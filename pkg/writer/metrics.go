package writer

import "github.com/prometheus/client_golang/prometheus"

// metrics are of all logs of the process together.
type metrics struct {
	blocks, commits, recoveries prometheus.Counter
	refused                     *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		blocks:     prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_writer_blocks_total", Help: "Blocks sent to the logs."}),
		commits:    prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_writer_commits_total", Help: "Commits sent to the logs."}),
		recoveries: prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_writer_recoveries_total", Help: "Times a log was taken again to settle an outcome."}),
		refused:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventful_writer_refused_total", Help: "Commands refused, by problem code."}, []string{"code"}),
	}
	if r != nil {
		r.MustRegister(m.blocks, m.commits, m.recoveries, m.refused)
	}
	return m
}
