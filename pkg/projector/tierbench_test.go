package projector_test

import (
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// BenchmarkArchivedHalf archives half of 100,000 aggregates of five events each, and reports what the index takes before and behind it, and what reading costs.
func BenchmarkArchivedHalf(b *testing.B) {
	const aggregates, events = 100_000, 500_000
	h := newHarness(b)
	h.limit = 0
	log := h.log(patient)
	fill(log, events, aggregates)
	p := h.start()
	ctx := h.current()
	if err := projector.Flush(ctx, p, patient); err != nil {
		b.Fatal(err)
	}
	before := settledBytes(b, p)
	for i := 0; i < aggregates; i += 200 {
		var commits []verifytest.Commit
		for k := i; k < i+200; k += 2 {
			commits = append(commits, tier(fmt.Sprintf("P%06d", k), "aggregate-archived", "moved away"))
		}
		log.Block(commits...)
	}
	ctx = h.current()
	if err := projector.Flush(ctx, p, patient); err != nil {
		b.Fatal(err)
	}
	after := settledBytes(b, p)
	for name, odd := range map[string]int{"hot": 1, "archived": 0} {
		for what, ask := range map[string]func(id string) error{
			"get":        func(id string) error { _, err := p.Get(ctx, of(id), projector.When{}); return err },
			"version 2":  func(id string) error { _, err := p.Get(ctx, of(id), projector.When{Version: 2}); return err },
			"history":    func(id string) error { _, err := p.History(ctx, of(id), 1, 0); return err },
			"list of 50": func(string) error { _, err := p.List(ctx, projector.Wanted{Archived: odd == 0, Take: 50}); return err },
		} {
			b.Run(name+" "+what, func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if err := ask(fmt.Sprintf("P%06d", i*7919%(aggregates/2)*2+odd)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(before), "bytes-before")
				b.ReportMetric(float64(after), "bytes-after")
			})
		}
	}
}
