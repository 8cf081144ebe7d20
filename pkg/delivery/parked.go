package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// maxRetried is how many parked changes are in memory at a time to be tried again.
const maxRetried = 1024

// retrying is a retry of parked changes under way.
type retrying struct {
	number uint64 // of the retry; 0: none is under way
	asked  uint64 // the parked change that it is about; 0: all
	next   uint64 // the parked change that is read next
	ended  bool   // all are read
	left   int    // that are not settled
	stuck  map[event.AggregateID]bool
	folds  map[string]*folder // by log
	again  map[string]bool    // leaf hashes of what was refused again, and is parked under a higher number now
	only   *event.AggregateID // --on-error=block: all of the aggregate of the one that is named
}

// unread reports whether parked changes wait to be read, before which nothing new is taken up.
func (r *retrying) unread() bool { return r.number > 0 && !r.ended }

// readParked looks at what is parked when a partition begins: which aggregates are blocked, and whether a retry was asked for.
func (p *partition) readParked(ctx context.Context) error {
	if p.w.how.block {
		p.entries.numbers = map[event.Hash]uint64{}
		err := p.eachParked(ctx, 1, func(number uint64, one Parked, a event.AggregateID) (bool, error) {
			p.block(a, event.Version(one.Version))
			p.entries.add(number, one)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	if asked := p.plugin.Retry; asked.Number > p.open.point.Retry {
		if asked.Number > p.open.point.Retry+1 {
			asked.Only = 0 // an earlier one was not done, of which it is not known here what it asked for
		}
		p.retry = retrying{number: asked.Number, asked: asked.Only, next: max(asked.Only, 1), stuck: map[event.AggregateID]bool{}, folds: map[string]*folder{}, again: map[string]bool{}}
		if p.w.how.block && asked.Only > 0 {
			p.retry.next = 1
			return p.eachParked(ctx, asked.Only, func(number uint64, _ Parked, a event.AggregateID) (bool, error) {
				if number == asked.Only {
					p.retry.only = &a
				}
				return false, nil
			})
		}
	}
	return nil
}

// block notes that a change of an aggregate is parked, behind which later ones are parked too.
func (p *partition) block(a event.AggregateID, v event.Version) {
	p.blocked[a]++
	if least, known := p.foremost[a]; !known || v < least {
		p.foremost[a] = v
	}
}

// isBehind reports whether a change stands behind a parked one of its aggregate.
func (p *partition) isBehind(c *plugin.Change) bool {
	return p.blocked[c.Aggregate] > 0 && (c.Forgotten || c.Version >= p.foremost[c.Aggregate])
}

// eachParked calls visit with what is parked of this partition from a number on, until it gives false.
func (p *partition) eachParked(ctx context.Context, from uint64, visit func(number uint64, one Parked, a event.AggregateID) (bool, error)) error {
	for {
		number, data, err := p.dead.Next(ctx, p.t.name, from)
		if errors.Is(err, eventlog.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		from = number + 1
		one, err := DecodeParked(p.t.e.cfg.Secrets, p.t.name, data)
		if errors.Is(err, errUnreadable) {
			p.t.log.Error().Err(err).Uint64("number", number).Msg("parked change was passed over")
			continue
		}
		if err != nil {
			return err
		}
		a, err := parkedAggregate(one)
		if err != nil {
			return err
		}
		if registry.Partition(a, p.w.how.partitions) != p.t.index || one.Generation != p.w.how.generation {
			continue
		}
		if more, err := visit(number, one, a); err != nil || !more {
			return err
		}
	}
}

func parkedAggregate(one Parked) (event.AggregateID, error) {
	at, err := event.ParsePosition(one.Position)
	if err != nil {
		return event.AggregateID{}, fmt.Errorf("parked change: %w", err)
	}
	for i := range len(one.Aggregate) {
		if one.Aggregate[i] == '/' {
			a := event.AggregateID{Type: one.Aggregate[:i], ID: one.Aggregate[i+1:]}
			return a, a.Check()
		}
	}
	return event.AggregateID{}, fmt.Errorf("parked change at %s: aggregate %.80q is not type/id", at, one.Aggregate)
}

// retryMore reads the next parked changes that are to be tried again, when those before are settled.
func (p *partition) retryMore(ctx context.Context) error {
	r := &p.retry
	if r.number == 0 || r.left > 0 {
		return nil
	}
	if r.ended {
		p.open.point.Retry, p.dirty = r.number, true
		p.retry = retrying{}
		p.stopping = p.w.how.block // what is parked by now is looked at anew, so that no aggregate stays blocked behind nothing
		return nil
	}
	var found []*again
	single := r.asked > 0 && !p.w.how.block
	err := p.eachParked(ctx, r.next, func(number uint64, one Parked, a event.AggregateID) (bool, error) {
		r.next = number + 1
		if single && number != r.asked {
			return false, nil
		}
		if r.stuck[a] || r.again[one.Leaf] || r.only != nil && *r.only != a {
			return true, nil
		}
		at, err := event.ParsePosition(one.Position)
		found = append(found, &again{number: number, version: event.Version(one.Version), at: at})
		return err == nil && len(found) < maxRetried && !single, err
	})
	if err == nil {
		err = p.readAgain(ctx, found)
	}
	if err != nil {
		return err
	}
	for _, one := range found {
		p.push(one.item())
		r.left++
	}
	r.ended = len(found) < maxRetried
	return nil
}

// parked takes up that a change is parked now, or still.
func (p *partition) parked(i *item) {
	a := i.change.Aggregate
	if i.parked == 0 {
		if p.w.how.block && !i.kept {
			p.block(a, i.change.Version)
		}
		return
	}
	p.retry.again[i.change.Leaf.String()] = true
	if p.w.how.block {
		p.retry.stuck[a] = true
		p.dropRetries(a)
	}
}

// dropRetries leaves those parked that stand behind one that was refused again.
func (p *partition) dropRetries(a event.AggregateID) {
	l := p.lanes[a]
	if l == nil {
		return
	}
	for n, i := range l.queue {
		if n >= l.inFlight && i.parked > 0 && !i.done {
			p.finish(i)
		}
	}
	kept := l.queue[:0:0]
	for n, i := range l.queue {
		if n < l.inFlight || !i.done {
			kept = append(kept, i)
		}
	}
	l.queue = kept
}

// unpark takes up that a parked change arrived.
func (p *partition) unpark(i *item) {
	if i.parked == 0 || !p.w.how.block {
		return
	}
	a := i.change.Aggregate
	if p.blocked[a]--; p.blocked[a] <= 0 {
		delete(p.blocked, a)
		delete(p.foremost, a)
	}
}
