package projector

import (
	"context"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Limits of a trace.
const (
	maxTraced = 1000 // commits
	maxCauses = 256  // commits above the one that is asked about
)

// Traced is a commit in a tree of causes, and what it caused.
type Traced struct {
	Cause   string       `json:"cause,omitempty"`   // what its causation names
	Missing bool         `json:"missing,omitempty"` // nobody who asks may read has that hash or command id
	Cycle   bool         `json:"cycle,omitempty"`   // that lies below: the causes go round
	Events  []NamedEvent `json:"events"`
	Caused  []*Traced    `json:"caused,omitempty"` // oldest first
}

// Trace is the tree of causes that a commit is part of, from its first cause on. Truncated: it has more than 1,000 commits, or more than about 512 KiB.
type Trace struct {
	Hash      string  `json:"hash"` // that was asked about
	Root      *Traced `json:"root"`
	Truncated bool    `json:"truncated"`
}

// Trace follows causation up to the first cause, and from there down to everything that it caused. Causation names a leaf hash, or a command id; of a command with several
// commits the first one counts. may says whose events who asks may see (nil: all); others are as if they were not there. not_found, malformed: as EventByHash.
func (p *Projector) Trace(ctx context.Context, prefix string, may func(event.AggregateID) bool) (Trace, error) {
	m, err := p.match(ctx, prefix, may)
	if err != nil {
		return Trace{}, err
	}
	t := tracer{p: p, ctx: ctx, may: may, seen: map[event.ID16]bool{}}
	start, err := t.at(m)
	if err != nil {
		return Trace{}, err
	}
	first, err := t.first(start)
	if err != nil {
		return Trace{}, err
	}
	if err := t.down(first); err != nil {
		return Trace{}, err
	}
	return Trace{Hash: m.hash.String(), Root: first.Traced, Truncated: t.cut}, nil
}

// tracer is a trace under way.
type tracer struct {
	p     *Projector
	ctx   context.Context
	may   func(event.AggregateID) bool
	seen  map[event.ID16]bool // commits
	count int
	size  int
	cut   bool
}

// traced is a commit, where it lies, and its node.
type traced struct {
	*Traced
	x *index
	c located
}

func newTraced() *Traced { return &Traced{Events: []NamedEvent{}} }

func (t *tracer) sees(c located) bool { return t.may == nil || t.may(c.Aggregate) }

// at reads the commit that a hash leads to.
func (t *tracer) at(m hashMatch) (found traced, err error) {
	err = m.x.view(t.ctx, func(r *reading) error {
		return r.commits(t.ctx, m.aggregate, m.version, func(c located) (bool, error) {
			found = traced{newTraced(), m.x, c}
			return false, nil
		})
	})
	if err == nil && found.Traced == nil {
		err = problem.New(problem.NotFound, "the commit of the hash %s is not in the log any more", m.hash)
	}
	return found, err
}

// first goes up to the first cause that can be found.
func (t *tracer) first(from traced) (traced, error) {
	above := map[event.ID16]bool{}
	for range maxCauses {
		above[from.c.ID] = true
		if from.Cause = from.c.Causation; from.Cause == "" {
			return from, nil
		}
		cause, err := t.cause(from.Cause)
		switch {
		case err != nil:
			return from, err
		case cause.Traced == nil:
			from.Missing = true
			return from, nil
		case above[cause.c.ID]:
			from.Cycle = true
			return from, nil
		}
		from = cause
	}
	t.cut = true
	return from, nil
}

// cause finds the commit that a causation names; one without a node: there is none.
func (t *tracer) cause(name string) (traced, error) {
	if _, err := event.ParseHash(name); err == nil {
		m, err := t.p.match(t.ctx, name, t.may)
		switch p := problem.From(err); {
		case err == nil:
			return t.at(m)
		case p.Code != problem.NotFound:
			return traced{}, err
		}
	}
	found, err := t.posted(posting{byCommand, hash48(name)}, 1, func(c located) bool { return c.CommandID == name && c.Transaction.Index == 0 })
	if err != nil || len(found) == 0 {
		return traced{}, err
	}
	return found[0], nil
}

// posted gives commits of all logs that are found by something, at most so many of each log, by their times.
func (t *tracer) posted(by posting, limit int, is func(located) bool) (out []traced, err error) {
	for _, x := range t.p.all() {
		n := 0
		err := x.view(t.ctx, func(r *reading) error {
			return r.walk(by, spot{}, func(c located) (bool, error) {
				if t.ctx.Err() != nil {
					return false, problem.New(problem.Unavailable, "the trace was given up: %v", t.ctx.Err())
				}
				if is(c) && t.sees(c) {
					out = append(out, traced{newTraced(), x, c})
					n++
				}
				return n < limit, nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b traced) int {
		if a.c.Time == b.c.Time {
			return 0
		}
		return compareTimes(a.c.Time, b.c.Time)
	})
	return out, nil
}

// down finds what a commit caused, and what that caused, level by level.
func (t *tracer) down(root traced) error {
	level := []traced{root}
	t.seen[root.c.ID] = true
	for len(level) > 0 {
		var next []traced
		for _, one := range level {
			if err := t.show(one); err != nil {
				return err
			}
			if t.cut {
				return nil
			}
			caused, err := t.caused(one)
			if err != nil {
				return err
			}
			for _, c := range caused {
				if t.seen[c.c.ID] {
					continue
				}
				t.seen[c.c.ID] = true
				c.Cause = c.c.Causation
				one.Caused = append(one.Caused, c.Traced)
				next = append(next, c)
			}
		}
		level = next
	}
	return nil
}

// show puts the events of a commit into its node, while there is room.
func (t *tracer) show(one traced) error {
	for i := range one.c.Events {
		if t.size += eventText + 2*len(one.c.Events[i].Payload); t.size > pageBytes && t.count > 0 {
			t.cut = true
			return nil
		}
		e, err := t.p.named(t.ctx, &hit{one.x, one.c, i})
		if err != nil {
			return err
		}
		one.Events = append(one.Events, e)
	}
	t.count++
	t.cut = t.cut || t.count >= maxTraced
	return nil
}

// caused gives the commits whose causation names a commit.
func (t *tracer) caused(by traced) (out []traced, err error) {
	names := make([]string, 0, len(by.c.leaves)+1)
	if by.c.Transaction.Index == 0 {
		names = append(names, by.c.CommandID)
	}
	for _, leaf := range by.c.leaves {
		names = append(names, leaf.String())
	}
	for _, name := range names {
		found, err := t.posted(posting{byCause, hash48(name)}, maxTraced, func(c located) bool { return c.Causation == name })
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}
