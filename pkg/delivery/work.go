package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
)

// workKey names a plugin under one configuration.
type workKey struct {
	name       string
	change     uint64
	generation uint64
}

// work is what the partitions of one plugin in this process share: the open target, and one reader for each log.
type work struct {
	e    *Engine
	key  workKey
	kind *plugin.Kind
	how  behaviour
	log  zerolog.Logger

	users int // guarded by Engine.mu

	opening sync.Mutex // guards target
	target  plugin.Plugin

	mu      sync.Mutex // guards feeds
	feeds   map[string]*feed
	reading sync.WaitGroup
	ctx     context.Context // of the feeds
	cancel  context.CancelFunc
}

func newWork(e *Engine, key workKey, kind *plugin.Kind, how behaviour) *work {
	w := &work{e: e, key: key, kind: kind, how: how, log: e.cfg.Log.With().Str("plugin", key.name).Logger(), feeds: map[string]*feed{}}
	w.ctx, w.cancel = context.WithCancel(e.stop)
	return w
}

// open opens the target, once.
func (w *work) open(ctx context.Context, s plugin.Settings) (err error) {
	w.opening.Lock()
	defer w.opening.Unlock()
	if w.target != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.how.timeout)
	defer cancel()
	w.target, err = openSafely(ctx, w.kind, s)
	return err
}

// openSafely turns a panic of a plugin into an error: its faults are no reason to end the process.
func openSafely(ctx context.Context, kind *plugin.Kind, s plugin.Settings) (p plugin.Plugin, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("a fault of plugin type %s: %v", kind.Name, r)
		}
	}()
	if p, err = kind.Open(ctx, s); err == nil && p == nil {
		err = errors.New("the plugin gave nothing")
	}
	return p, err
}

// close ends the readers and closes the target; no partition uses it any more.
func (w *work) close() {
	w.cancel()
	w.reading.Wait()
	w.opening.Lock()
	defer w.opening.Unlock()
	if w.target == nil {
		return
	}
	if err := w.target.Close(); err != nil {
		w.log.Warn().Err(err).Msg("target was not closed cleanly")
	}
}

// feedOf gives the reader of a log, and starts it if there is none.
func (w *work) feedOf(log string) *feed {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.feeds[log]
	if f == nil {
		f = &feed{w: w, name: log, rejoined: make(chan struct{}, 1), members: map[*member]bool{}, folds: newFolds()}
		w.feeds[log] = f
		w.reading.Go(func() { f.run(w.ctx) })
	}
	return f
}

// feed reads one log for all partitions of a plugin in this process.
type feed struct {
	w        *work
	name     string
	folds    *folds
	rejoined chan struct{} // holds one element when a member came

	mu      sync.Mutex // guards members
	members map[*member]bool
}

// member is a partition that gets what a feed reads.
type member struct {
	part  *partition
	chain event.Chain // where it stands; of the feed's goroutine once it joined
}

// join has the partition get everything behind a place; leave ends it.
func (f *feed) join(part *partition, from event.Chain) (leave func()) {
	m := &member{part, from}
	f.mu.Lock()
	f.members[m] = true
	f.mu.Unlock()
	select {
	case f.rejoined <- struct{}{}:
	default:
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.members, m)
	}
}

func (f *feed) all() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*member, 0, len(f.members))
	for m := range f.members {
		all = append(all, m)
	}
	return all
}

// run reads until ctx ends, from the place of the member that stands furthest back whenever one comes.
func (f *feed) run(ctx context.Context) {
	for ctx.Err() == nil {
		members := f.all()
		if len(members) == 0 {
			select {
			case <-f.rejoined:
			case <-ctx.Done():
			}
			continue
		}
		from := members[0].chain
		for _, m := range members[1:] {
			if m.chain.Sequence < from.Sequence {
				from = m.chain
			}
		}
		err := f.read(ctx, from)
		switch {
		case ctx.Err() != nil || errors.Is(err, errRejoin):
		case isMismatch(err):
			for _, m := range f.all() {
				m.part.fail(fmt.Errorf("log %s: %w", f.name, err))
			}
			wait(ctx, pause)
		default:
			f.w.log.Warn().Err(err).Str("log", f.name).Msg("log could not be read, it is tried again")
			wait(ctx, pause)
		}
	}
}

// errRejoin: a member came that stands elsewhere.
var errRejoin = errors.New("another place to read from")

func (f *feed) read(ctx context.Context, from event.Chain) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		select {
		case <-f.rejoined:
			cancel(errRejoin)
		case <-ctx.Done():
		}
	})
	source, err := f.w.e.cfg.Store.Open(ctx, f.name)
	if err != nil {
		return causeOf(ctx, err)
	}
	r, err := eventlog.Read(ctx, source, from)
	if err != nil {
		return causeOf(ctx, err)
	}
	defer r.Stop()
	for {
		before := r.Chain().Sequence
		found, err := r.Next(ctx)
		if err == nil {
			err = f.hand(ctx, source, &found, step{before, r.Chain()})
		}
		if err != nil {
			return causeOf(ctx, err)
		}
	}
}

func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errRejoin) {
		return cause
	}
	return err
}

// step is where a reader stood before a message, and behind it.
type step struct {
	before uint64
	behind event.Chain
}

// hand gives one judged message to every member that stands right before it. One that stands further back has just come: it is read for from its own place.
func (f *feed) hand(ctx context.Context, source eventlog.Log, found *eventlog.Found, at step) error {
	var waiting []*member
	for _, m := range f.all() {
		if at.before <= m.chain.Sequence && m.chain.Sequence < found.Sequence {
			waiting = append(waiting, m)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	if found.Missing {
		first, _, err := source.Bounds(ctx)
		if err == nil && first > at.before+1 {
			err = fmt.Errorf("it begins with %d, what comes behind %d was purged, and this process is told no archive that holds it: %w", first, at.before, errMismatch)
		}
		if err != nil {
			return err
		}
	}
	if found.Standing == event.Damaged || found.Missing {
		f.w.log.Error().Err(found.Err).Str("log", f.name).Uint64("sequence", found.Sequence).Bool("missing", found.Missing).Msg("log is damaged; what is readable is delivered")
	}
	var divided map[int][]*item
	if found.Standing == event.Counts {
		var err error
		if divided, err = f.divide(ctx, source, found, waiting); err != nil {
			return err
		}
	}
	for _, m := range waiting {
		a := &arrival{log: f.name, chain: at.behind, counts: found.Standing == event.Counts}
		if a.counts {
			a.commits, a.items = len(found.Commits), divided[m.part.t.index]
		}
		select {
		case m.part.in <- a:
			m.chain = at.behind
		case <-m.part.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// arrival is one message of a log, as a partition gets it.
type arrival struct {
	log     string
	chain   event.Chain // behind it
	counts  bool
	commits int
	items   []*item
}
