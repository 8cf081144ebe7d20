package jetlog_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

func newArchive(t *testing.T) *archive.Archive {
	t.Helper()
	folder, err := archive.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a, err := archive.New(archive.Config{Objects: folder, Site: jetlogtest.Site, Key: make([]byte, 32), SegmentBytes: 200_000})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A stream is purged while readers lag behind: one that reads on, one that begins anew, and single reads find every block, also behind a restart of the server.
func TestReadersLagBehindAPurge(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	store, a := s.Store(), newArchive(t)
	stream, err := store.Create(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	b := verifytest.New(t, stream)
	long := strings.Repeat("more than a reader gets ahead of what it passes on ", 300) // 600 times
	for range 600 {
		b.Block(verifytest.Commit{Aggregate: verifytest.Aggregate("patient", "A"), Events: []verifytest.Event{{Type: "note", Fields: []event.Field{verifytest.Text("text", long)}}}})
	}
	want := verifytest.Messages(t, stream)
	log, err := archive.Join(store, a).Open(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	lagging, err := log.Follow(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lagging.Stop()
	read := func(c eventlog.Cursor, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			if m, err := c.Next(t.Context()); err != nil || m.Sequence != uint64(i+1) || !bytes.Equal(m.Data, want[i]) {
				t.Fatalf("message %d: got %d, %v", i+1, m.Sequence, err)
			}
		}
	}
	read(lagging, 0, 5)
	for done := false; !done; {
		if _, done, err = a.Extend(t.Context(), stream, 590); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Compare(t.Context(), stream, 1, 590); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := store.Purge(t.Context(), "patient", 590); err != nil {
			t.Fatal(err)
		}
	}
	if first, last, err := stream.Bounds(t.Context()); first != 591 || last != 600 || err != nil {
		t.Fatalf("got the stream from %d to %d, %v, want 591 to 600", first, last, err)
	}
	read(lagging, 5, 600)
	s.Stop()
	s.Start()
	anew, err := log.Follow(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer anew.Stop()
	read(anew, 100, 600)
	for _, sequence := range []uint64{1, 590, 591} {
		if m, err := log.Get(t.Context(), sequence); err != nil || !bytes.Equal(m.Data, want[sequence-1]) {
			t.Errorf("Get(%d): got %d, %v", sequence, m.Sequence, err)
		}
	}
	if r, err := verify.All(t.Context(), log, nil); err != nil || !r.OK() || r.Blocks != 600 {
		t.Errorf("verify: got %v, %v", r.Failures(), err)
	}
}

// Projectors tell how far they are; the lowest counts, and one of them is foremost.
func TestStandingOfProjectors(t *testing.T) {
	t.Parallel()
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	asking := s.Store()
	if _, err := asking.Standing(t.Context(), "patient"); err == nil {
		t.Error("got an answer, and there is no projector")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for instance, at := range map[string]uint64{"A": 700, "B": 300} {
		go func() {
			ended <- s.Store().AnswerStanding(ctx, instance, func() map[string]uint64 { return map[string]uint64{"patient": at} })
		}()
	}
	until(t, "both answer", func() bool {
		at, err := asking.Standing(t.Context(), "patient")
		return err == nil && at == 300
	})
	if at, err := asking.Standing(t.Context(), "ward"); at != 0 || err != nil {
		t.Errorf("a log that they do not know: got %d, %v, want 0", at, err)
	}
	for instance, want := range map[string]bool{"A": true, "B": false, "0": false} {
		if got, err := asking.Foremost(t.Context(), instance); got != want || err != nil {
			t.Errorf("%s: got %t, %v, want %t", instance, got, err, want)
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
