package writer

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are of all logs of the process together.
type metrics struct {
	blocks, commits, recoveries, takeovers prometheus.Counter
	refused                                *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		blocks:     prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_writer_blocks_total", Help: "Blocks sent to the logs."}),
		commits:    prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_writer_commits_total", Help: "Commits sent to the logs."}),
		recoveries: prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_writer_recoveries_total", Help: "Times a log was taken again to settle an outcome."}),
		takeovers:  prometheus.NewCounter(prometheus.CounterOpts{Name: "eventful_writer_takeovers_total", Help: "Times this process began to write a log: at start, by hand-over, and behind a writer that is gone."}),
		refused:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventful_writer_refused_total", Help: "Commands refused, by problem code."}, []string{"code"}),
	}
	if r != nil {
		r.MustRegister(m.blocks, m.commits, m.recoveries, m.takeovers, m.refused)
	}
	return m
}

// standings tells where the logs stand whenever somebody asks for the metrics: how far other processes are is asked of them, which takes up to standingPatience when one does not answer.
type standings struct {
	w         *Writer
	led, lags *prometheus.Desc
}

func newStandings(w *Writer) standings {
	return standings{
		w:    w,
		led:  prometheus.NewDesc("eventful_writer_logs_led", "Logs that this process writes.", nil, nil),
		lags: prometheus.NewDesc("eventful_writer_standby_lag_blocks", "Blocks that this process is behind as a standby of a log. Missing while the log's writer does not say how far it is.", []string{"log"}, nil),
	}
}

func (s standings) register(r prometheus.Registerer) {
	if r != nil {
		r.MustRegister(s)
	}
}

// Describe implements prometheus.Collector.
func (s standings) Describe(out chan<- *prometheus.Desc) { out <- s.led; out <- s.lags }

// Collect implements prometheus.Collector.
func (s standings) Collect(out chan<- prometheus.Metric) {
	led := 0
	for _, l := range s.w.Status() {
		if l.Serving {
			led++
		}
	}
	out <- prometheus.MustNewConstMetric(s.led, prometheus.GaugeValue, float64(led))
	site := s.w.Site(context.Background()) // bounded by itself
	silent := make(map[string]bool)
	for _, m := range site.Members {
		silent[m.ID] = m.Silent
	}
	for _, l := range site.Logs {
		if quiet, lives := silent[l.Member]; quiet || !lives {
			continue
		}
		for _, b := range l.Standbys {
			if b.Member == s.w.cfg.Lease.Member.ID {
				out <- prometheus.MustNewConstMetric(s.lags, prometheus.GaugeValue, float64(b.Lag), l.Log)
			}
		}
	}
}
