package projector_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// leavesOf are the leaves of a log's tree, out of the log itself.
func leavesOf(t testing.TB, log eventlog.Log) (all []event.Hash) {
	t.Helper()
	var chain event.Chain
	for i, m := range verifytest.Messages(t, log) {
		for _, c := range chain.Next(uint64(i)+1, m).Commits {
			all = append(all, c.Leaves()...)
		}
	}
	return all
}

// holdsTree compares the tree of an index with that of its log, and proves leaves by it.
func (h *harness) holdsTree(p *projector.Projector, log string) {
	h.t.Helper()
	source, err := h.store.Open(context.Background(), log)
	if err != nil {
		h.t.Fatal(err)
	}
	all := leavesOf(h.t, source)
	err = p.Tree(context.Background(), log, func(hashes logtree.Hashes, size uint64) error {
		if size != uint64(len(all)) {
			return fmt.Errorf("got a tree of %d, want %d", size, len(all))
		}
		for _, n := range []int{1, 2, 100, 255, 256, 257, 700, len(all) / 2, len(all) - 1, len(all)} {
			if n < 1 || n > len(all) {
				continue
			}
			tree, err := hashes.Tree(uint64(n))
			if want := (event.Tree{}).Append(all[:n]...).Root(); err != nil || tree.Root() != want {
				return fmt.Errorf("tree of %d: got root %s, %v, want %s", n, tree.Root(), err, want)
			}
			for _, index := range []int{0, n / 3, n - 1} {
				path, err := hashes.Inclusion(uint64(index), uint64(n))
				if err != nil {
					return err
				}
				if err := logtree.CheckInclusion(logtree.Checkpoint{Size: uint64(n), Root: tree.Root()}, uint64(index), all[index], path); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
}

// TestTree: the index has the tree of its log, in memory and in its store, over restarts at places that are no tile's end.
func TestTree(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	b := h.log(patient)
	for _, events := range []int{3, 300, 513, 2000, 66_000} {
		fill(b, events, 50)
		p := h.start()
		h.current()
		h.holdsTree(p, patient)
		h.stop() // what is in memory goes into the store
	}
	p := h.start()
	h.current()
	h.holdsTree(p, patient)
	fill(b, 100, 7)
	if err := p.WaitForLatest(h.current(), patient); err != nil {
		t.Fatal(err)
	}
	h.holdsTree(p, patient)
	if err := p.Tree(context.Background(), "nobody", nil); !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		t.Errorf("a log that is not there: got %v, want not_found", err)
	}
}

// TestTreeBehindDamage: behind a message that cannot be read the tree is not known, and says so; before it, it is.
func TestTreeBehindDamage(t *testing.T) {
	h := newHarness(t)
	b := h.log(patient)
	fill(b, 400, 5)
	bad := append([]byte("x"), verifytest.Messages(t, h.raw[patient])[2]...)
	if err := h.store.Tamper(patient, 3, bad); err != nil {
		t.Fatal(err)
	}
	p := h.start()
	h.current()
	err := p.Tree(context.Background(), patient, func(hashes logtree.Hashes, _ uint64) error {
		if _, err := hashes.Tree(100); err != nil {
			t.Errorf("before the damage: %v", err)
		}
		_, err := hashes.Tree(400)
		return err
	})
	if !errors.Is(err, &problem.Problem{Code: problem.Damaged}) {
		t.Errorf("got %v, want damaged", err)
	}
}
