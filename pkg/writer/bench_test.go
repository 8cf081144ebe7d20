package writer_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// BenchmarkRebuild rebuilds the state of a log of 200,000 events of 10,000 aggregates, in commits of ten.
func BenchmarkRebuild(b *testing.B) {
	const aggregates, rounds, each = 10_000, 2, 10
	s := newSite(b, eventlog.NewMemory())
	jwt := s.token(1 << 40)
	text := []event.Field{{Name: "name", Value: "a name of 20 letters", Set: true}}
	for round := range rounds {
		var waits []<-chan outcome
		for i := range aggregates {
			c := aggregate.Change{Aggregate: event.AggregateID{Type: "patient", ID: fmt.Sprintf("patient-%d", i)}}
			for range each {
				c.Events = append(c.Events, aggregate.NewEvent{Type: "registered", Fields: text})
			}
			waits = append(waits, s.send(change(jwt, fmt.Sprintf("c-%d-%d", round, i), c)))
		}
		for _, w := range waits {
			if o := s.wait(w); o.problem != nil {
				b.Fatal(o.problem)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		if err := s.stop(); err != nil {
			b.Fatal(err)
		}
		if err := os.RemoveAll(s.stateDir("patient")); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		s.start()
	}
	b.ReportMetric(float64(aggregates*rounds*each*b.N)/b.Elapsed().Seconds(), "events/s")
}
