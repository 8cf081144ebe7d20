package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// Bounds of what a partition holds in memory beyond its checkpoint.
const (
	maxItems = 16384
	maxBytes = 16 << 20
)

// savePause is the shortest time between two checkpoints of a partition that works.
const savePause = time.Second

// partition delivers the changes of one partition under one configuration. One goroutine owns everything; batches are delivered beside it.
type partition struct {
	t      *tenant
	w      *work
	plugin *registry.Plugin
	open   *opened
	dead   Dead

	in      chan *arrival
	results chan *result
	over    chan struct{} // closed when the partition takes no more
	failed  chan error    // why reading cannot go on
	saved   chan error
	working sync.WaitGroup
	buffers chan []plugin.Change // of calls that are over

	lanes   map[event.AggregateID]*lane
	ready   []*lane // with a change that may go now, in the order in which they became so
	waiting map[*lane]bool
	logs    map[string]*progress
	blocked map[event.AggregateID]int // --on-error=block: parked changes of each aggregate
	// foremost is the lowest version of these: what comes again in front of it, behind a crash, arrived before and is not parked.
	foremost map[event.AggregateID]event.Version
	entries  entries
	replays  []registry.Replay // under way
	retry    retrying
	breaker  breaker
	rate     rate

	items, bytes int  // that are not settled
	full         bool // what isFull said last
	busy         int  // batches under way
	saving       bool
	dirty        bool
	nextSave     time.Time
	stopping     bool
}

// lane is what waits of one aggregate, in order.
type lane struct {
	queue    []*item
	inFlight int       // of the head of queue
	due      time.Time // not before
}

// progress is how far one log is settled.
type progress struct {
	open []*block // in the order of the log, the first one not settled
}

// block is one message of the log that is not settled yet, or stands behind one.
type block struct {
	mark Mark
	left int
}

func newPartition(t *tenant, w *work, p *registry.Plugin, o *opened) *partition {
	return &partition{
		t: t, w: w, plugin: p, open: o, in: make(chan *arrival), results: make(chan *result, w.how.concurrency), buffers: make(chan []plugin.Change, w.how.concurrency), over: make(chan struct{}),
		failed: make(chan error, 1), saved: make(chan error, 1), lanes: map[event.AggregateID]*lane{}, waiting: map[*lane]bool{}, logs: map[string]*progress{},
		blocked: map[event.AggregateID]int{}, foremost: map[event.AggregateID]event.Version{}, replays: p.ReplaysBehind(o.point.through()), breaker: breaker{longest: w.how.backoff}, rate: rate{perSecond: w.how.rate},
	}
}

// fail ends the partition: its log cannot be read on from where it stands.
func (p *partition) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

// run delivers until mustEnd says so, or ctx ends; then nothing is under way, and what was settled is saved.
func (p *partition) run(ctx context.Context, mustEnd func() bool) (err error) {
	working, cancel := context.WithCancel(ctx)
	defer p.working.Wait()
	defer cancel()
	if p.dead, err = p.t.e.cfg.Dead(ctx); err != nil {
		return fmt.Errorf("open the parked changes: %w", err)
	}
	if err := p.readParked(ctx); err != nil {
		return err
	}
	leave := func() {}
	defer func() { leave() }()
	defer close(p.over)
	changed := p.t.e.view.changes()
	if leave, err = p.join(ctx, leave); err != nil {
		return err
	}
	p.note(stateDelivering, nil)
	p.t.log.Info().Uint64("epoch", p.open.saver.epoch).Msg("partition was taken up")
	for {
		if p.stopping = p.stopping || mustEnd(); p.stopping && p.busy == 0 && !p.saving {
			return p.end(ctx)
		}
		if err := p.dispatch(working); err != nil {
			return err
		}
		timer := time.NewTimer(p.pause())
		err := p.next(ctx, timer.C, &changed, &leave)
		timer.Stop()
		if err != nil {
			return err
		}
	}
}

// next takes one step of what happens.
func (p *partition) next(ctx context.Context, timer <-chan time.Time, changed *<-chan struct{}, leave *func()) (err error) {
	in, leaving := p.in, p.t.leaving
	if p.stopping {
		leaving = nil // it is closed, and would be heard again and again until the last call is over
	}
	p.full = p.isFull()
	if p.stopping || p.items > 0 && (p.full || len(p.ready) >= p.enough()) || p.retry.unread() {
		in = nil
	}
	select {
	case a := <-in:
		return p.take(a)
	case r := <-p.results:
		p.settle(r)
	case err := <-p.saved:
		p.saving = false
		return err
	case err := <-p.failed:
		return err
	case <-*changed:
		*changed = p.t.e.view.changes()
		if !p.stopping {
			*leave, err = p.join(ctx, *leave)
		}
		return err
	case <-leaving:
		p.stopping = true
	case <-timer:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// room is how many changes may wait. A target that takes none is no reason to hold many: they would stay, and burden whatever else this process does.
func (p *partition) room() int {
	if !p.breaker.proved || p.breaker.open() {
		return min(2*p.w.how.batch, maxItems)
	}
	return maxItems
}

// isFull reports whether no more changes may wait. A partition that was full is, until half of them are gone: a feed that went on without it comes back for many messages, and not for each.
func (p *partition) isFull() bool {
	room, bytes := p.room(), maxBytes
	if p.full {
		room, bytes = room/2, bytes/2
	}
	return p.items >= room || p.bytes >= bytes
}

// enough is how many aggregates with a change that may go are enough to keep every call busy: what lies behind them can stay in the log. While fewer may go, changes of others are looked for up to maxItems.
func (p *partition) enough() int { return 2 * p.w.how.batch * p.w.how.concurrency }

// end saves what is settled behind the last batch.
func (p *partition) end(ctx context.Context) error {
	p.note(stateDelivering, nil)
	p.open.point.Closed = true
	if err := p.open.saver.save(ctx, p.point()); err != nil {
		return err
	}
	p.t.log.Info().Uint64("epoch", p.open.saver.epoch).Msg("partition was settled")
	return nil
}

// join has every log delivered that holds types of the plugin; leave is what ends those that were joined before.
func (p *partition) join(ctx context.Context, leave func()) (func(), error) {
	for _, log := range p.t.e.view.now().logsOf(p.w.how.types) {
		if p.logs[log] != nil {
			continue
		}
		from, err := p.from(ctx, log)
		if errors.Is(err, eventlog.ErrNotFound) {
			continue // its first migration makes it
		}
		if err != nil {
			return leave, err
		}
		p.logs[log] = &progress{}
		before, ends := leave, p.w.feedOf(log).join(p, from)
		leave = func() { ends(); before() }
	}
	return leave, nil
}

// from is where reading a log begins: behind the checkpoint, which must fit the log.
func (p *partition) from(ctx context.Context, log string) (event.Chain, error) {
	mark, begun := p.open.point.Logs[log]
	if !begun {
		_, err := p.t.e.cfg.Store.Open(ctx, log)
		return event.Chain{}, err
	}
	at, err := mark.position()
	if err != nil {
		return event.Chain{}, fmt.Errorf("checkpoint of log %s: %w: %w", log, errMismatch, err)
	}
	source, err := p.t.e.cfg.Store.Open(ctx, log)
	if err != nil {
		return event.Chain{}, err
	}
	m, err := source.Get(ctx, at.Sequence)
	if errors.Is(err, eventlog.ErrNotFound) {
		return event.Chain{}, fmt.Errorf("%s is not in log %s, which lost its end or its beginning: %w", at, log, errMismatch)
	}
	if err != nil {
		return event.Chain{}, err
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil {
		return event.Chain{}, fmt.Errorf("%s cannot be read: %w: %w", at, errMismatch, err)
	}
	if b.ID != at.Block {
		return event.Chain{}, fmt.Errorf("%s is block %s by now: %w", at, b.ID, errMismatch)
	}
	return event.ChainAt(at.Sequence, b.Header), nil
}

// take takes up what was read of a log.
func (p *partition) take(a *arrival) error {
	prog := p.logs[a.log]
	if !a.counts {
		return nil
	}
	c := a.chain
	at := event.Position{Log: a.log, Sequence: c.At, Index: uint32(max(a.commits, 1) - 1), Block: c.Block}
	b := &block{mark: Mark{Position: at.String(), Events: c.TreeSize, Time: c.Time}}
	prog.open = append(prog.open, b)
	for _, i := range a.items {
		if again, skip := p.replaying(i); skip {
			continue
		} else if again {
			i.change.Again = true
		}
		i.source, i.block = prog, b
		b.left++
		p.push(i)
	}
	p.advance(a.log, prog)
	return nil
}

// replaying says of a change whether a replay delivers it again, or passes it over.
func (p *partition) replaying(i *item) (again, skip bool) {
	upTo, there := p.open.point.Replaying[i.change.Position.Log]
	if !there || i.change.Position.Sequence > upTo {
		return false, false
	}
	at := i.change.Position
	asked := slices.ContainsFunc(p.replays, func(r registry.Replay) bool {
		return r.Asks(i.change.Aggregate, at.Log, at.Sequence, i.change.Meta.Time)
	})
	return true, !asked
}

// push puts a change at the end of its aggregate's lane.
func (p *partition) push(i *item) {
	l := p.lanes[i.change.Aggregate]
	if l == nil {
		l = &lane{}
		p.lanes[i.change.Aggregate] = l
		p.ready = append(p.ready, l)
	}
	l.queue = append(l.queue, i)
	p.items++
	p.bytes += i.size
}

// advance moves the checkpoint behind all blocks whose changes are settled.
func (p *partition) advance(log string, prog *progress) {
	n := 0
	for n < len(prog.open) && prog.open[n].left == 0 {
		n++
	}
	if n == 0 {
		return
	}
	p.open.point.Logs[log] = prog.open[n-1].mark
	prog.open = slices.Delete(prog.open, 0, n)
	p.dirty = true
	if upTo, replaying := p.open.point.Replaying[log]; replaying {
		if at, err := p.open.point.Logs[log].position(); err == nil && at.Sequence >= upTo {
			delete(p.open.point.Replaying, log)
		}
	}
}

// note has the checkpoint tell how the partition stands.
func (p *partition) note(state string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
		text = text[:min(len(text), 500)]
	}
	if p.open.point.State != state || p.open.point.Error != text && text != "" {
		p.open.point.State, p.dirty = state, true
	}
	if text != "" || state == stateDelivering {
		p.open.point.Error = text
	}
}

// point is a copy of the checkpoint to save.
func (p *partition) point() Checkpoint {
	c := p.open.point
	c.Saved = p.t.now()
	return c.clone()
}

// save stores the checkpoint beside the loop, if it changed and the last one is long enough ago.
func (p *partition) save(ctx context.Context, now time.Time) {
	if !p.dirty || p.saving || now.Before(p.nextSave) {
		return
	}
	p.dirty, p.saving, p.nextSave = false, true, now.Add(savePause)
	point := p.point()
	p.working.Go(func() {
		err := p.open.saver.save(ctx, point)
		if err != nil && !errors.Is(err, errLost) && ctx.Err() == nil {
			p.t.log.Warn().Err(err).Msg("checkpoint was not saved, it is tried again")
			err = nil // the next one says more
		}
		p.saved <- err
	})
}

// pause is how long nothing has to be done if nothing happens.
func (p *partition) pause() time.Duration {
	now := p.t.e.cfg.Now()
	next := now.Add(pause)
	sooner := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	if p.dirty && !p.saving {
		sooner(p.nextSave)
	}
	if p.busy < p.w.how.concurrency && !p.stopping {
		for l := range p.waiting {
			sooner(l.due)
		}
		if len(p.ready) > 0 {
			sooner(p.breaker.until)
			sooner(p.rate.next(now))
		}
	}
	return next.Sub(now)
}
