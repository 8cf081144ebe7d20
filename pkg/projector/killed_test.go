package projector_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// TestKilledDuringWrites kills the projector again and again while events come, aggregates are archived and restored, and idle ones leave the hot tier: what a killed process leaves is a copy of its
// folder at a moment of chance, from which the next one goes on. The content is that of an index built at once. The long form kills it 50 times during 100,000 events.
func TestKilledDuringWrites(t *testing.T) {
	kills, events := 5, 3_000
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		kills, events = 50, 100_000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	h := newHarness(t)
	h.verifyAtEnd()
	migrate(h.log(event.Reserved), modelDefinition)
	b := h.log(patient)
	m := &model{states: map[string][]modelState{}, archived: map[string]string{}}
	var written atomic.Int64 // events, for the clock
	h.idle, h.now = time.Minute, func() time.Time {
		return time.Unix(0, int64(verifytest.Start)).Add(time.Minute + time.Duration(written.Load()/8)*time.Second)
	}
	for kill := range kills {
		p := h.start()
		for len(m.events) < events*(kill+1)/kills {
			for range 20 + r.IntN(100) {
				m.block(r, b, 400)
				written.Store(int64(len(m.events)))
			}
			if r.IntN(4) == 0 {
				m.move(r, b)
				written.Store(int64(len(m.events)))
			}
		}
		if r.IntN(3) > 0 { // else it is killed while it reads
			ctx := h.current()
			switch r.IntN(3) {
			case 0:
				if err := projector.FlushOnly(ctx, p, patient); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := projector.Flush(ctx, p, patient); err != nil {
					t.Fatal(err)
				}
				p.Tend(ctx)
			}
		}
		copied := t.TempDir()
		if _, err := os.Stat(filepath.Join(h.dir, patient, "manifest")); err == nil {
			copied = copyIndex(t, filepath.Join(h.dir, patient))
		}
		h.stop()
		h.dir = copied
	}
	h.start()
	ctx := h.current()
	m.checkArchived(t, ctx, h.p)
	h.stop()
	if grown, fresh := h.digest(patient), h.fresh(patient); grown != fresh {
		t.Errorf("digest: got %x, want %x, that of a rebuilt one", grown, fresh)
	}
	t.Logf("killed %d times during %d events", kills, len(m.events))
}
