// Package delivery carries every change into the targets of plugins: the engine of a plugin-runner.
//
// An Engine follows the system log to learn which plugins there are (package registry), and shares their partitions with other processes by leases (package
// lease). For each partition that it holds, the changes of its aggregates are delivered in the order of each aggregate, one at a time, those of others in
// parallel and in batches. Every log is read once for all partitions of a plugin that the process holds. What the target refuses for a while is tried again; what
// it refuses for good is parked. A checkpoint says up to which place everything is settled; it is written by compare-and-set under an epoch,
// so who lost a partition and wakes cannot take it back. Behind a crash what lies between the checkpoint and the crash is delivered again.
//
// The package knows no NATS. docs/spec/plugins.md is the authority for what it stores.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// Bucket keeps checkpoints, changed by compare-and-set. Errors are those of package eventlog: ErrTaken (another revision), else it is not known whether a
// change was made. It must be safe for concurrent use.
type Bucket interface {
	// Get gives the value and its revision; revision 0: there is none.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put stores the value of a key that has this revision, 0 meaning none.
	Put(ctx context.Context, key string, value []byte, revision uint64) error
}

// Dead keeps parked changes in the order in which they were added. It must be safe for concurrent use.
type Dead interface {
	// Add returns when the change is on disk. The same id within a day is added once.
	Add(ctx context.Context, plugin, id string, data []byte) error
	// Next gives the first one of a plugin at a number or behind it: ErrNotFound of eventlog if there is none.
	Next(ctx context.Context, plugin string, number uint64) (at uint64, data []byte, err error)
	// Remove drops one; that it is not there is no error.
	Remove(ctx context.Context, number uint64) error
}

// Config is all an Engine needs. All fields but the marked ones are required.
type Config struct {
	Site  string
	Store eventlog.Store // where the logs live
	Kinds []*plugin.Kind // that this program has
	// Checkpoints and Dead open what is kept. ErrNotFound of eventlog: nobody made it yet; it is tried again.
	Checkpoints func(context.Context) (Bucket, error)
	Dead        func(context.Context) (Dead, error)
	Secrets     Secrets
	Keys        *fieldkey.Keys // of encrypted fields; nil: plugins that want their values do not run here
	// Lease shares the partitions with other processes; Table and Member are needed, Site, Handler and Log are the Engine's to set.
	Lease lease.Config

	Now     func() time.Time      // default time.Now
	Log     zerolog.Logger        // facts in the past tense
	Metrics prometheus.Registerer // default: none
}

// pause is how long what failed as a whole (the system log, opening a target, a bucket that is away) waits before it is tried again.
const pause = time.Second

// callsEnd is how long calls that are under way have to come back when Run is told to end. Then they are cut off, and what they had comes again.
const callsEnd = 2 * time.Second

// Engine delivers. Run does everything; the other methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	kinds   map[string]*plugin.Kind
	view    *view
	metrics *metrics
	stop    context.Context // ends when Run is told to end
	running sync.WaitGroup  // tenants

	forgotten commitments

	mu      sync.Mutex // guards what follows
	tenants map[*lease.Lease]*tenant
	works   map[workKey]*work
}

// New checks the configuration; nothing is read before Run.
func New(cfg Config) (*Engine, error) {
	if err := event.CheckSite(cfg.Site); err != nil {
		return nil, fmt.Errorf("configure delivery: %w", err)
	}
	if cfg.Store == nil || cfg.Checkpoints == nil || cfg.Dead == nil || cfg.Lease.Table == nil {
		return nil, errors.New("configure delivery: logs, checkpoints, parked changes and leases are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, fmt.Errorf("configure delivery: %w", err)
	}
	e := &Engine{cfg: cfg, kinds: map[string]*plugin.Kind{}, view: newView(), metrics: m, tenants: map[*lease.Lease]*tenant{}, works: map[workKey]*work{}}
	for _, k := range cfg.Kinds {
		e.kinds[k.Name] = k
	}
	return e, nil
}

// Run delivers until ctx ends; then it settles what is under way, for callsEnd at most, gives its partitions to others, and comes back with nil. An error: another process has the id of
// this one (lease.ErrSameMember), or the table of leases is of a newer program. It can be called once.
func (e *Engine) Run(ctx context.Context) error {
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	e.stop = following
	var reader sync.WaitGroup
	reader.Go(func() { e.view.follow(following, e.cfg.Store, e.cfg.Log) })
	defer reader.Wait()
	defer cancel()
	if !e.awaitPlugin(ctx) {
		return nil // nobody has plugins: no lease was ever asked for
	}
	keeper, err := e.keeper()
	if err != nil {
		return fmt.Errorf("share partitions: %w", err)
	}
	reader.Go(func() { e.claim(following, keeper) })
	err = keeper.Run(ctx) // it asks every tenant to leave when ctx ends
	cancel()
	e.running.Wait()
	return err
}

func (e *Engine) keeper() (*lease.Keeper, error) {
	cfg := e.cfg.Lease
	cfg.Site, cfg.Handler, cfg.Log = e.cfg.Site, handler{e}, e.cfg.Log.With().Str("part", "partitions").Logger()
	if cfg.Back == 0 {
		cfg.Back = callsEnd
	}
	if cfg.Settle == 0 { // partitions move faster than logs: nothing waits for them
		cfg.Settle, cfg.Pace = 500*time.Millisecond, 100*time.Millisecond
	}
	return lease.New(cfg)
}

// awaitPlugin waits until a plugin is configured; false: ctx ended first.
func (e *Engine) awaitPlugin(ctx context.Context) bool {
	for {
		changed := e.view.changes()
		if len(e.view.now().plugins) > 0 {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// claim offers to take every partition that there is, whenever there are new ones.
func (e *Engine) claim(ctx context.Context, keeper *lease.Keeper) {
	offered := map[string]bool{}
	for {
		changed := e.view.changes()
		plugins := e.view.now().plugins
		for _, name := range slices.Sorted(maps.Keys(plugins)) {
			p := plugins[name]
			if e.kinds[p.Kind] == nil || p.Removed {
				continue
			}
			_, layout := p.Layout()
			for i := range layout.Partitions {
				if key := leaseName(name, i); !offered[key] {
					offered[key] = true
					keeper.Follow(key)
				}
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// handler starts and ends tenants; it never blocks (lease.Handler).
type handler struct{ e *Engine }

// Lead implements lease.Handler.
func (h handler) Lead(l *lease.Lease) {
	name, index, ok := parseLeaseName(l.Log())
	if !ok {
		return
	}
	t := newTenant(h.e, l, name, index)
	h.e.mu.Lock()
	h.e.tenants[l] = t
	h.e.mu.Unlock()
	h.e.running.Go(func() {
		t.run(h.e.stop)
		h.e.mu.Lock()
		defer h.e.mu.Unlock()
		delete(h.e.tenants, l)
	})
}

// Leave implements lease.Handler.
func (h handler) Leave(l *lease.Lease) { h.tell(l, (*tenant).leave) }

// Gone implements lease.Handler.
func (h handler) Gone(l *lease.Lease, _ bool) { h.tell(l, (*tenant).gone) }

func (h handler) tell(l *lease.Lease, what func(*tenant)) {
	h.e.mu.Lock()
	t := h.e.tenants[l]
	h.e.mu.Unlock()
	if t != nil {
		what(t)
	}
}
