package jetlog_test

import (
	"crypto/sha256"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/streams"
)

// TestCheckpoints: of two that replace one revision one gets it, a reader sees the last, and nobody takes a checkpoint back.
func TestCheckpoints(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	reader, err := s.Store().CheckpointsToRead()
	if err != nil {
		t.Fatal(err)
	}
	key := streams.CheckpointKey("patient")
	if value, revision, err := reader.Get(t.Context(), key); value != nil || revision != 0 || err != nil {
		t.Errorf("without a bucket: got %d bytes, %d, %v, want none", len(value), revision, err)
	}
	b, err := s.Store().Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, err := b.Replace(t.Context(), key, []byte("1"), 0)
	if err != nil || first == 0 {
		t.Fatalf("got %d, %v", first, err)
	}
	if _, err := b.Replace(t.Context(), key, []byte("rival"), 0); !errors.Is(err, eventlog.ErrTaken) {
		t.Errorf("a second first one: got %v, want ErrTaken", err)
	}
	second, err := b.Replace(t.Context(), key, []byte("2"), first)
	if err != nil || second <= first {
		t.Fatalf("got %d, %v", second, err)
	}
	if _, err := b.Replace(t.Context(), key, []byte("rival"), first); !errors.Is(err, eventlog.ErrTaken) {
		t.Errorf("a late one: got %v, want ErrTaken", err)
	}
	if value, revision, err := reader.Get(t.Context(), key); string(value) != "2" || revision != second || err != nil {
		t.Errorf("got %q, %d, %v, want 2, %d", value, revision, err, second)
	}
	if err := b.Delete(t.Context(), key, second); err == nil {
		t.Error("a checkpoint was taken back")
	}
	if value, _, err := reader.Get(t.Context(), key); string(value) != "2" || err != nil {
		t.Errorf("behind it: got %q, %v, want 2", value, err)
	}
}

// BenchmarkCheckpoint signs a tree of a million events and stores the checkpoint, on a server in the same process: at most ten a second are, for a log.
func BenchmarkCheckpoint(b *testing.B) {
	s := jetlogtest.StartServer(b, jetlogtest.Options{})
	bucket, err := s.Store().Checkpoints(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	k := logtree.NewKey("main", [32]byte{1})
	frontier := make([]event.Hash, 7) // of 1,000,000 leaves
	for i := range frontier {
		frontier[i] = sha256.Sum256([]byte{byte(i)})
	}
	tree, err := event.NewTree(1_000_000, frontier)
	if err != nil {
		b.Fatal(err)
	}
	var revision uint64
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for b.Loop() {
		note, err := k.Sign("patient", tree.Size(), tree.Root())
		if err != nil {
			b.Fatal(err)
		}
		r := logtree.Record{Note: note, Position: event.Position{Log: "patient", Sequence: 9}, Tree: tree}
		if revision, err = bucket.Replace(b.Context(), "log-patient", r.Encode(), revision); err != nil {
			b.Fatal(err)
		}
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "µs-processor/op")
}
