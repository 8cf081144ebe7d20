package projector_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// wide is a log of many aggregates, of which every thousandth has a status of its own; each was written twice.
func wide(h *harness, aggregates int) {
	migrate(h.log(event.Reserved), modelDefinition)
	b := h.log(patient)
	for _, event := range []string{"set", "set"} {
		for n := 0; n < aggregates; n += 100 {
			commits := make([]verifytest.Commit, 100)
			for i := range commits {
				id := fmt.Sprintf("P%07d", (n+i)*7919%aggregates)
				commits[i] = one(id, event, text("a", fmt.Sprint((n+i)%1000)), text("n", fmt.Sprint(n+i)), text("b", "a value of middling length"))
				commits[i].Events[0].SchemaDigest = schema.Digest([]byte(modelDefinition))
			}
			b.Block(commits...)
		}
	}
}

// BenchmarkWide builds the index of a log with many aggregates, and asks it.
func BenchmarkWide(b *testing.B) {
	const aggregates = 200_000
	h := newHarness(b)
	wide(h, aggregates)
	began := time.Now()
	p := h.start()
	h.current()
	took := time.Since(began)
	h.stop() // which writes what is in memory
	size := float64(folderBytes(b, h.dir))
	p = h.start()
	h.current()
	ctx := context.Background()
	b.Run("build", func(b *testing.B) {
		b.ReportMetric(2*aggregates/took.Seconds(), "events/s")
		b.ReportMetric(size/(2*aggregates), "index-B/event")
		b.ReportMetric(float64(logBytes(h.raw[patient]))/(2*aggregates), "log-B/event")
	})
	b.Run("equality", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			list, err := p.List(ctx, projector.Wanted{Types: []string{patient}, Filter: fmt.Sprintf("a = %d", i%1000), Take: 50})
			if err != nil || len(list.Aggregates) != 50 {
				b.Fatal(len(list.Aggregates), err)
			}
		}
	})
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.List(ctx, projector.Wanted{Types: []string{patient}, Filter: "n < 0", Order: "n"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("state", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := p.Get(ctx, of(fmt.Sprintf("P%07d", i*104729%aggregates)), projector.When{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("version", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := p.Get(ctx, of(fmt.Sprintf("P%07d", i*104729%aggregates)), projector.When{Version: 1}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func folderBytes(b *testing.B, dir string) (total int) {
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			total += int(info.Size())
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return total
}

func logBytes(log eventlog.Log) (total int) {
	_, last, _ := log.Bounds(context.Background())
	for s := uint64(1); s <= last; s++ {
		if m, err := log.Get(context.Background(), s); err == nil {
			total += len(m.Data)
		}
	}
	return total
}

// BenchmarkReads reads aggregates of 20 events, spread over a log of 200,000.
func BenchmarkReads(b *testing.B) {
	const aggregates = 10_000
	h := newHarness(b)
	migrate(h.log(event.Reserved), modelDefinition)
	log := h.log(patient)
	for n := 0; n < 20*aggregates; n += 100 {
		commits := make([]verifytest.Commit, 100)
		for i := range commits {
			commits[i] = one(fmt.Sprintf("P%07d", (n+i)%aggregates), "set", text("a", fmt.Sprint((n+i)%1000)), text("b", strings.Repeat("x", 200)))
			commits[i].Events[0].SchemaDigest = schema.Digest([]byte(modelDefinition))
		}
		log.Block(commits...)
	}
	p := h.start()
	h.current()
	ctx := context.Background()
	b.Run("history", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if list, err := p.History(ctx, of(fmt.Sprintf("P%07d", i*7919%aggregates)), 1, 100); err != nil || len(list.Events) != 20 {
				b.Fatal(len(list.Events), err)
			}
		}
	})
	b.Run("state", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := p.Get(ctx, of(fmt.Sprintf("P%07d", i*7919%aggregates)), projector.When{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("version", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := p.Get(ctx, of(fmt.Sprintf("P%07d", i*7919%aggregates)), projector.When{Version: 10}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
