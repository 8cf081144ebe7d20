package verify_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// fill writes blocks of 100 commits with one event each, over the given number of aggregates.
func fill(t testing.TB, b *verifytest.Builder, events, aggregates int) {
	for n := 0; n < events; n += 100 {
		commits := make([]verifytest.Commit, 100)
		for i := range commits {
			id := fmt.Sprintf("P%06d", (n+i)%aggregates)
			commits[i] = verifytest.Commit{Aggregate: verifytest.Aggregate("patient", id), Events: []verifytest.Event{{Type: "crp",
				Fields: append(text("crp", "21.0", "group", "A"), text("note", "a value of middling length, as they come")...)}}}
		}
		b.Block(commits...)
	}
}

func BenchmarkAll(b *testing.B) {
	const events = 100_000
	_, log, builder := verifytest.Memory(b, "patient")
	fill(b, builder, events, 7_000)
	b.ReportAllocs()
	for b.Loop() {
		report, err := verify.All(context.Background(), log, nil)
		if err != nil || !report.OK() || report.Events != events {
			b.Fatalf("got %+v, %v, want %d events, all OK", report, err, events)
		}
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAllWide is BenchmarkAll of a log of many aggregates, two events each.
func BenchmarkAllWide(b *testing.B) {
	for _, aggregates := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(aggregates), func(b *testing.B) {
			_, log, builder := verifytest.Memory(b, "patient")
			fill(b, builder, 2*aggregates, aggregates)
			b.ReportAllocs()
			for b.Loop() {
				report, err := verify.All(context.Background(), log, nil)
				if err != nil || !report.OK() || report.Aggregates != uint64(aggregates) {
					b.Fatalf("got %+v, %v, want %d aggregates, all OK", report, err, aggregates)
				}
			}
			b.ReportMetric(float64(b.N)*2*float64(aggregates)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkBareLoop decodes the same blocks and hashes their leaves, and checks nothing: what All is measured against.
func BenchmarkBareLoop(b *testing.B) {
	const events = 100_000
	_, log, builder := verifytest.Memory(b, "patient")
	fill(b, builder, events, 7_000)
	b.ReportAllocs()
	for b.Loop() {
		r, err := eventlog.Read(context.Background(), log, event.Chain{})
		if err != nil {
			b.Fatal(err)
		}
		leaves := 0
		for leaves < events {
			found, err := r.Next(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range found.Commits {
				leaves += len(c.Leaves())
			}
		}
		r.Stop()
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}
