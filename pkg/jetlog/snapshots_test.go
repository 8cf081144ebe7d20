package jetlog_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/eventfuldb/eventful/internal/natstest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/streams"
)

// Who reads and writes snapshots need not find their bucket; a writer makes it, again and again to no effect.
func TestSnapshotBucket(t *testing.T) {
	s := jetlogtest.StartServer(t, jetlogtest.Options{})
	snapshotBucket(t, s.Store())
	settings, err := streams.SnapshotSettings(jetlogtest.Site, 1)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(settings, func(s streams.Setting) bool { return s.Name == "persist_mode" && s.Value == "async" }) {
		t.Errorf("got %v, want a bucket that costs no flush", settings)
	}
}

// Replicated streams cannot be async: the server refuses it.
func TestSnapshotBucketOnThreeServers(t *testing.T) {
	c := natstest.Start(t, 3, clusterConfig)
	snapshotBucket(t, clusterStore(t, c, "test", jetlog.Options{}))
}

func snapshotBucket(t *testing.T, store *jetlog.Store) {
	t.Helper()
	b, err := store.Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	if _, revision, err := b.Get(t.Context(), "log.a"); revision != 0 || err != nil {
		t.Errorf("without a bucket: got revision %d, %v", revision, err)
	}
	if keys, err := b.Below(t.Context(), "log.a"); len(keys) > 0 || err != nil {
		t.Errorf("without a bucket: got %v, %v", keys, err)
	}
	if key, _, revision, err := b.Next(t.Context(), "log", 0); revision != 0 || err != nil {
		t.Errorf("without a bucket: got %q at %d, %v", key, revision, err)
	}
	if err := b.Put(t.Context(), "log.a", []byte("x"), 0); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("without a bucket: got %v, want ErrUnavailable", err)
	}
	for range 2 {
		if err := store.MakeSnapshots(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the bucket takes values", func() bool { // a replicated stream has no leader in its first moments
		err := b.Put(t.Context(), "other", nil, 0)
		return err == nil || errors.Is(err, eventlog.ErrTaken)
	})
	for i, key := range []string{"log.a", "log.a.7", "log.a.12", "log.ab.7", "log.b"} {
		if err := b.Put(t.Context(), key, fmt.Append(nil, i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Put(t.Context(), "log.a", []byte("again"), 0); !errors.Is(err, eventlog.ErrTaken) {
		t.Errorf("made again: got %v, want ErrTaken", err)
	}
	value, revision, err := b.Get(t.Context(), "log.a")
	if err != nil || string(value) != "0" {
		t.Errorf("got %q, %v", value, err)
	}
	if err := b.Put(t.Context(), "log.a", []byte("again"), revision); err != nil {
		t.Error(err)
	}
	keys, err := b.Below(t.Context(), "log.a")
	if err != nil || !slices.Equal(keys, []string{"log.a.12", "log.a.7"}) {
		t.Errorf("below log.a: got %v, %v", keys, err)
	}
	_, revision, err = b.Get(t.Context(), "log.a.7")
	if err == nil {
		err = b.Erase(t.Context(), "log.a.7", revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	if keys, err = b.Below(t.Context(), "log.a"); err != nil || len(keys) != 1 {
		t.Errorf("behind an erasure: got %v, %v", keys, err)
	}
	if got, want := walked(t, b, "log"), []string{"log.a.12=2", "log.ab.7=3", "log.b=4", "log.a=again"}; !slices.Equal(got, want) {
		t.Errorf("one after the other: got %v, want %v", got, want)
	}
	if got := walked(t, b, "lo"); len(got) > 0 {
		t.Errorf("below another name: got %v", got)
	}
}

// walked are the values of a bucket below a prefix, in the order of Next.
func walked(t *testing.T, b *jetlog.LateBucket, prefix string) (out []string) {
	t.Helper()
	for above := uint64(0); ; {
		key, value, revision, err := b.Next(t.Context(), prefix, above)
		if err != nil {
			t.Fatal(err)
		}
		if revision == 0 {
			return out
		}
		out, above = append(out, key+"="+string(value)), revision
	}
}
