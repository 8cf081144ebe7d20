package delivery

import (
	"context"
	"fmt"
	"maps"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// folded is the state of an aggregate behind a version, sealed values as they are, with what opens each.
type folded struct {
	aggregate.State
	seals map[string]seal
}

// kept is a state, and the commit that it is behind. Whoever goes on from a state holds it against his own link: a version alone may be that of a commit that does not count.
type kept struct {
	*folded
	behind event.Link
}

// folding is a commit that the state behind each event is wanted of.
type folding struct {
	commit   *event.Commit
	at, prev event.Link
	items    []*item // of its events
}

// maxFolds is about how many bytes of states a folder keeps: some 130,000 of five short fields.
const maxFolds = 64 << 20

// folder folds aggregates of one log. It keeps the states of those that changed last; what is in front of others is read from the log. It is for one goroutine.
type folder struct {
	name         string // of the log
	log          zerolog.Logger
	newer, older map[event.AggregateID]kept
	size         int // of newer, in bytes, roughly
}

func newFolder(name string, log zerolog.Logger) *folder {
	return &folder{name: name, log: log, newer: map[event.AggregateID]kept{}}
}

func (f *folder) get(a event.AggregateID) (k kept, there bool) {
	if k, there = f.newer[a]; !there {
		k, there = f.older[a]
	}
	return k, there
}

func (f *folder) put(a event.AggregateID, k kept) {
	if f.size >= maxFolds/2 {
		f.older, f.newer, f.size = f.newer, make(map[event.AggregateID]kept, len(f.newer)), 0
	}
	if former, there := f.newer[a]; there {
		f.size -= former.bytes()
	}
	f.newer[a] = k
	f.size += k.bytes()
}

// bytes is about what a state takes in memory.
func (s *folded) bytes() int {
	n := 256 + 96*len(s.seals)
	for name, value := range s.Fields {
		n += len(name) + len(value) + 48
	}
	return n
}

// front gives the state in front of a commit, if it is in memory.
func (f *folder) front(one folding, recalled map[event.AggregateID]kept) (*folded, bool) {
	if one.commit.First == 1 {
		return &folded{}, true
	}
	if k, there := f.get(one.commit.Aggregate); there && k.behind == one.prev {
		return k.folded, true
	}
	k, there := recalled[one.commit.Aggregate]
	return k.folded, there && k.behind == one.prev
}

// lacks reports whether a state in front of one of the commits is not in memory, nor follows from another one of them.
func (f *folder) lacks(commits []folding) bool {
	passed := map[event.AggregateID]bool{}
	for _, one := range commits {
		if passed[one.commit.Aggregate] {
			continue
		}
		passed[one.commit.Aggregate] = true
		if _, known := f.front(one, nil); !known {
			return true
		}
	}
	return false
}

// fold gives each item of the commits, which come in the order of the log, the state behind it.
func (f *folder) fold(ctx context.Context, source eventlog.Log, seen *seen, commits []folding) error {
	recalled := map[event.AggregateID]kept{}
	for n, one := range commits {
		c := one.commit
		state, known := f.front(one, recalled)
		if !known {
			if err := f.recall(ctx, source, seen, commits[n:], recalled); err != nil {
				return err
			}
			state = recalled[c.Aggregate].folded
		}
		delete(recalled, c.Aggregate)
		if state.Version+1 != c.First {
			return fmt.Errorf("fold %s: the commit in front of version %d ends with %d: %w", c.Aggregate, c.First, state.Version, errMismatch)
		}
		for i := range c.Events {
			state = state.with(seen, c, i, one.items[i].change.Fields)
			one.items[i].state = state
		}
		f.put(c.Aggregate, kept{state, one.at})
	}
	return nil
}

// with is the state behind one more event, whose fields these are.
func (s *folded) with(seen *seen, c *event.Commit, i int, fields []event.Field) *folded {
	e := c.Events[i]
	next := &folded{State: aggregate.FoldFields(s.State, e, fields, seen.ends(&e)), seals: s.seals}
	for name, version := range next.Sealed {
		if version != next.Version {
			continue
		}
		if next.seals = maps.Clone(next.seals); next.seals == nil {
			next.seals = map[string]seal{}
		}
		next.seals[name] = sealOf(c)
	}
	return next
}

// recall reads the states in front of the commits that are not in memory, of each aggregate the first, and adds them to recalled.
func (f *folder) recall(ctx context.Context, source eventlog.Log, seen *seen, commits []folding, recalled map[event.AggregateID]kept) error {
	p := &pasts{seen: seen, name: f.name, waiting: map[uint64][]*past{}, log: f.log}
	p.found = func(a event.AggregateID, k kept) {
		recalled[a] = k
		f.put(a, k)
	}
	asked := map[event.AggregateID]bool{}
	for _, one := range commits {
		a := one.commit.Aggregate
		if asked[a] {
			continue
		}
		asked[a] = true
		if _, known := f.front(one, recalled); known {
			continue
		}
		base, _ := f.get(a)
		p.wait(&past{aggregate: a, behind: one.prev, next: one.prev, first: one.commit.First, base: base})
	}
	return p.read(ctx, source)
}
