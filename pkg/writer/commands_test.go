package writer_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// hashOf gives hashes that lie near each other in the table.
func hashOf(n uint64) (h writer.IDHash) {
	binary.BigEndian.PutUint64(h[:], n%61)
	binary.BigEndian.PutUint64(h[8:], n)
	return h
}

// The table finds the newest place of each id that is in the window, and no other, while chunks come and go and the ordinals pass 2^31 and 2^32.
func TestCommandIDsAreFound(t *testing.T) {
	for _, chunks := range []uint64{0, 1<<31/writer.ChunkIDs - 3, 1<<32/writer.ChunkIDs - 3} {
		t.Run(fmt.Sprintf("behind %d chunks", chunks), func(t *testing.T) {
			const window, ids = 3000, 2500
			const hour = event.Time(time.Hour)
			random := rand.New(rand.NewPCG(1, chunks))
			table := writer.NewCommandIDs(window, time.Hour, chunks)
			type place struct {
				sequence, ordinal uint64
				at                event.Time
			}
			newest := make(map[uint64]place)
			for sequence := uint64(1); sequence < 400; sequence++ {
				at := event.Time(sequence) * hour / 40
				for range random.IntN(120) {
					id := random.Uint64N(ids)
					newest[id] = place{sequence, table.Next(), at}
					table.Add(hashOf(id), sequence, at)
				}
				table.Forget(at)
				if sequence%20 != 0 {
					continue
				}
				for id := range uint64(ids + 10) {
					p, there := newest[id]
					there = there && table.Next()-p.ordinal <= window && at-p.at <= hour
					if got, found := table.Find(hashOf(id), at); found != there || found && got != p.sequence {
						t.Fatalf("id %d at sequence %d: got %d, %v, want %+v, %v", id, sequence, got, found, p, there)
					}
				}
			}
			if n := table.Kept(); n > window+2*writer.ChunkIDs {
				t.Errorf("got %d ids in the table, want not many more than the %d of the window", n, window)
			}
		})
	}
}

// A quiet day empties the table, a chunk with each block.
func TestCommandIDsLeaveByTime(t *testing.T) {
	const day = event.Time(24 * time.Hour)
	table := writer.NewCommandIDs(1<<20, time.Hour, 0)
	for i := range uint64(5*writer.ChunkIDs + 1) {
		table.Add(hashOf(i), i+1, 0)
	}
	table.Forget(event.Time(time.Hour))
	if n := table.Kept(); n != 5*writer.ChunkIDs+1 {
		t.Errorf("got %d ids before any is old, want all", n)
	}
	if _, found := table.Find(hashOf(9), day); found {
		t.Error("got an old id that was not dropped yet, want it forgotten")
	}
	for range 9 {
		table.Forget(day)
	}
	if n := table.Kept(); n != 1 {
		t.Errorf("got %d ids a day later, want the one of the chunk that is not full", n)
	}
	if _, found := table.Find(hashOf(5*writer.ChunkIDs), 0); !found {
		t.Error("the id of the chunk that is not full was lost")
	}
}

// A state that names a wrong place for a command is found out by the block there, and rebuilt: a wrong answer is never given.
func TestWrongPlacesOfCommandsAreFoundOut(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	jwt := s.token(100)
	first := s.must(crp(jwt, "once", "A", "1"))
	s.must(crp(jwt, "other", "A", "2"))
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s.changeState("patient", func(b *statestore.Batch, key, value []byte) {
		if key[0] != 'w' {
			return
		}
		moved, err := writer.MoveCommandIDs(value, 1)
		if err != nil {
			t.Fatal(err)
		}
		b.Set(key, moved)
	})
	s.start()
	wantCode(t, s.do(crp(jwt, "once", "A", "1")), problem.Unavailable)
	waitServing(t, s)
	if a := s.must(crp(jwt, "once", "A", "1")); !a.Repeated || a.Commits[0].Position != first.Commits[0].Position {
		t.Errorf("got %+v, want the first answer %+v", a, first)
	}
}

// openState opens the stored state of a log; the writer must not run.
func (s *site) openState(log string) *statestore.Store {
	s.t.Helper()
	store, err := statestore.Open(statestore.Config{Dir: s.stateDir(log), Key: s.cfg.Key, Identity: writer.StateIdentity(s.cfg.Site, log)})
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}

// changeState shows every entry of a stored state to change, which may write others in its place.
func (s *site) changeState(log string, change func(b *statestore.Batch, key, value []byte)) {
	s.t.Helper()
	store := s.openState(log)
	err := store.Update(func(b *statestore.Batch) error {
		return store.Scan(nil, nil, func(key, value []byte) bool {
			change(b, bytes.Clone(key), bytes.Clone(value))
			return true
		})
	})
	if err := errors.Join(err, store.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// Commands of one aggregate, sent one after the other, are decided in that order also while the first waits for units of its token.
func TestCommandsBehindAGrantStayInOrder(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	jwt := s.token(100)
	var waits []<-chan outcome
	for i := range 20 {
		waits = append(waits, s.send(expect(crp(jwt, "", "A", "1"), fmt.Sprint(i))))
	}
	for i, w := range waits {
		if o := s.wait(w); o.problem != nil {
			t.Errorf("command %d: got %v, want success", i, o.problem)
		}
	}
}
