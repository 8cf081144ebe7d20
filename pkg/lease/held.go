package lease

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Lease is this member's right to write one log, from Lead to Gone. All methods are safe for concurrent use.
type Lease struct {
	keeper *Keeper
	log    string
	group  string
	good   atomic.Bool // the record names this member and incarnation, and lets it answer
	over   atomic.Bool // the writer said that it answers no more

	mu      sync.Mutex    // guards changed
	changed chan struct{} // closed at the next change
}

// Log is the log's name.
func (l *Lease) Log() string { return l.log }

// Group is the queue group of the log's command subscriptions: kept in a hand-over, another one in a takeover.
func (l *Lease) Group() string { return l.group }

// Held tells whether nobody else can have taken the log by now, by the monotonic and the wall clock. What was decided before it was asked may then be
// answered. It is cheap: two readings of the clock.
func (l *Lease) Held() bool {
	w := &l.keeper.window
	until := w.until.Load() // in this order: a process that stops between any two of these must not find the old of one and the new of the other
	return until != nil && l.good.Load() && !l.over.Load() && w.reading().before(*until)
}

// Changed gives a channel that is closed when Held has, or may have, another answer than now, in either direction, or the lease is gone. Take it
// before asking Held.
func (l *Lease) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Lease) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Serving records that the log was taken over at that epoch and is served; it returns when that is acknowledged, and the lease is Held from then on.
// ErrLost: the lease went before; Gone is called too.
func (l *Lease) Serving(ctx context.Context, epoch uint64) error {
	return l.keeper.ask(ctx, func(c *core, done func(error)) { c.serving(l, epoch, done) })
}

// Left says that nothing is in flight and nothing will be decided any more; from the call on the lease is not Held. It returns when the log is the
// successor's in the table; where there is none any more it is nobody's, or Lead follows. ErrLost: it was not this member's, or not to be left.
func (l *Lease) Left(ctx context.Context) error {
	l.over.Store(true)
	return l.keeper.ask(ctx, func(c *core, done func(error)) { c.left(l, done) })
}

// Fenced says that the log holds a higher epoch of another writer, or cannot be led here any more. The lease is not Held from the call on; Gone follows.
func (l *Lease) Fenced() {
	l.over.Store(true)
	l.keeper.post(func(c *core) { c.fenced(l) })
}

// window is how long the member's last acknowledged renewal holds, for all its leases.
type window struct {
	now, wall func() time.Time
	until     atomic.Pointer[deadline]
}

// deadline is one moment on both clocks.
type deadline struct{ mono, wall time.Time }

func (w *window) reading() deadline { return deadline{mono: w.now(), wall: w.wall().Round(0)} }

func (w *window) openAt(now deadline) bool {
	until := w.until.Load()
	return until != nil && now.before(*until)
}

func (d deadline) before(o deadline) bool { return d.mono.Before(o.mono) && d.wall.Before(o.wall) }

func (d deadline) add(t time.Duration) deadline {
	return deadline{mono: d.mono.Add(t), wall: d.wall.Add(t)}
}
