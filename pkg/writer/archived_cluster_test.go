package writer_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// archiveLog archives a log of the cluster up to its end, as an archiver beside the writers does: it reaches them over the wire.
func (c *cluster) archiveLog(memory *eventlog.Memory, a *archive.Archive, log string) {
	c.t.Helper()
	r := archive.NewArchiver(archive.ArchiverConfig{
		Archive: a, Logs: memory,
		Passed: func(context.Context, string) (uint64, error) { return 1 << 60, nil },
		Purge:  func(_ context.Context, log string, upTo uint64) error { memory.Purge(log, upTo); return nil },
	})
	peers := c.lines.end("archiver")
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	o, err := r.Archive(ctx, log, 0, func(ctx context.Context, log string, cut uint64, segment event.Hash) (eventlog.KeptSnapshot, error) {
		return writer.AskArchive(ctx, peers, log, c.boss.adminToken(), writer.Cut{Sequence: cut, Segment: segment.String()})
	})
	if err != nil || !o.Done || o.First <= 1 {
		c.t.Fatalf("archive %s: got %+v, %v", log, o, err)
	}
}

// newArchivedCluster has one member, and an archive.
func newArchivedCluster(t *testing.T) (*cluster, *eventlog.Memory, *archive.Archive) {
	t.Helper()
	folder, err := archive.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := archive.New(archive.Config{Objects: folder, Site: "here", Key: make([]byte, 32), SegmentBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	memory := eventlog.NewMemory()
	c := newCluster(t, archive.Join(memory, a), "one")
	c.archive = a
	c.members["one"].end()
	c.start("one")
	c.boss.w = c.leader("eventful").w
	return c, memory, a
}

// segments writes those of a log, and gives them.
func (c *cluster) segments(memory *eventlog.Memory, a *archive.Archive, log string) []archive.Segment {
	c.t.Helper()
	l, err := memory.Open(c.t.Context(), log)
	if err != nil {
		c.t.Fatal(err)
	}
	_, last, err := l.Bounds(c.t.Context())
	for done := false; err == nil && !done; {
		_, done, err = a.Extend(c.t.Context(), l, last)
	}
	all, listErr := a.Segments(c.t.Context(), log)
	if err != nil || listErr != nil || len(all) == 0 {
		c.t.Fatalf("got segments %v, %v, %v", all, err, listErr)
	}
	return all
}

// Logs are purged under a standby, and under one that is away and comes back with its state or without: each takes over, and knows every head, command and lock.
func TestStandbysTakeOverBehindTheCut(t *testing.T) {
	t.Parallel()
	c, memory, a := newArchivedCluster(t)
	c.start("two")
	c.boss.w = c.leader("eventful").w
	jwt := c.boss.token(10_000)
	write := func(n int, round string) {
		t.Helper()
		for i := range n {
			c.keepAsking("patient", crp(jwt, fmt.Sprint(round, "-", i), fmt.Sprint(i%5), "1"))
		}
	}
	write(60, "first")
	c.archiveLog(memory, a, "patient")
	c.archiveLog(memory, a, "eventful")
	away := c.other("patient")
	for _, lost := range []bool{false, true} {
		away.end()
		delete(c.members, away.name)
		write(30, fmt.Sprint("away-", lost))
		c.archiveLog(memory, a, "patient")
		if lost {
			if err := os.RemoveAll(filepath.Join(c.dir, away.name)); err != nil {
				t.Fatal(err)
			}
		}
		away = c.start(away.name)
		c.lead(away.name, "patient")
		c.boss.w = c.leader("eventful").w
		if again := c.keepAsking("patient", crp(jwt, "first-3", "3", "1")); !again.Repeated {
			t.Error("a command from before the cut was stored again")
		}
		write(5, fmt.Sprint("back-", lost))
		away = c.other("patient")
	}
}
