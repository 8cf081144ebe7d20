package projector_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// tier is the record that archives an aggregate, or restores it.
func tier(id, eventType, comment string) verifytest.Commit {
	fields := []event.Field{text("comment", comment), text("id", id), text("type", patient)}
	return verifytest.Commit{Aggregate: verifytest.Aggregate(schema.SystemTier, schema.ForgottenID(of(id))), Events: []verifytest.Event{{Type: eventType, Fields: fields}}}
}

// cooled is the record by which events of an aggregate leave the hot tier.
func cooled(id string, upTo int) verifytest.Commit {
	fields := []event.Field{text("id", id), text("type", patient), text("version", fmt.Sprint(upTo))}
	return verifytest.Commit{Aggregate: verifytest.Aggregate(schema.SystemTier, schema.ForgottenID(of(id))), Events: []verifytest.Event{{Type: "events-cooled", Fields: fields}}}
}

// move archives some aggregates, restores others, and has events leave the hot tier, often in the block of other commits.
func (m *model) move(r *rand.Rand, b *verifytest.Builder) {
	for _, id := range slices.Sorted(maps.Keys(m.states)) {
		_, archived := m.archived[id]
		if !archived && r.IntN(6) == 0 {
			b.Block(cooled(id, len(m.states[id])-r.IntN(2)))
		}
		switch r.IntN(6) {
		case 0, 1:
			if !archived {
				m.archived[id] = "left"
				b.Block(tier(id, "aggregate-archived", "left"))
			}
		case 2:
			if archived {
				delete(m.archived, id)
				b.Block(tier(id, "aggregate-restored", ""))
				if r.IntN(2) == 0 {
					b.Block(cooled(id, len(m.states[id])))
				}
			}
		}
	}
}

// checkArchived holds the list of archived aggregates against the model.
func (m *model) checkArchived(t *testing.T, ctx context.Context, p *projector.Projector) {
	t.Helper()
	got := map[string]string{}
	want := projector.Wanted{Types: []string{patient}, Archived: true, Take: 4}
	for {
		page, err := p.List(ctx, want)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Aggregates {
			got[a.ID] = a.Comment
			if a.Archived == "" || a.Version != uint64(len(m.states[a.ID])) {
				t.Errorf("got %+v, want since when it is archived, and version %d", a, len(m.states[a.ID]))
			}
			if s, err := p.Get(ctx, of(a.ID), projector.When{}); err != nil || !s.Archived || s.Root != a.Root || s.Time != a.Time || s.Deleted != a.Deleted {
				t.Errorf("got %+v, %v, want an archived one as in the list: %+v", s, err, a)
			}
		}
		if want.Cursor = page.Cursor; want.Cursor == "" {
			break
		}
	}
	if diff := gocmp.Diff(m.archived, got); diff != "" {
		t.Errorf("archived (-want +got):\n%s", diff)
	}
	hot, cold := listed(t, ctx, p, projector.Wanted{}), slices.Sorted(maps.Keys(m.archived))
	if all := slices.Concat(hot, cold); len(all) != len(m.states) || slices.ContainsFunc(hot, func(id string) bool { return slices.Contains(cold, id) }) {
		t.Errorf("got %v listed and %v archived of %d", hot, cold, len(m.states))
	}
}

// TestTiersArePlainMaps: aggregates are archived and restored, idle ones leave the hot tier, and what is written comes back, at random, through flushes, restarts, kills between a flush and what
// it leaves to be done, and a rebuild: every query says what it says of an index that holds everything.
func TestTiersArePlainMaps(t *testing.T) {
	r := rand.New(rand.NewPCG(disktest.SteadySeed(t, 20261122), 7))
	h := newHarness(t)
	h.verifyAtEnd()
	migrate(h.log(event.Reserved), modelDefinition)
	b := h.log(patient)
	m := &model{states: map[string][]modelState{}, archived: map[string]string{}}
	for round := range 9 {
		h.idle, h.now = 0, nil
		if round%3 != 0 { // some of what is there is idle
			blocks := len(verifytest.Messages(t, h.raw[patient]))
			h.idle, h.now = time.Minute, func() time.Time {
				return time.Unix(0, int64(verifytest.Start)).Add(time.Minute + time.Duration(blocks)*time.Second)
			}
		}
		p := h.start()
		for range 15 {
			m.block(r, b, 25)
		}
		m.move(r, b)
		ctx := h.current()
		m.check(t, ctx, p)
		if round%2 == 1 { // killed behind the flush
			if err := projector.FlushOnly(ctx, p, patient); err != nil {
				t.Fatal(err)
			}
			killed := copyIndex(t, filepath.Join(h.dir, patient))
			h.stop()
			h.dir = killed
			p = h.start()
			ctx = h.current()
		} else if err := projector.Flush(ctx, p, patient); err != nil {
			t.Fatal(err)
		}
		m.check(t, ctx, p)
		p.Tend(ctx)
		m.check(t, ctx, p)
		m.block(r, b, 25)
		ctx = h.current()
		m.check(t, ctx, p)
		h.stop()
		if round == 5 || round == 8 {
			if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
				t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
			}
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func (m *model) check(t *testing.T, ctx context.Context, p *projector.Projector) {
	t.Helper()
	m.checkStates(t, ctx, p)
	m.checkLists(t, ctx, p)
	m.checkEvents(t, ctx, p)
	m.checkArchived(t, ctx, p)
}

// all is what queries say of an aggregate.
type all struct {
	Newest     string
	Now, First projector.State
	History    projector.History
	Export     projector.Export
	Replay     projector.Replay
	ByHash     projector.NamedEvent
	Trace      projector.Trace
}

func everything(t *testing.T, ctx context.Context, p *projector.Projector, id string) (out all) {
	t.Helper()
	errs := make([]error, 8)
	out.Now, errs[0] = p.Get(ctx, of(id), projector.When{})
	out.First, errs[1] = p.Get(ctx, of(id), projector.When{Version: 1})
	out.History, errs[2] = p.History(ctx, of(id), 1, 0)
	out.Export, errs[3] = p.Export(ctx, of(id), 1)
	out.Replay, errs[4] = p.Replay(ctx, of(id), 1, 0)
	out.ByHash, errs[5] = p.EventByHash(ctx, out.First.Hash[:20], anybody)
	out.Trace, errs[6] = p.Trace(ctx, out.First.Hash, nil)
	at, version, root, err := p.Newest(ctx, of(id))
	out.Newest, errs[7] = fmt.Sprint(at, version, root), err
	for i, err := range errs {
		if err != nil {
			t.Fatalf("query %d of %s: %v", i, id, err)
		}
	}
	out.Now.Archived, out.First.Archived = false, false
	return out
}

// TestArchivedLeavesTheHotTier archives half of some aggregates: their bytes leave the index, they are read as before, and come back as they were.
func TestArchivedLeavesTheHotTier(t *testing.T) {
	const aggregates = 4000
	h := newHarness(t)
	h.verifyAtEnd()
	h.limit = 0
	b := h.log(patient)
	fill(b, 3*aggregates, aggregates)
	p := h.start()
	ctx := h.current()
	if err := projector.Flush(ctx, p, patient); err != nil {
		t.Fatal(err)
	}
	before := residence(t, p)
	want := map[string]all{}
	for _, id := range []string{"P000000", "P000001", "P001998", "P003999"} {
		want[id] = everything(t, ctx, p, id)
	}
	same := func(when string) {
		t.Helper()
		for id := range want {
			if diff := gocmp.Diff(want[id], everything(t, ctx, p, id)); diff != "" {
				t.Fatalf("%s, %s (-want +got):\n%s", id, when, diff)
			}
		}
	}
	half := func(eventType string) {
		t.Helper()
		for i := 0; i < aggregates; i += 200 {
			var commits []verifytest.Commit
			for k := i; k < i+200; k += 2 {
				commits = append(commits, tier(fmt.Sprintf("P%06d", k), eventType, "moved away"))
			}
			b.Block(commits...)
		}
		ctx = h.current()
		same(eventType + ", in memory")
		if err := projector.Flush(ctx, p, patient); err != nil {
			t.Fatal(err)
		}
		same(eventType + ", flushed")
	}
	half("aggregate-archived")
	h.stop()
	p = h.start()
	ctx = h.current()
	same("archived, behind a restart")
	if got := residence(t, p); got.Hot != aggregates/2 || got.Archived != aggregates/2 || got.Due != 0 {
		t.Errorf("got %+v, want half of %d archived and nothing due", got, aggregates)
	}
	after := settledBytes(t, p)
	t.Logf("%d bytes before, %d with half of the aggregates archived", before.Bytes, after)
	if after >= before.Bytes*85/100 { // postings, hashes and the log's tree stay: of three small events they are much
		t.Errorf("got %d bytes, before %d: want an eighth less, or fewer", after, before.Bytes)
	}
	half("aggregate-restored")
	p.Tend(ctx)
	same("brought back")
	if got := residence(t, p); got.Hot != aggregates || got.Archived != 0 || got.Due != 0 {
		t.Errorf("got %+v, want all %d in the hot tier", got, aggregates)
	}
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
}

func residence(t testing.TB, p *projector.Projector) projector.Residence {
	t.Helper()
	got, err := projector.ResidenceOf(p, patient)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// settledBytes is what the index takes when nothing is left to be merged or compacted.
func settledBytes(t testing.TB, p *projector.Projector) int64 {
	t.Helper()
	deadline, tick := time.After(30*time.Second), time.NewTicker(200*time.Millisecond)
	defer tick.Stop()
	for last, same := int64(0), 0; ; {
		now := projector.BytesOf(p, patient)
		if same++; now != last {
			last, same = now, 0
		}
		if same == 6 {
			return now
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the index did not settle in 30 s")
		}
	}
}

// TestIdleLeavesTheHotTier: idle aggregates are read and found as before, take events, and come back with one.
func TestIdleLeavesTheHotTier(t *testing.T) {
	const aggregates = 2000
	h := newHarness(t)
	h.verifyAtEnd()
	h.limit, h.idle = 0, time.Hour
	now := time.Unix(0, int64(verifytest.Start))
	h.now = func() time.Time { return now }
	b := h.log(patient)
	fill(b, 3*aggregates, aggregates)
	p := h.start()
	ctx := h.current()
	if err := projector.Flush(ctx, p, patient); err != nil {
		t.Fatal(err)
	}
	want, before := everything(t, ctx, p, "P000007"), residence(t, p)
	list := listed(t, ctx, p, projector.Wanted{})
	p.Tend(ctx)
	if got := residence(t, p); got.Cold != 0 {
		t.Errorf("got %+v, want nothing that is idle", got)
	}
	now = now.Add(2 * time.Hour)
	p.Tend(ctx)
	if got := residence(t, p); got.Cold != aggregates {
		t.Errorf("got %+v, want %d that left the hot tier", got, aggregates)
	}
	if diff := gocmp.Diff(want, everything(t, ctx, p, "P000007")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := listed(t, ctx, p, projector.Wanted{}); !slices.Equal(got, list) {
		t.Errorf("got %d listed, want %d", len(got), len(list))
	}
	now = time.Unix(0, int64(verifytest.Start)) // what is written is not idle
	b.Block(one("P000007", "crp", text("crp", "22")))
	ctx = h.current()
	if err := projector.Flush(ctx, p, patient); err != nil {
		t.Fatal(err)
	}
	if got := residence(t, p); got.Partly != 1 || got.Due != 1 {
		t.Errorf("got %+v, want one to be brought back", got)
	}
	if got := everything(t, ctx, p, "P000007"); got.Now.Fields["crp"] != "22" || len(got.History.Events) != 4 {
		t.Errorf("got %+v, want a fourth event", got.Now)
	}
	p.Tend(ctx)
	if got := residence(t, p); got.Partly != 0 || got.Due != 0 || got.Hot != 1 {
		t.Errorf("got %+v, want one that was brought back", got)
	}
	if got := everything(t, ctx, p, "P000007"); got.Now.Fields["crp"] != "22" || len(got.History.Events) != 4 {
		t.Errorf("got %+v, want a fourth event", got.Now)
	}
	if after := settledBytes(t, p); after >= before.Bytes*3/4 {
		t.Errorf("got %d bytes, before %d: want a quarter less, or fewer", after, before.Bytes)
	}
	h.stop()
	h.idle = 0
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
}

// TestEventsLeaveTheHotTier: the events of an aggregate that the log says leave the hot tier do, however the index comes to be; they are read as before, the aggregate is listed and takes events, and comes back with one.
func TestEventsLeaveTheHotTier(t *testing.T) {
	const aggregates = 100
	h := newHarness(t)
	h.verifyAtEnd()
	h.limit = 0
	b := h.log(patient)
	fill(b, 3*aggregates, aggregates)
	p := h.start()
	ctx := h.current()
	if err := projector.Flush(ctx, p, patient); err != nil {
		t.Fatal(err)
	}
	want, list := everything(t, ctx, p, "P000007"), listed(t, ctx, p, projector.Wanted{})
	same := func(when string, stand projector.Residence) {
		t.Helper()
		if diff := gocmp.Diff(want, everything(t, ctx, p, "P000007")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		if got := listed(t, ctx, p, projector.Wanted{}); !slices.Equal(got, list) {
			t.Errorf("%s: got %d listed, want %d", when, len(got), len(list))
		}
		got := residence(t, p)
		got.Bytes = 0
		if got != stand {
			t.Errorf("%s: got %+v, want %+v", when, got, stand)
		}
	}
	b.Block(cooled("P000007", 3))
	b.Block(cooled("P000009", 2)) // it was written before: it stays
	b.Block(cooled("nobody", 1))
	ctx = h.current()
	same("in memory", projector.Residence{Hot: aggregates})
	if err := projector.FlushOnly(ctx, p, patient); err != nil {
		t.Fatal(err)
	}
	killed := copyIndex(t, filepath.Join(h.dir, patient))
	p.Tend(ctx)
	same("tended", projector.Residence{Hot: aggregates - 1, Cold: 1})
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
	h.dir = killed
	p = h.start()
	ctx = h.current()
	same("killed behind the flush", projector.Residence{Hot: aggregates - 1, Cold: 1})
	h.stop()
	h.dir = t.TempDir()
	p = h.start()
	ctx = h.current()
	p.Tend(ctx)
	same("built anew", projector.Residence{Hot: aggregates - 1, Cold: 1})
	b.Block(one("P000007", "crp", text("crp", "22")))
	ctx = h.current()
	if err := projector.Flush(ctx, p, patient); err != nil {
		t.Fatal(err)
	}
	p.Tend(ctx)
	want.Now = everything(t, ctx, p, "P000007").Now
	if got := residence(t, p); want.Now.Fields["crp"] != "22" || got.Hot != aggregates || got.Due != 0 {
		t.Errorf("got %+v and %+v, want a fourth event and all in the hot tier", want.Now, got)
	}
}
