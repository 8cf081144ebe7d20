package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// batch is what one call delivers: some lanes, and of each the first changes.
type batch struct {
	lanes  []*lane
	items  []*item
	behind []*item // that are parked behind another one without being tried
}

// result is what became of a batch.
type result struct {
	batch
	outcomes []plugin.Outcome // of items
	parked   []error          // of behind: nil if it is parked now
	took     time.Duration
}

// dispatch starts batches as long as there is something to do and somebody to do it.
func (p *partition) dispatch(ctx context.Context) error {
	now := p.t.e.cfg.Now()
	p.save(ctx, now)
	if p.stopping {
		return nil
	}
	if err := p.retryMore(ctx); err != nil {
		return err
	}
	for l := range p.waiting {
		if !now.Before(l.due) {
			delete(p.waiting, l)
			p.ready = append(p.ready, l)
		}
	}
	for len(p.ready) > 0 && p.busy < p.w.how.concurrency && p.breaker.closed(now, p.busy) {
		size := p.rate.take(now, p.breaker.size(p.w.how.batch))
		if size == 0 {
			return nil
		}
		b := p.form(size)
		p.rate.giveBack(size - len(b.items))
		p.busy++
		p.working.Go(func() { p.results <- p.deliver(ctx, b) })
	}
	return nil
}

// form takes up to size changes from the lanes that are ready: of each the first, or as many as fit if the plugin keeps the order itself.
func (p *partition) form(size int) batch {
	var b batch
	n := 0
	for len(b.items)+len(b.behind) < size && n < len(p.ready) {
		l := p.ready[n]
		n++
		many := 1
		if p.w.kind.Ordered && !p.w.how.block {
			many = min(len(l.queue), size-len(b.items)-len(b.behind))
		}
		b.lanes = append(b.lanes, l)
		for _, i := range l.queue[:many] {
			if i.parked == 0 && p.isBehind(&i.change) {
				b.behind = append(b.behind, i)
			} else {
				b.items = append(b.items, i)
			}
		}
		l.inFlight = many
	}
	p.ready = slices.Delete(p.ready, 0, n)
	return b
}

// deliver brings a batch to the target, and parks what it refuses.
func (p *partition) deliver(ctx context.Context, b batch) *result {
	r := &result{batch: b, outcomes: make([]plugin.Outcome, len(b.items)), parked: make([]error, len(b.behind))}
	began := time.Now()
	changes, places := p.buffer(len(b.items)), make([]int, 0, len(b.items))
	defer func() { p.giveBack(changes) }()
	for n, i := range b.items {
		c, err := p.w.prepare(ctx, i)
		if err != nil {
			r.outcomes[n] = plugin.Retry(err)
			continue
		}
		c.Again = c.Again || i.tries > 0 || i.parked > 0
		changes, places = append(changes, c), append(places, n)
	}
	if len(changes) > 0 {
		for n, o := range p.call(ctx, changes) {
			r.outcomes[places[n]] = o
		}
	}
	r.took = time.Since(began)
	for n, i := range b.items {
		r.outcomes[n] = p.record(ctx, i, r.outcomes[n])
	}
	for n, i := range b.behind {
		r.parked[n] = p.parkOnce(ctx, i, errors.New("an earlier change of the aggregate is parked"), true)
	}
	return r
}

// buffer gives room for so many changes, of a call that is over where there is one.
func (p *partition) buffer(n int) []plugin.Change {
	select {
	case b := <-p.buffers:
		if cap(b) >= n {
			return b
		}
	default:
	}
	return make([]plugin.Change, 0, n)
}

// giveBack keeps the room for another call, and nothing of what was in it.
func (p *partition) giveBack(b []plugin.Change) {
	clear(b)
	select {
	case p.buffers <- b[:0]:
	default:
	}
}

// call calls the plugin. Its panics, and answers that are not one for each change, are faults of the plugin: nothing is known then.
func (p *partition) call(ctx context.Context, changes []plugin.Change) (outcomes []plugin.Outcome) {
	ctx, cancel := context.WithTimeout(ctx, p.w.how.timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			outcomes = plugin.All(len(changes), plugin.Retry(fmt.Errorf("a fault of plugin type %s: %v", p.w.kind.Name, r)))
		}
	}()
	outcomes = p.w.target.Deliver(ctx, plugin.Batch{Partition: p.t.index, Changes: changes})
	if len(outcomes) != len(changes) {
		return plugin.All(len(changes), plugin.Retry(fmt.Errorf("a fault of plugin type %s: %d outcomes for %d changes", p.w.kind.Name, len(outcomes), len(changes))))
	}
	return outcomes
}

// record keeps what has to be kept of an outcome: a refused change is parked, one that is refused again too, with its new cause (not with --on-error=block, where the order of the
// numbers is that of the retries), one that was parked and has arrived is not any more. What cannot be kept is tried again.
func (p *partition) record(ctx context.Context, i *item, o plugin.Outcome) plugin.Outcome {
	var err error
	switch {
	case o.Status == plugin.StatusPark && i.parked == 0:
		err = p.parkOnce(ctx, i, o.Err, false)
	case o.Status == plugin.StatusPark && !p.w.how.block:
		err = p.parkAnew(ctx, i, i.parked, o.Err)
	case o.Status == plugin.StatusDone && (i.parked > 0 || i.change.Again): // a retry brought it, or a replay
		err = p.arrived(ctx, i)
	}
	if err != nil {
		return plugin.Retry(err)
	}
	return o
}

// park keeps a change with its cause, in place of what is parked under a number; 0: of nothing.
func (p *partition) park(ctx context.Context, i *item, former uint64, cause error, behind bool) error {
	text := "the plugin gave no cause"
	if cause != nil {
		text = cause.Error()
	}
	c := &i.change
	data, err := EncodeParked(p.t.e.cfg.Secrets, Parked{
		Plugin: p.t.name, Aggregate: c.Aggregate.String(), Version: uint64(c.Version), EventType: c.EventType, Position: c.Position.String(), Leaf: c.Leaf.String(),
		Cause: text[:min(len(text), 2000)], Generation: p.w.how.generation, Behind: behind, Time: p.t.now(),
	})
	if err != nil {
		return err
	}
	// The id holds the replay: a change that a replay brings again, behind a purge, is parked again. It holds what it takes the place of: that is removed behind it.
	id := fmt.Sprintf("%s/%s/%d/%d/%d/%d", p.t.name, c.Leaf, p.w.how.generation, p.plugin.Replay.Number, p.plugin.Purges, p.plugin.Retry.Number)
	if former > 0 {
		id += fmt.Sprint("/", former)
	}
	return p.dead.Add(ctx, p.t.name, id, data)
}

// settle takes up what became of a batch.
func (p *partition) settle(r *result) {
	p.busy--
	now := p.t.e.cfg.Now()
	var arrived, refused, again int
	var last error
	for n, i := range r.items {
		switch o := r.outcomes[n]; o.Status {
		case plugin.StatusDone:
			arrived++
			p.unpark(i)
			p.finish(i)
		case plugin.StatusPark:
			refused++
			last = o.Err
			p.parked(i)
			p.finish(i)
		default:
			again++
			if o.Err != nil {
				last = o.Err
			}
			p.delay(i, o, now)
		}
	}
	for n, i := range r.behind {
		if r.parked[n] == nil {
			refused++
			if !i.kept {
				p.blocked[i.change.Aggregate]++
			}
			p.finish(i)
		}
	}
	for _, l := range r.lanes {
		p.requeue(l, now)
	}
	p.t.e.metrics.settled(p.t.name, arrived, refused, again, r.took)
	if p.breaker.note(now, arrived+refused > 0 || len(r.items) == 0) {
		p.hurry()
	}
	switch {
	case again > 0 && arrived+refused == 0:
		p.note(stateRetrying, last)
	case again == 0:
		p.note(stateDelivering, last)
	}
}

// delay has a change wait before it is tried again, and longer each time.
func (p *partition) delay(i *item, o plugin.Outcome, now time.Time) {
	l := p.lanes[i.change.Aggregate]
	if o.Err == nil && o.After == 0 && len(l.queue) > 0 && l.queue[0] != i {
		return // it stood behind one that failed, and was not tried
	}
	i.tries++
	if due := now.Add(max(o.After, backoff(i.tries, p.w.how.backoff))); due.After(l.due) {
		l.due = due
	}
}

// hurry lets everything go at once that waits: the target is there again.
func (p *partition) hurry() {
	for l := range p.waiting {
		l.due = time.Time{}
	}
}

// finish settles a change.
func (p *partition) finish(i *item) {
	i.done = true
	p.items--
	p.bytes -= i.size
	if i.block == nil {
		p.retry.left--
		return
	}
	if i.block.left--; i.block.left == 0 {
		p.advance(i.change.Position.Log, i.source)
	}
}

// requeue puts a lane back to those that are ready, or that wait; an empty one goes.
func (p *partition) requeue(l *lane, now time.Time) {
	var a event.AggregateID
	if len(l.queue) > 0 {
		a = l.queue[0].change.Aggregate
	}
	kept := l.queue[:0]
	for n, i := range l.queue {
		if n >= l.inFlight || !i.done {
			kept = append(kept, i)
		}
	}
	clear(l.queue[len(kept):])
	l.queue, l.inFlight = kept, 0
	switch {
	case len(kept) == 0:
		delete(p.lanes, a)
	case now.Before(l.due):
		p.waiting[l] = true
	default:
		p.ready = append(p.ready, l)
	}
}
