package statestore_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/eventfuldb/eventful/pkg/statestore"
)

// A store does not grow where little is free; it can be read, and goes on when there is room.
func TestUpdateNeedsRoom(t *testing.T) {
	s := open(t, config(t.TempDir()))
	set(t, s, "a", "1")
	free := uint64(32<<20 - 1)
	statestore.SetFree(s, func() uint64 { return free })
	err := s.Update(func(b *statestore.Batch) error { b.Set([]byte("a"), []byte("2")); return nil })
	if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, statestore.ErrDoubted) {
		t.Errorf("got error %v, want ENOSPC and no doubt", err)
	}
	if value, err := s.Get([]byte("a")); string(value) != "1" || err != nil {
		t.Errorf("got %q, error %v, want the value of before", value, err)
	}
	free = 40 << 20
	if err := s.Room(40 << 20); err != nil {
		t.Errorf("got error %v with as much free as is asked for", err)
	}
	if err := s.Room(40<<20 + 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got error %v with less free than is asked for, want ENOSPC", err)
	}
	set(t, s, "a", "2")
}
