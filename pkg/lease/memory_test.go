package lease_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/lease/leasetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryConforms(t *testing.T) {
	leasetest.Run(t, func(*testing.T) lease.Table { return lease.NewMemory() })
}

func TestALostMemoryStartsOver(t *testing.T) {
	m := lease.NewMemory()
	w := leasetest.Watch(t, m)
	w.Whole()
	before := leasetest.Birth(t, m)
	if _, err := m.Put(t.Context(), "a", []byte("1"), before); err != nil {
		t.Fatal(err)
	}
	w.Next()
	m.Lose()
	if c := w.Next(); !c.Reset {
		t.Errorf("got %+v, want a reset", c)
	}
	if got := w.Whole(); len(got) != 0 {
		t.Errorf("got %v, want an empty table", got)
	}
	if _, err := m.Put(t.Context(), "a", []byte("1"), before); !errors.Is(err, lease.ErrConflict) {
		t.Errorf("put by who knows the former table: got %v, want ErrConflict", err)
	}
	if _, err := m.Put(t.Context(), "a", []byte("1"), leasetest.Birth(t, m)); err != nil {
		t.Errorf("put in the new table: %v", err)
	}
}
