package lease

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"
)

// Keeper keeps this member's record, takes leases for it and gives them up. All methods are safe for concurrent use.
type Keeper struct {
	cfg    Config
	window window
	more   chan struct{} // holds one token when queue is not empty
	ended  chan struct{} // closed when Run has come back

	mu    sync.Mutex // guards all below
	core  *core
	queue []func(*core)
	again context.CancelFunc // ends the watch under way; nil: there was none yet
}

// New checks the configuration, all of it at once. Run does the rest.
func New(cfg Config) (*Keeper, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("lease configuration: %w", err)
	}
	k := &Keeper{cfg: cfg, window: window{now: cfg.Now, wall: cfg.Wall}, more: make(chan struct{}, 1), ended: make(chan struct{})}
	k.core = newCore(cfg, &k.window, func(log, group string) *Lease {
		return &Lease{keeper: k, log: log, group: group, changed: make(chan struct{})}
	}, rand.Text)
	return k, nil
}

// Run keeps the leases until ctx ends. Then it hands over what it leads to other members (the Handler is asked to Leave, so whoever handles must
// still run), leaves the rest free, deletes its record and comes back with nil, all within Back and a second. Errors: ErrSameMember and ErrNewer. It runs once.
func (k *Keeper) Run(ctx context.Context) error {
	table, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer close(k.ended)
	defer running.Wait()
	defer cancel()
	running.Go(func() { k.watch(table) })
	tick := time.NewTicker(k.core.pause())
	defer tick.Stop()
	stop := ctx.Done()
	for {
		select {
		case <-tick.C:
		case <-k.more:
		case <-stop:
			stop = nil
			k.post((*core).stop)
		}
		turn := k.turn()
		for _, o := range turn.ops {
			running.Go(func() { k.write(table, o) })
		}
		for _, call := range turn.calls {
			call(k.cfg.Handler)
		}
		if turn.dirty {
			k.cfg.Changed()
		}
		if turn.over || turn.fatal != nil {
			return turn.fatal
		}
	}
}

// turn is what one look at the state of things leaves to do.
type turn struct {
	ops   []op
	calls []func(Handler)
	dirty bool
	over  bool
	fatal error
}

func (k *Keeper) turn() turn {
	events := k.take()
	now := k.window.reading() // behind take: nothing may seem older than it is
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.core
	c.now = now
	for _, event := range events {
		event(c)
	}
	c.step()
	t := turn{over: c.finished(), fatal: c.fatal}
	if t.over || t.fatal != nil {
		c.endAll()
	}
	t.ops, t.calls, t.dirty = c.ops, c.calls, c.dirty
	if c.again && k.again != nil {
		k.again()
	}
	c.ops, c.calls, c.dirty, c.again = nil, nil, false, false
	return t
}

func (k *Keeper) take() []func(*core) {
	k.mu.Lock()
	defer k.mu.Unlock()
	events := k.queue
	k.queue = nil
	return events
}

// watch follows the table; when that is not possible, or the core asks for it, it starts over.
func (k *Keeper) watch(ctx context.Context) {
	for told := false; ctx.Err() == nil; {
		watching, cancel := k.watching(ctx)
		err := k.cfg.Table.Watch(watching, func(ch Change) {
			told = false
			k.post(func(c *core) { c.change(ch) })
		})
		asked := watching.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return
		}
		if !told && !asked {
			k.cfg.Log.Warn().Err(err).Msg("leases cannot be watched")
			told = true
		}
		k.post(func(c *core) { c.change(Change{Reset: true}) })
		pause := time.NewTimer(k.core.pause())
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// watching is the context of one watch, which turn ends to have it start over.
func (k *Keeper) watching(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.again = cancel
	return ctx, cancel
}

// write does one op. It gives up before the next renewal is due; a write that comes through later changes nothing, as its revision is over.
func (k *Keeper) write(ctx context.Context, o op) {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.TTL/4)
	defer cancel()
	var revision uint64
	var err error
	if o.value == nil {
		err = k.cfg.Table.Delete(ctx, o.key, o.revision)
	} else {
		revision, err = k.cfg.Table.Put(ctx, o.key, o.value, o.revision)
	}
	k.post(func(c *core) { c.done(o, revision, err) })
}

// post has something done by the loop, in the order of the calls.
func (k *Keeper) post(event func(*core)) {
	k.mu.Lock()
	k.queue = append(k.queue, event)
	k.mu.Unlock()
	select {
	case k.more <- struct{}{}:
	default:
	}
}

// ask has something done by the loop and waits for its outcome.
func (k *Keeper) ask(ctx context.Context, request func(c *core, done func(error))) error {
	outcome := make(chan error, 1)
	k.post(func(c *core) { request(c, func(err error) { outcome <- err }) })
	given := ErrStopped
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		given = ctx.Err()
	case <-k.ended:
	}
	select {
	case err := <-outcome: // it was there already
		return err
	default:
		return given
	}
}

// Follow says that this process has a standby of the log that has caught up: it may lead it from now on.
func (k *Keeper) Follow(log string) {
	k.post(func(c *core) { c.follow(log) })
}

// Resign hands the log over and returns when the successor serves: ErrNotLeading, ErrNoSuccessor, ErrNotServed, ErrLost. If ctx ends before, the hand-over goes on.
func (k *Keeper) Resign(ctx context.Context, log string) error {
	if err := k.ask(ctx, func(c *core, done func(error)) { c.resign(log, done) }); err != nil {
		return fmt.Errorf("resign log %.80q: %w", log, err)
	}
	return nil
}

// Lapsed tells that the last renewal that was stored does not hold any more, so that no lease of this member can be Held, and for how long; 0: there never was one.
func (k *Keeper) Lapsed() (ago time.Duration, lapsed bool) {
	now := k.window.reading()
	k.mu.Lock()
	defer k.mu.Unlock()
	chain := k.core.chain
	if now.before(chain) {
		return 0, false
	}
	if chain.mono.IsZero() {
		return 0, true
	}
	return max(now.mono.Sub(chain.mono), 1), true
}

// Owners says for every log in the table whose it is, ordered by log.
func (k *Keeper) Owners() []Owner {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.core.owners(k.cfg.Now())
}

// Members are the live members as seen from here, this one included once its record is there, ordered by id.
func (k *Keeper) Members() []Member {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.core.members(k.cfg.Now())
}

// Alone tells that the table was seen whole and names no other member.
func (k *Keeper) Alone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.core.alone()
}
