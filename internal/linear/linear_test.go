package linear_test

import (
	"testing"

	"github.com/eventfuldb/eventful/internal/linear"
)

// command notes one that nothing ran beside.
func command(h *linear.History, id string, expected int64, o linear.Outcome) {
	h.Command(0, "A", id, expected)(o)
}

func stored(version uint64) linear.Outcome {
	return linear.Outcome{Kind: linear.Stored, Version: version}
}

func again(version uint64) linear.Outcome {
	return linear.Outcome{Kind: linear.Stored, Version: version, Repeated: true}
}

func conflict(actual uint64) linear.Outcome {
	return linear.Outcome{Kind: linear.Conflict, Version: actual}
}

var (
	lost    = linear.Outcome{Kind: linear.Lost}
	refused = linear.Outcome{Kind: linear.Refused}
)

func TestWhatOneAfterTheOtherCouldHaveSeen(t *testing.T) {
	histories := map[string]func(h *linear.History){
		"one after the other": func(h *linear.History) {
			h.Read(0, "A")(0, "")
			command(h, "a", linear.Any, stored(1))
			command(h, "b", 1, stored(2))
			command(h, "c", 1, conflict(2))
			command(h, "a", linear.Any, again(1))
			h.Read(0, "A")(2, "b")
			h.Final("A", []string{"a", "b"})
		},
		"two at once, told the other way round": func(h *linear.History) {
			first := h.Command(1, "A", "a", linear.Any)
			second := h.Command(2, "A", "b", linear.Any)
			second(stored(1))
			first(stored(2))
			h.Final("A", []string{"b", "a"})
		},
		"lost, and there": func(h *linear.History) {
			command(h, "a", linear.Any, lost)
			command(h, "b", linear.Any, stored(1))
			command(h, "c", linear.Any, stored(3))
			h.Final("A", []string{"b", "a", "c"})
		},
		"lost, and not there": func(h *linear.History) {
			command(h, "a", linear.Any, lost)
			command(h, "b", 0, stored(1))
			h.Final("A", []string{"b"})
		},
		"lost, and sent again": func(h *linear.History) {
			command(h, "a", 0, lost)
			command(h, "a", 0, refused)
			command(h, "a", 0, again(1))
			h.Final("A", []string{"a"})
		},
		"lost, and told by the sending behind it": func(h *linear.History) {
			command(h, "a", 0, lost)
			command(h, "a", 0, stored(1))
			command(h, "a", 0, again(1))
			h.Final("A", []string{"a"})
		},
	}
	for name, make := range histories {
		t.Run(name, func(t *testing.T) {
			h := linear.New()
			make(h)
			if err := h.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatNobodyCouldHaveSeen(t *testing.T) {
	histories := map[string]func(h *linear.History){
		"acknowledged, and not there": func(h *linear.History) {
			command(h, "a", linear.Any, stored(1))
			h.Final("A", nil)
		},
		"refused, and there": func(h *linear.History) {
			command(h, "a", linear.Any, refused)
			h.Final("A", []string{"a"})
		},
		"stored twice": func(h *linear.History) {
			command(h, "a", linear.Any, lost)
			command(h, "a", linear.Any, stored(2))
			h.Final("A", []string{"a", "a"})
		},
		"one version for two": func(h *linear.History) {
			command(h, "a", linear.Any, stored(1))
			command(h, "b", linear.Any, stored(1))
			h.Final("A", []string{"a", "b"})
		},
		"a stale read": func(h *linear.History) {
			command(h, "a", linear.Any, stored(1))
			h.Read(0, "A")(0, "")
			h.Final("A", []string{"a"})
		},
		"a read of what was never stored": func(h *linear.History) {
			h.Read(0, "A")(1, "a")
			h.Final("A", nil)
		},
		"a conflict with what was never stored": func(h *linear.History) {
			command(h, "a", linear.Any, refused)
			command(h, "b", 0, conflict(1))
			h.Final("A", nil)
		},
		"a conflict that was none": func(h *linear.History) {
			command(h, "a", linear.Any, stored(1))
			command(h, "b", 1, conflict(1))
			h.Final("A", []string{"a"})
		},
		"an expectation passed over": func(h *linear.History) {
			command(h, "a", linear.Any, stored(1))
			command(h, "b", 0, stored(2))
			h.Final("A", []string{"a", "b"})
		},
		"a repeat that was taken for new": func(h *linear.History) {
			command(h, "a", linear.Any, stored(1))
			command(h, "a", linear.Any, stored(2))
			h.Final("A", []string{"a", "a"})
		},
		"lost, and behind what was told of it": func(h *linear.History) {
			command(h, "a", linear.Any, lost)
			command(h, "a", linear.Any, again(1))
			command(h, "b", linear.Any, stored(1))
			h.Final("A", []string{"b", "a"})
		},
		"a repeat of what was not stored": func(h *linear.History) {
			command(h, "a", linear.Any, again(1))
			h.Final("A", []string{"a"})
		},
		"told before it began": func(h *linear.History) {
			command(h, "a", linear.Any, stored(2))
			command(h, "b", linear.Any, stored(1))
			h.Final("A", []string{"b", "a"})
		},
	}
	for name, make := range histories {
		t.Run(name, func(t *testing.T) {
			h := linear.New()
			make(h)
			h.Final("B", nil)
			if err := h.Check(); err == nil {
				t.Error("got no objection, want one")
			}
		})
	}
}
