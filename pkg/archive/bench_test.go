package archive_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// benchLog is a log in memory of blocks with 100 events each.
func benchLog(b *testing.B, blocks int) (*eventlog.Memory, eventlog.Log) {
	b.Helper()
	store, log, builder := verifytest.Memory(b, "patient")
	for range blocks {
		commits := make([]verifytest.Commit, 100)
		for i := range commits {
			commits[i] = verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "A"), Events: []verifytest.Event{{Type: "note", Fields: []event.Field{verifytest.Text("text", "some words of a note")}}}}
		}
		builder.Block(commits...)
	}
	return store, log
}

func benchArchive(b *testing.B) *archive.Archive {
	b.Helper()
	place, err := archive.OpenFolder(filepath.Join(b.TempDir(), "cold"))
	if err != nil {
		b.Fatal(err)
	}
	a, err := archive.New(archive.Config{Objects: place, Site: verifytest.Site, Key: key()})
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// BenchmarkExtend archives 40,000 events.
func BenchmarkExtend(b *testing.B) {
	_, log := benchLog(b, 400)
	b.ReportAllocs()
	for b.Loop() {
		if err := extend(context.Background(), benchArchive(b), log, 400); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*40_000/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReadBack reads them from there, unjudged.
func BenchmarkReadBack(b *testing.B) {
	store, log := benchLog(b, 400)
	a := benchArchive(b)
	if err := extend(context.Background(), a, log, 400); err != nil {
		b.Fatal(err)
	}
	store.Purge("patient", 399)
	joined, err := archive.Join(store, a).Open(context.Background(), "patient")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c, err := joined.Follow(context.Background(), 0)
		if err != nil {
			b.Fatal(err)
		}
		for range 400 {
			if _, err := c.Next(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		c.Stop()
	}
	b.ReportMetric(float64(b.N)*40_000/b.Elapsed().Seconds(), "events/s")
}
