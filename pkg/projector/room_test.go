package projector_test

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/eventfuldb/eventful/pkg/projector"
)

// An index without room waits, and answers from what it has; then it goes on.
func TestAnIndexWaitsForRoom(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	fill(h.log(patient), 1000, 100)
	var full atomic.Bool
	h.room = func() error {
		if full.Load() {
			return fmt.Errorf("the disk of a test: %w", syscall.ENOSPC)
		}
		return nil
	}
	h.start()
	h.current()
	full.Store(true)
	fillWith(h.log(patient), 6_000, 100, large) // more than an index keeps in memory
	h.tick("it waits", func() bool { return h.status(patient).State == "paused" })
	before := h.status(patient)
	if before.Indexed < 10 || before.Indexed >= 70 || before.Error == "" {
		t.Errorf("got %+v, want a part of 70 messages indexed, and why no more", before)
	}
	state, err := h.p.Get(t.Context(), of("P000001"), projector.When{Version: 1})
	if err != nil || state.Version != 1 {
		t.Errorf("got %+v, error %v, want the state that is indexed", state, err)
	}
	full.Store(false)
	h.current()
	if got := h.status(patient); got.State != "following" || got.Indexed != 70 {
		t.Errorf("got %+v, want everything indexed", got)
	}
}
