package delivery

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// Gauges tell how far plugins are, and what is parked, by what is stored: also while no plugin-runner is there. They look whenever somebody asks for the metrics. All fields are required.
type Gauges struct {
	Desk    *Desk
	Plugins func() []*registry.Plugin     // none where another process tells of them
	Logs    func(types []string) []string // the logs of some types, or of all
}

// gaugePatience bounds one look: what is not known by then is left out.
const gaugePatience = 2 * time.Second

var (
	lagEvents  = prometheus.NewDesc("eventful_plugin_lag_events", "Events stored in the logs of an enabled plugin that a partition of it has not settled yet.", []string{"plugin", "partition"}, nil)
	lagSeconds = prometheus.NewDesc("eventful_plugin_lag_seconds", "How long ago the oldest event was stored that a partition of an enabled plugin has not settled yet; 0: there is none.", []string{"plugin", "partition"}, nil)
	parkedNow  = prometheus.NewDesc("eventful_plugin_parked_changes", "Changes of a plugin that are parked.", []string{"plugin"}, nil)
)

// Describe implements prometheus.Collector.
func (g Gauges) Describe(out chan<- *prometheus.Desc) {
	out <- lagEvents
	out <- lagSeconds
	out <- parkedNow
}

// Collect implements prometheus.Collector.
func (g Gauges) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), gaugePatience)
	defer cancel()
	for _, p := range g.Plugins() {
		s, err := g.Desk.Standing(ctx, p, g.Logs(plugin.Values(p.Options).List(OptionTypes)))
		if err != nil {
			continue // the next look says more
		}
		out <- prometheus.MustNewConstMetric(parkedNow, prometheus.GaugeValue, float64(s.Parked), p.Name)
		for _, one := range s.Partitions {
			if !p.Enabled {
				break
			}
			partition := strconv.Itoa(one.Partition)
			out <- prometheus.MustNewConstMetric(lagEvents, prometheus.GaugeValue, float64(one.LagEvents), p.Name, partition)
			out <- prometheus.MustNewConstMetric(lagSeconds, prometheus.GaugeValue, one.LagSeconds, p.Name, partition)
		}
	}
}
