package eventlog_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/eventlog/eventlogtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryConforms(t *testing.T) {
	eventlogtest.Run(t, func(*testing.T) eventlog.Store { return eventlog.NewMemory() })
}

func newLog(t *testing.T) (*eventlog.Memory, eventlog.Log) {
	t.Helper()
	m := eventlog.NewMemory()
	l, err := m.Create(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	return m, l
}

// always gives every append the same fault.
func always(f eventlog.Fault) func(string, uint64, []byte) eventlog.Fault {
	return func(string, uint64, []byte) eventlog.Fault { return f }
}

func TestMemoryFaults(t *testing.T) {
	tests := []struct {
		fault eventlog.Fault
		want  error
		last  uint64 // of the log after the append
	}{
		{eventlog.None, nil, 1},
		{eventlog.Refuse, eventlog.ErrRefused, 0},
		{eventlog.LoseBefore, eventlog.ErrUnknown, 0},
		{eventlog.LoseAfter, eventlog.ErrUnknown, 1},
		{eventlog.Delay, eventlog.ErrUnknown, 0},
	}
	for _, test := range tests {
		t.Run(string(test.fault), func(t *testing.T) {
			m, l := newLog(t)
			m.SetFault(always(test.fault))
			if err := l.Append(0, []byte("a")).Err(); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if _, last, err := l.Bounds(t.Context()); err != nil || last != test.last {
				t.Errorf("got last %d, %v, want %d", last, err, test.last)
			}
		})
	}
}

func TestMemoryFaultSeesTheAppend(t *testing.T) {
	m, l := newLog(t)
	m.SetFault(func(log string, expected uint64, data []byte) eventlog.Fault {
		if log == "patient" && expected == 1 && string(data) == "b" {
			return eventlog.Refuse
		}
		return eventlog.None
	})
	if err := l.Append(0, []byte("b")).Err(); err != nil {
		t.Errorf("first: %v", err)
	}
	if err := l.Append(1, []byte("b")).Err(); !errors.Is(err, eventlog.ErrRefused) {
		t.Errorf("second: got %v, want ErrRefused", err)
	}
	m.SetFault(nil)
	if err := l.Append(1, []byte("b")).Err(); err != nil {
		t.Errorf("third: %v", err)
	}
}

func TestMemoryReleaseStoresWhatStillFits(t *testing.T) {
	tests := []struct {
		name   string
		rival  bool // takes the place of the delayed appends
		stored int
	}{{"place is free", false, 2}, {"place is taken", true, 0}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m, l := newLog(t)
			m.SetFault(always(eventlog.Delay))
			l.Append(0, []byte("a"))
			l.Append(1, []byte("b"))
			m.SetFault(nil)
			if test.rival {
				for i := range uint64(2) {
					if err := l.Append(i, []byte("rival")).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := m.Release("patient"); got != test.stored {
				t.Errorf("got %d stored, want %d", got, test.stored)
			}
			if got := m.Release("patient"); got != 0 {
				t.Errorf("second Release: got %d, want 0", got)
			}
			if _, last, err := l.Bounds(t.Context()); err != nil || last != 2 {
				t.Errorf("got last %d, %v, want 2", last, err)
			}
		})
	}
}

func TestMemoryHoldKeepsAnswersBack(t *testing.T) {
	m, l := newLog(t)
	release := m.Hold("patient")
	first, second := l.Append(0, []byte("a")), l.Append(1, []byte("b"))
	for _, p := range []eventlog.Pending{first, second} {
		select {
		case <-p.Done():
			t.Error("got an answer while held")
		default:
		}
	}
	if _, last, err := l.Bounds(t.Context()); err != nil || last != 2 {
		t.Errorf("got last %d, %v, want 2: it is stored", last, err)
	}
	release()
	release()
	if err := errors.Join(first.Err(), second.Err(), l.Append(2, []byte("c")).Err()); err != nil {
		t.Error(err)
	}
}

func TestMemoryKeepsItsOwnCopy(t *testing.T) {
	m, l := newLog(t)
	data := []byte("abc")
	if err := l.Append(0, data).Err(); err != nil {
		t.Fatal(err)
	}
	data[0] = 'x'
	if got, err := l.Get(t.Context(), 1); err != nil || string(got.Data) != "abc" {
		t.Errorf("got %q, %v, want abc", got.Data, err)
	}
	if err := m.Tamper("patient", 1, []byte("xyz")); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Get(t.Context(), 1); err != nil || string(got.Data) != "xyz" {
		t.Errorf("got %q, %v, want xyz", got.Data, err)
	}
	if err := m.Tamper("patient", 2, nil); !errors.Is(err, eventlog.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}
