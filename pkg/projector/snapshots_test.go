package projector_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/snapshot"
	"github.com/eventfuldb/eventful/pkg/snapshot/snapshottest"
	"github.com/eventfuldb/eventful/pkg/verify"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

const longDefinition = `{"aggregate":"patient","log":"patient","snapshot-threshold":300,"events":{"crp":{"fields":["a","b","c"]},"discharged":{"deletes":true}}}`

var longOne = verifytest.Aggregate(patient, "long")

// long makes a log with one aggregate of 1,300 events or a little more.
func long(h *harness) (newest event.Version) {
	random := rand.New(rand.NewPCG(1, 2))
	migrate(h.log(event.Reserved), longDefinition)
	for newest < 1300 {
		var events []verifytest.Event
		for range 1 + random.IntN(3) {
			e := verifytest.Event{Type: "crp", SchemaDigest: schema.Digest([]byte(longDefinition)), SchemaVersion: 1}
			for _, name := range []string{"a", "b", "c"} {
				if random.IntN(3) == 0 {
					e.Fields = append(e.Fields, event.Field{Name: name, Value: fmt.Sprint(newest, name), Set: true})
				}
			}
			if random.IntN(400) == 0 {
				e.Type, e.Fields = "discharged", nil
			}
			events = append(events, e)
			newest++
		}
		h.log(patient).Block(verifytest.Commit{Aggregate: longOne, Events: events})
	}
	return newest
}

func (h *harness) states(newest event.Version) (out []projector.State) {
	h.t.Helper()
	ctx := h.current()
	for _, v := range []event.Version{0, newest, newest - 1, 1200, 1201, 1199, 900, 899, 700, 501, 500, 499, 300, 2, 1} {
		s, err := h.p.Get(ctx, longOne, projector.When{Version: v})
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func (h *harness) snapshotsIn(m *snapshottest.Memory) {
	h.t.Helper()
	var err error
	if h.snaps, err = snapshot.New(snapshot.Config{Site: site, Bucket: m, Wrap: [32]byte{1}, Name: [32]byte{2}}); err != nil {
		h.t.Fatal(err)
	}
}

// taken waits for the snapshot at a version.
func (h *harness) taken(v event.Version) *snapshot.Snapshot {
	h.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		one, err := h.snaps.Newest(h.t.Context(), patient, longOne)
		if err != nil {
			h.t.Fatal(err)
		}
		if one != nil && one.Version == v {
			return one
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("got %+v, want a snapshot at version %d", one, v)
		}
	}
}

// onlySnapshot puts one in the place of all that the aggregate has. A read before may still have an honest one taken, which stays if it comes first.
func (h *harness) onlySnapshot(one snapshot.Snapshot) {
	h.t.Helper()
	h.tick("the snapshot is kept", func() bool {
		_, err := h.snaps.Remove(h.t.Context(), patient, longOne)
		if err == nil {
			err = h.snaps.Put(h.t.Context(), one)
		}
		var kept *snapshot.Snapshot
		if err == nil {
			kept, err = h.snaps.Newest(h.t.Context(), patient, longOne)
		}
		if err != nil {
			h.t.Fatal(err)
		}
		return kept != nil && kept.Hash == one.Hash && kept.Deleted == one.Deleted && slices.Equal(kept.Fields, one.Fields)
	})
}

func (h *harness) lies(newest event.Version) (out []string) {
	h.t.Helper()
	ctx := h.current()
	_, v, root, err := h.p.Newest(ctx, longOne)
	if err != nil || v != newest {
		h.t.Fatalf("got version %d, %v", v, err)
	}
	all, err := h.p.CheckSnapshots(ctx, longOne, v, root)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, l := range all {
		out = append(out, fmt.Sprint(l.Version, ": ", l.Detail))
	}
	return out
}

// With snapshots every state is the one without; one is taken at the newest multiple of the threshold, by a rebuild too.
func TestSnapshotsChangeNoState(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	newest := long(h)
	h.start()
	want := h.states(newest)
	h.stop()
	m := snapshottest.NewMemory()
	h.snapshotsIn(m)
	h.start()
	ctx := h.current()
	if _, err := h.p.Get(ctx, longOne, projector.When{Version: newest - 1}); err != nil { // a read that found none asks for one
		t.Fatal(err)
	}
	h.taken(1200)
	if diff := cmp.Diff(want, h.states(newest)); diff != "" {
		t.Errorf("with snapshots (-want +got):\n%s", diff)
	}
	for range 20 {
		v := event.Version(1 + rand.IntN(int(newest)))
		if one, err := h.p.TakeSnapshot(ctx, longOne, v, fmt.Sprint("comment ", v), "user:ada"); err != nil || one.Version != uint64(v) || one.Comment != fmt.Sprint("comment ", v) || one.Actor != "user:ada" {
			t.Fatalf("got %+v, %v", one, err)
		}
	}
	if diff := cmp.Diff(want, h.states(newest)); diff != "" {
		t.Errorf("with asked ones (-want +got):\n%s", diff)
	}
	if found := h.lies(newest); len(found) > 0 {
		t.Errorf("got %q, want no lie", found)
	}
	all, err := h.p.Snapshots(ctx, longOne)
	if err != nil || len(all) < 10 || len(all) > snapshot.MaxRequested+1 {
		t.Errorf("got %d snapshots, %v", len(all), err)
	}
	for _, wrong := range []struct {
		a event.AggregateID
		v event.Version
	}{{longOne, newest + 1}, {verifytest.Aggregate(patient, "nobody"), 0}} {
		var p *problem.Problem
		if _, err := h.p.TakeSnapshot(ctx, wrong.a, wrong.v, "", "user:ada"); !errors.As(err, &p) || p.Code != problem.NotFound {
			t.Errorf("%v at %d: got %v, want not_found", wrong.a, wrong.v, err)
		}
	}
}

// A projector that follows takes them as events come.
func TestSnapshotsAreTakenOnTheWay(t *testing.T) {
	h := newHarness(t)
	h.snapshotsIn(snapshottest.NewMemory())
	migrate(h.log(event.Reserved), longDefinition)
	h.start()
	h.current()
	newest := long(h)
	h.current()
	h.taken(1200)
	if found := h.lies(newest); len(found) > 0 {
		t.Errorf("got %q, want no lie", found)
	}
}

// Whoever holds the key file can make a snapshot that lies. Reads believe it, so they do use it; verification names it. One of another history, or that does not open, is left out by reads, and named too.
func TestLyingSnapshots(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	newest := long(h)
	m := snapshottest.NewMemory()
	h.snapshotsIn(m)
	h.start()
	h.current()
	want := h.states(newest)
	honest := h.taken(1200)
	for name, c := range map[string]struct {
		lie      func(*snapshot.Snapshot)
		detail   string
		believed bool
	}{
		"field":   {func(s *snapshot.Snapshot) { s.Fields = append(s.Fields, snapshot.Field{Name: "zz", Value: "lie"}) }, `1200: its field "zz" was not set`, true},
		"value":   {func(s *snapshot.Snapshot) { s.Fields[0].Value = "lie" }, `1200: its field "` + honest.Fields[0].Name + `" differs`, false},
		"end":     {func(s *snapshot.Snapshot) { s.Deleted = true }, "1200: it has another word on whether the aggregate was deleted", false},
		"history": {func(s *snapshot.Snapshot) { s.Hash = strings.Repeat("0", 64) }, "1200: it names another event", false},
	} {
		one := *honest
		one.Fields = append([]snapshot.Field(nil), honest.Fields...)
		c.lie(&one)
		h.onlySnapshot(one)
		if got := h.lies(newest); len(got) != 1 || got[0] != c.detail {
			t.Errorf("%s: got %q, want %q", name, got, c.detail)
		}
		if r, err := h.p.Replay(h.current(), longOne, newest, 1); err != nil || len(r.Lies) != 1 || !*r.Agrees {
			t.Errorf("%s: a replay names %q, %v, want the one", name, r.Lies, err)
		}
		if s, err := h.p.Get(h.current(), longOne, projector.When{Version: 1200}); err != nil || c.believed != (s.Fields["zz"] == "lie") {
			t.Errorf("%s: got %+v, %v; want it believed: %v", name, s, err, c.believed)
		}
	}
	if _, err := h.p.TakeSnapshot(h.current(), longOne, 1200, "taken anew", "user:ada"); err != nil || len(h.lies(newest)) != 0 {
		t.Errorf("taken anew: got %v, %q", err, h.lies(newest))
	}
	h.tick("an edited snapshot is named", func() bool { // one that is just being taken may take its place
		h.onlySnapshot(*honest)
		m.Edit(m.Keys()[0], func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		got := h.lies(newest)
		return len(got) == 1 && strings.Contains(got[0], "does not open")
	})
	if diff := cmp.Diff(want, h.states(newest)); diff != "" {
		t.Errorf("edited (-want +got):\n%s", diff)
	}
}

// checkLog holds the snapshots of the log against what it was proven to have, a part of the aggregates at a time.
func (h *harness) checkLog(at int) (aggregates uint64, lies []string) {
	h.t.Helper()
	ctx := h.current()
	_, err := verify.Against(ctx, h.raw[patient], verify.Options{Aggregates: at, Derived: func(ctx context.Context, proven verify.Proven) []verify.Result {
		found, err := h.p.CheckLogSnapshots(ctx, projector.LogCheck{Log: patient, Proven: proven, Seen: func() {}})
		if err != nil {
			h.t.Error(err)
		}
		aggregates += found.Aggregates
		for _, one := range found.Liars {
			for _, l := range one.Lies {
				lies = append(lies, fmt.Sprint(one.Aggregate, " ", l.Version, ": ", l.Detail))
			}
		}
		return nil
	}})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.Sort(lies)
	return aggregates, lies
}

// All snapshots of a log are held against it, whole or in parts; each that lies is named with its aggregate, one that does not open too, and what belongs to no aggregate is left out.
func TestSnapshotsOfALog(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	long(h)
	short := func(id string) event.AggregateID { return verifytest.Aggregate(patient, id) }
	for _, id := range []string{"a", "b", "c", "d"} {
		for n := range 2 {
			h.log(patient).Block(verifytest.Commit{Aggregate: short(id), Events: []verifytest.Event{{Type: "crp", SchemaDigest: schema.Digest([]byte(longDefinition)), SchemaVersion: 1,
				Fields: []event.Field{{Name: "a", Value: fmt.Sprint(n), Set: true}}}}})
		}
	}
	m := snapshottest.NewMemory()
	h.snapshotsIn(m)
	if n, lies := func() (uint64, []string) { h.start(); return h.checkLog(0) }(); n > 1 || len(lies) > 0 {
		t.Errorf("before any was asked for: got %d aggregates, %q", n, lies)
	}
	ctx := h.current()
	h.taken(1200)
	places := map[string]string{}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := h.p.TakeSnapshot(ctx, short(id), 1, "asked for", "user:ada"); err != nil {
			t.Fatal(err)
		}
		places[id] = h.snaps.Place(patient, short(id))
	}
	for _, at := range []int{0, 1, 2} {
		if n, lies := h.checkLog(at); n != 4 || len(lies) > 0 {
			t.Errorf("honest, %d at once: got %d aggregates, %q", at, n, lies)
		}
	}
	lying, err := h.snaps.List(ctx, patient, short("a"))
	if err != nil || len(lying) != 2 {
		t.Fatalf("got %+v, %v, want one by number and one that was asked for", lying, err)
	}
	for _, one := range lying {
		if one.Requested {
			one.Fields[0].Value = "lie"
			if err := h.snaps.Put(ctx, one.Snapshot); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.Edit(places["b"], func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
	moved, _, _ := m.Get(ctx, places["c"])
	for _, key := range []string{places["c"] + ".2", h.snaps.Place(patient, short("d")), h.snaps.Place(patient, short("nobody")), "patient.x.y.z"} {
		if err := m.Put(ctx, key, moved, 0); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"patient/a 1: its field \"a\" differs", "patient/b 0: snapshot does not open", "patient/c 2: snapshot does not open", "patient/d 0: snapshot does not open"}
	for _, at := range []int{0, 1, 2} {
		n, lies := h.checkLog(at)
		for i := range lies {
			lies[i], _, _ = strings.Cut(lies[i], " open:")
			lies[i] = strings.Replace(lies[i], "does not", "does not open", 1)
		}
		if diff := cmp.Diff(want, lies); diff != "" || n != 5 {
			t.Errorf("%d at once: got %d aggregates, want 5 (-want +got):\n%s", at, n, diff)
		}
	}
	h.stop()
	var p *problem.Problem
	none := projector.LogCheck{Log: patient, Proven: func(event.AggregateID) (event.Version, event.Hash, bool) { return 0, event.Hash{}, false }, Seen: func() {}}
	if _, err := h.p.CheckLogSnapshots(t.Context(), none); !errors.As(err, &p) || p.Code != problem.Unavailable {
		t.Errorf("without an index: got %v, want unavailable", err)
	}
}

// BenchmarkGetLong reads the newest state of an aggregate of 1,300 events, with a snapshot at version 1200 and without.
func BenchmarkGetLong(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprint("snapshot ", with), func(b *testing.B) {
			h := newHarness(b)
			long(h)
			if with {
				h.snapshotsIn(snapshottest.NewMemory())
			}
			h.start()
			ctx := h.current()
			if _, err := h.p.Get(ctx, longOne, projector.When{}); err != nil {
				b.Fatal(err)
			}
			if with {
				h.taken(1200)
			}
			for b.Loop() {
				if _, err := h.p.Get(ctx, longOne, projector.When{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
