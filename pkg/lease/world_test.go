package lease_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/lease"
)

// TTL of the tests' members.
const ttl = 3 * time.Second

// world is some processes on one table, in the bubble of a test.
type world struct {
	t         *testing.T
	table     *lease.Memory
	processes map[string]*process
	names     []string
	started   []*process
	work      sync.WaitGroup
	ending    chan struct{}
}

// background runs until it is done, at the latest until the test ends.
func (w *world) background(f func(context.Context)) {
	w.work.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		f(ctx)
	})
}

// later does something after a while, or never if the test ends before.
func (w *world) later(d time.Duration, f func()) {
	w.work.Go(func() {
		select {
		case <-time.After(d):
			f()
		case <-w.ending:
		}
	})
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, table: lease.NewMemory(), processes: map[string]*process{}, ending: make(chan struct{})}
	t.Cleanup(func() {
		close(w.ending)
		w.work.Wait()
		for _, name := range w.names {
			w.processes[name].kill()
		}
		for _, p := range w.started {
			p.end()
		}
	})
	return w
}

// process is one member; it takes over and leaves as a writer would.
type process struct {
	w      *world
	name   string
	keeper *lease.Keeper
	link   *link
	ended  chan struct{}
	err    error // of Run; set before ended is closed
	stop   context.CancelFunc
	work   sync.WaitGroup

	takeOver time.Duration    // how long a takeover takes; negative: for ever
	settle   time.Duration    // how long leaving takes
	gone     func(log string) // called with each Gone; nil: nothing

	wallAhead atomic.Int64 // nanoseconds
	full      atomic.Bool  // it has no room

	mu     sync.Mutex // guards below
	leases map[string]*lease.Lease
	epochs map[string]uint64
	events []string // Lead, Leave and Gone as they came
}

type option func(*lease.Config, *process)

// start starts a member that follows the logs.
func (w *world) start(name string, logs []string, options ...option) *process {
	w.t.Helper()
	p := &process{w: w, name: name, link: newLink(w.table), ended: make(chan struct{}), leases: map[string]*lease.Lease{}, epochs: map[string]uint64{}}
	cfg := lease.Config{
		Table: p.link, Site: "north", Member: lease.Member{ID: name, Name: "writer " + name, Host: "host", PID: 1}, Handler: p, TTL: ttl, Grace: -1,
		Now: func() time.Time { p.link.pass(context.Background()); return time.Now() }, Log: zerolog.Nop(),
	}
	cfg.Gone = func(lease.Member) bool { return true }
	cfg.Room = func() bool { return !p.full.Load() }
	cfg.Wall = func() time.Time { return time.Now().Add(time.Duration(p.wallAhead.Load())) }
	for _, o := range options {
		o(&cfg, p)
	}
	var err error
	if p.keeper, err = lease.New(cfg); err != nil {
		w.t.Fatal(err)
	}
	for _, log := range logs {
		p.keeper.Follow(log)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		defer close(p.ended)
		p.err = p.keeper.Run(ctx)
	}()
	if !slices.Contains(w.names, name) {
		w.names = append(w.names, name)
	}
	w.processes[name], w.started = p, append(w.started, p)
	return p
}

// Lead implements lease.Handler.
func (p *process) Lead(l *lease.Lease) {
	p.note("lead", l)
	p.mu.Lock()
	p.leases[l.Log()] = l
	p.epochs[l.Log()]++
	epoch := p.epochs[l.Log()]
	p.mu.Unlock()
	if p.takeOver < 0 {
		return
	}
	p.work.Go(func() {
		p.wait(p.takeOver)
		if err := l.Serving(context.Background(), epoch); err != nil && !errors.Is(err, lease.ErrLost) && !errors.Is(err, lease.ErrStopped) {
			p.w.t.Errorf("%s serves %s: %v", p.name, l.Log(), err)
		}
	})
}

// Leave implements lease.Handler.
func (p *process) Leave(l *lease.Lease) {
	p.note("leave", l)
	p.work.Go(func() {
		p.wait(p.settle)
		if err := l.Left(context.Background()); err != nil && !errors.Is(err, lease.ErrLost) && !errors.Is(err, lease.ErrStopped) {
			p.w.t.Errorf("%s left %s: %v", p.name, l.Log(), err)
		}
	})
}

// Gone implements lease.Handler.
func (p *process) Gone(l *lease.Lease, republish bool) {
	if republish {
		p.note("gone on", l)
	} else {
		p.note("gone", l)
	}
	if p.gone != nil {
		p.gone(l.Log())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.Held() {
		p.w.t.Errorf("%s holds %s, which is gone", p.name, l.Log())
	}
	if p.leases[l.Log()] == l {
		delete(p.leases, l.Log())
	}
}

func (p *process) wait(d time.Duration) {
	p.link.pass(context.Background())
	if d > 0 {
		<-time.After(d)
	}
	p.link.pass(context.Background())
}

func (p *process) note(what string, l *lease.Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, what+" "+l.Log())
}

// count is how many notes begin so.
func (p *process) count(what string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if strings.HasPrefix(e, what) {
			n++
		}
	}
	return n
}

// held are the logs whose lease is Held. A process that is stopped answers nothing.
func (p *process) held() []string { return slices.Sorted(maps.Keys(p.heldLeases())) }

func (p *process) heldLeases() map[string]*lease.Lease {
	held := map[string]*lease.Lease{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for log, l := range p.leases {
		if !p.link.isPaused() && !p.link.isDead() && l.Held() {
			held[log] = l
		}
	}
	return held
}

func (p *process) lease(log string) *lease.Lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leases[log]
}

// kill ends the process as kill -9 does: it reads and writes nothing more, and answers nothing.
func (p *process) kill() {
	p.link.cut()
	p.link.resume()
	p.stop()
}

// end ends the process in order.
func (p *process) end() {
	p.stop()
	<-p.ended
	p.work.Wait()
	p.link.running.Wait()
}

// link is a process's way to the table: it delays, loses, repeats, is cut, and stops with the process.
type link struct {
	table   lease.Table
	running sync.WaitGroup

	mu     sync.Mutex // guards below
	paused chan struct{}
	broken bool
	resets chan struct{} // closed to have the watch start over
	chaos  *rand.Rand    // nil: no faults
	slow   time.Duration // how long an answer is on its way, without other faults
	busy   time.Duration // how long a request is on its way
	deaf   bool          // news do not come
	blink  time.Duration // how long a reset takes until the table is seen again
	waits  int           // requests whose answer is on its way
	dead   chan struct{}
}

func newLink(table lease.Table) *link {
	return &link{table: table, resets: make(chan struct{}), dead: make(chan struct{})}
}

func (l *link) isPaused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.paused != nil
}

// pause stops the process, as SIGSTOP does, until resume.
func (l *link) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused == nil {
		l.paused = make(chan struct{})
	}
}

func (l *link) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused != nil {
		close(l.paused)
		l.paused = nil
	}
}

func (l *link) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// pass waits while the process is stopped.
func (l *link) pass(ctx context.Context) {
	l.mu.Lock()
	paused := l.paused
	l.mu.Unlock()
	if paused == nil {
		return
	}
	select {
	case <-paused:
	case <-ctx.Done():
	}
}

// split cuts the way to the table until join, where the watch starts over.
func (l *link) split() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
}

func (l *link) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken, l.deaf = false, false
	close(l.resets)
	l.resets = make(chan struct{})
}

// cut is a split for ever, which also ends what is under way.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.broken {
		l.broken = true
	}
	select {
	case <-l.dead:
	default:
		close(l.dead)
	}
}

func (l *link) isBroken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// calm ends the faults.
func (l *link) calm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chaos = nil
}

// draw gives a random number below n, or 0 without faults.
func (l *link) draw(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.chaos == nil {
		return 0
	}
	return l.chaos.IntN(n)
}

func (l *link) delays() (there, back time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy, l.slow
}

func (l *link) answering(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits += n
}

// underWay tells whether an answer is on its way.
func (l *link) underWay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits > 0
}

// deafen keeps the news away, until join.
func (l *link) deafen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = true
}

func (l *link) isDeaf() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deaf || l.broken
}

func (l *link) blinking() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blink
}

// delay makes requests and answers slow.
func (l *link) delay(there, back time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy, l.slow = there, back
}

func (l *link) faulty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chaos != nil
}

func (l *link) wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	case <-l.dead:
	}
}

// Put implements lease.Table.
func (l *link) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return l.request(ctx, func(ctx context.Context) (uint64, error) { return l.table.Put(ctx, key, value, revision) })
}

// Delete implements lease.Table.
func (l *link) Delete(ctx context.Context, key string, revision uint64) error {
	_, err := l.request(ctx, func(ctx context.Context) (uint64, error) { return 0, l.table.Delete(ctx, key, revision) })
	return err
}

// request does one request with what can befall it: nothing, a delay, lost on the way there, lost on the way back, done after it was given up.
func (l *link) request(ctx context.Context, do func(context.Context) (uint64, error)) (uint64, error) {
	l.pass(ctx)
	if l.isBroken() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if !l.faulty() {
		there, back := l.delays()
		l.wait(ctx, there)
		revision, err := do(ctx)
		l.answering(1)
		l.wait(ctx, back)
		l.answering(-1)
		return revision, err
	}
	l.wait(ctx, time.Duration(l.draw(30))*time.Millisecond)
	l.pass(ctx)
	switch l.draw(12) {
	case 0:
		<-ctx.Done()
		return 0, ctx.Err()
	case 1:
		_, _ = do(ctx)
		<-ctx.Done()
		return 0, ctx.Err()
	case 2:
		late := time.Duration(l.draw(4000)) * time.Millisecond
		l.running.Go(func() {
			l.wait(context.Background(), late)
			if !l.isDead() {
				_, _ = do(context.Background())
			}
		})
		<-ctx.Done()
		return 0, ctx.Err()
	}
	revision, err := do(ctx)
	l.wait(ctx, time.Duration(l.draw(30))*time.Millisecond)
	l.pass(ctx)
	return revision, err
}

// Watch implements lease.Table: news come late, in order, and some twice; sometimes it starts over.
func (l *link) Watch(ctx context.Context, each func(lease.Change)) error {
	for ctx.Err() == nil {
		l.mu.Lock()
		resets := l.resets
		l.mu.Unlock()
		l.watch(ctx, resets, each)
		if ctx.Err() == nil {
			each(lease.Change{Reset: true})
		}
	}
	return nil
}

func (l *link) watch(ctx context.Context, resets <-chan struct{}, each func(lease.Change)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := make(chan lease.Change, 100_000)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = l.table.Watch(ctx, func(c lease.Change) { changes <- c }) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-resets:
			return
		case c := <-changes:
			if lag := l.draw(40); lag > 0 {
				l.wait(ctx, time.Duration(lag)*time.Millisecond)
			}
			if l.draw(200) == 1 {
				l.wait(ctx, time.Duration(l.draw(4000))*time.Millisecond)
			}
			l.pass(ctx)
			if l.isDeaf() {
				select {
				case <-ctx.Done():
				case <-resets:
				}
				return
			}
			each(c)
			if c.Reset {
				l.wait(ctx, l.blinking())
			}
			if c.Key != "" && l.draw(10) == 1 {
				each(c)
			}
			if l.draw(300) == 1 {
				return
			}
		}
	}
}

// logs gives n names.
func logs(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("log-%02d", i))
	}
	return names
}

// shares is how many logs each process holds, largest first.
func (w *world) shares(names ...string) (shares []int) {
	for _, name := range names {
		shares = append(shares, len(w.processes[name].held()))
	}
	slices.SortFunc(shares, func(a, b int) int { return b - a })
	return shares
}

// until waits until a condition holds, checking every 10 ms that no log is held twice.
func (w *world) until(what string, most time.Duration, holds func() bool) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for {
		w.noTwo()
		if holds() {
			return time.Since(begin)
		}
		if time.Since(begin) > most {
			w.t.Fatalf("%s: not after %v\n%s", what, most, w.state())
		}
		<-time.After(10 * time.Millisecond)
	}
}

// pass lets time go by, checking as until does.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	begin := time.Now()
	w.until("time passes", d+time.Second, func() bool { return time.Since(begin) >= d })
}

// noTwo checks that no log is held by two processes. They go on meanwhile, so the first is asked again behind the second: a lease that was given
// up is never Held again.
func (w *world) noTwo() {
	w.t.Helper()
	first, by := map[string]*lease.Lease{}, map[string]*process{}
	for _, name := range w.names {
		p := w.processes[name]
		for log, l := range p.heldLeases() {
			if was := first[log]; was != nil && l.Held() && !by[log].link.isPaused() && was.Held() {
				w.t.Fatalf("%s is held by %s and by %s\n%s", log, by[log].name, name, w.state())
			}
			first[log], by[log] = l, p
		}
	}
}

func (w *world) state() string {
	var b strings.Builder
	for _, name := range w.names {
		p := w.processes[name]
		fmt.Fprintf(&b, "%s holds %v\n", name, p.held())
		if !p.link.isPaused() {
			for _, o := range p.keeper.Owners() {
				fmt.Fprintf(&b, "  %s sees %+v\n", name, o)
			}
		}
	}
	return b.String()
}

func (w *world) wantShares(what string, most time.Duration, want []int, names ...string) time.Duration {
	w.t.Helper()
	return w.until(fmt.Sprintf("%s: shares %v", what, want), most, func() bool { return cmp.Equal(w.shares(names...), want) })
}

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}
