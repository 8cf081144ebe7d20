package writer_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/writer"
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

// BenchmarkCachedHeads tells what a cache of heads takes that is full: `make bench` takes it off a writer's memory.
func BenchmarkCachedHeads(b *testing.B) {
	const cached = 1 << 16
	for _, events := range []uint64{1, 3, 20} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				heads := writer.FillHeads(cached, events)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/cached, "B/head")
				runtime.KeepAlive(heads)
			}
		})
	}
}
