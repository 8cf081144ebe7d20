package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// tenant has one partition of one plugin, from Lead to Gone of its lease. It is one goroutine, which runs the partition under one configuration after the other.
type tenant struct {
	e     *Engine
	lease *lease.Lease
	name  string
	index int
	log   zerolog.Logger

	leaving  chan struct{} // closed: settle what is under way, and give the partition to somebody else
	ended    chan struct{} // closed: the partition is somebody else's
	leaveOne sync.Once
	endOne   sync.Once

	mu     sync.Mutex // guards served
	served bool       // the lease says so
}

func newTenant(e *Engine, l *lease.Lease, name string, index int) *tenant {
	return &tenant{e: e, lease: l, name: name, index: index, leaving: make(chan struct{}), ended: make(chan struct{}),
		log: e.cfg.Log.With().Str("plugin", name).Int("partition", index).Logger()}
}

func (t *tenant) leave() { t.leaveOne.Do(func() { close(t.leaving) }) }

func (t *tenant) gone() { t.endOne.Do(func() { close(t.ended) }) }

// run works until the partition is given away or lost, or ctx ends.
func (t *tenant) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-t.ended:
			cancel()
		case <-ctx.Done():
		}
	})
	for ctx.Err() == nil {
		select {
		case <-t.leaving:
			t.handOver(ctx)
			return
		default:
		}
		changed := t.e.view.changes()
		p := t.e.view.now().plugins[t.name]
		if p.Removed || !p.Enabled || t.e.kinds[p.Kind] == nil {
			if err := t.settle(ctx, p); err != nil && ctx.Err() == nil {
				t.complain(err)
				t.rest(ctx, changed)
				continue
			}
			t.idle(ctx, changed)
			continue
		}
		sides, err := t.sides(ctx, p)
		if err != nil && ctx.Err() == nil {
			t.complain(err)
			t.rest(ctx, changed)
			continue
		}
		if len(sides) == 0 {
			t.idle(ctx, changed)
		}
		var working sync.WaitGroup
		for _, s := range sides {
			working.Go(func() { t.work(ctx, p, s) })
		}
		working.Wait()
	}
}

// work works on one side until that is to end.
func (t *tenant) work(ctx context.Context, p *registry.Plugin, s side) {
	shut := 0
	for ctx.Err() == nil && !t.mustEnd(p, s) {
		changed := t.e.view.changes()
		if err := t.serve(ctx, p, s, &shut); err != nil && ctx.Err() == nil {
			t.complain(err)
			if errors.Is(err, errLost) {
				t.lease.Fenced()
			}
			t.rest(ctx, changed)
		}
	}
}

// handOver gives the partition to a successor; nothing is under way.
func (t *tenant) handOver(ctx context.Context) {
	t.servesNow(ctx, 0)
	if err := t.lease.Left(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, lease.ErrLost) {
		t.log.Warn().Err(err).Msg("partition was not handed over")
	}
	select {
	case <-t.ended:
	case <-ctx.Done():
	}
}

// servesNow tells the table once that the partition is worked on.
func (t *tenant) servesNow(ctx context.Context, epoch uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.served && t.lease.Serving(ctx, epoch) == nil {
		t.served = true
	}
}

// idle has the partition and nothing to do: the plugin is disabled, or has fewer partitions by now.
func (t *tenant) idle(ctx context.Context, changed <-chan struct{}) {
	t.servesNow(ctx, 0)
	select {
	case <-changed:
	case <-t.leaving:
	case <-ctx.Done():
	}
}

// rest waits a moment behind a failure.
func (t *tenant) rest(ctx context.Context, changed <-chan struct{}) {
	t.servesNow(ctx, 0)
	short, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	t.idle(short, changed)
}

func (t *tenant) complain(err error) {
	t.log.Warn().Err(err).Msg("partition is not worked on, it is tried again")
}

// serve works on one side of the partition under one configuration, until that changes or the partition is to be left. It comes back when nothing is under way and the checkpoint is
// saved. Side effects in order, and what a crash behind each leaves: (1) the checkpoint is claimed under a higher epoch: the next one claims it again. (2) Changes are
// delivered; (3) the checkpoint is saved behind them: they are delivered again. shut counts how often in a row the target could not be opened.
func (t *tenant) serve(ctx context.Context, p *registry.Plugin, s side, shut *int) error {
	open, err := t.claim(ctx, p, s.number)
	if err != nil {
		return err
	}
	t.servesNow(ctx, open.saver.epoch)
	is, stop, err := t.leftBehind(ctx, s) // behind the claim: who takes over waits for what was claimed before
	if err != nil {
		return err
	}
	defer stop()
	if is {
		open.point.Closed = true
		return open.saver.save(ctx, open.point)
	}
	if err := t.replay(ctx, p, open); err != nil {
		return err
	}
	kind := t.e.kinds[p.Kind]
	values, err := t.e.cfg.Secrets.Join(p)
	if err != nil {
		return t.stopped(ctx, open, err)
	}
	how := behaviourOf(kind, values)
	how.partitions, how.generation, how.begun = s.layout.Partitions, s.layout.Generation, len(open.point.Logs) > 0
	if how.pii && t.e.cfg.Keys == nil {
		return t.stopped(ctx, open, errors.New("this process holds no keys of encrypted fields, which --pii needs: start plugin-runners with --plugin-pii"))
	}
	w, err := t.e.acquire(ctx, workKey{t.name, p.Change, s.layout.Generation, newestOfAll(p.Replays)}, kind, values, how)
	if err != nil { // it may be down
		*shut++
		return t.standing(ctx, open, standing{stateRetrying, fmt.Errorf("open the target: %w", err), backoff(*shut, how.backoff)})
	}
	*shut = 0
	defer t.e.release(w)
	defer t.publishing(ctx, p, s, w)()
	part := newPartition(t, w, p, open)
	err = part.run(ctx, func() bool { return t.mustEnd(p, s) })
	if isMismatch(err) {
		return t.stopped(ctx, open, err)
	}
	return err
}

// publishing has a new generation take over beside its filling; end waits for that.
func (t *tenant) publishing(ctx context.Context, p *registry.Plugin, s side, w *work) (end func()) {
	if !s.fills || t.index != 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	working.Go(func() {
		for ctx.Err() == nil {
			err := t.takeOver(ctx, p, s, w)
			if err == nil {
				return
			}
			if ctx.Err() == nil {
				t.log.Warn().Err(err).Msg("new generation did not take over, it is tried again")
			}
			wait(ctx, pause)
		}
	})
	return func() { cancel(); working.Wait() }
}

// stopped is standing of what a person has to settle.
func (t *tenant) stopped(ctx context.Context, open *opened, err error) error {
	return t.standing(ctx, open, standing{stateStopped, err, 5 * pause})
}

// standing is why nothing is delivered, and when that is looked at again: the cause may lie outside.
type standing struct {
	state string
	err   error
	again time.Duration
}

// standing notes in the checkpoint why nothing is delivered, so that `plugin:list` shows it, and waits until something changes, or for a while.
func (t *tenant) standing(ctx context.Context, open *opened, s standing) error {
	changed := t.e.view.changes()
	if open.point.State != s.state || open.point.Error != s.err.Error() {
		open.point.State, open.point.Error, open.point.Saved = s.state, s.err.Error(), t.now()
		if saving := open.saver.save(ctx, open.point); saving != nil {
			return errors.Join(s.err, saving)
		}
	}
	if s.state == stateStopped {
		t.log.Error().Err(s.err).Msg("plugin stopped")
	} else {
		t.log.Warn().Err(s.err).Msg("nothing is delivered, it is tried again")
	}
	short, cancel := context.WithTimeout(ctx, s.again)
	defer cancel()
	t.idle(short, changed)
	return nil
}

func (t *tenant) now() event.Time { return event.Time(t.e.cfg.Now().UnixNano()) }

// mustEnd reports whether the partition is to be settled: another configuration, or somebody else's turn.
func (t *tenant) mustEnd(p *registry.Plugin, s side) bool {
	select {
	case <-t.leaving:
		return true
	default:
	}
	if s.former != nil && s.former.Load() {
		return true
	}
	now := t.e.view.now().plugins[t.name]
	return now.Change != p.Change || now.Replay.Number != p.Replay.Number || now.Retry.Number != p.Retry.Number || now.Purges != p.Purges
}

// acquire opens the target of a plugin, or shares the one that is open in this process.
func (e *Engine) acquire(ctx context.Context, key workKey, kind *plugin.Kind, values plugin.Values, how behaviour) (*work, error) {
	e.mu.Lock()
	w := e.works[key]
	if w == nil {
		w = newWork(e, key, kind, how)
		e.works[key] = w
	}
	w.users++
	e.mu.Unlock()
	settings := plugin.Settings{Name: key.name, Site: e.cfg.Site, Options: values, Generation: key.generation, Begun: how.begun, Log: e.cfg.Log.With().Str("plugin", key.name).Logger()}
	var former error
	if settings.Schemas, former = e.view.now().schemasFor(kind, settings); former != nil {
		settings.Log.Warn().Err(former).Msg("configuration does not fit the newest schemas: the plugin goes on with those that it was configured under")
	}
	if err := w.open(ctx, settings); err != nil {
		e.release(w)
		return nil, err
	}
	return w, nil
}

// release closes a target that nobody uses any more.
func (e *Engine) release(w *work) {
	e.mu.Lock()
	w.users--
	last := w.users == 0
	if last {
		delete(e.works, w.key)
	}
	e.mu.Unlock()
	if last {
		w.close()
	}
}

// errMismatch: a checkpoint does not fit its log.
var errMismatch = errors.New("the checkpoint does not fit the log")

func isMismatch(err error) bool {
	return errors.Is(err, errMismatch) || errors.Is(err, eventlog.ErrRewound) || errors.Is(err, event.ErrNewerFormat)
}
