package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

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
	served   bool // the lease says so
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
		_, layout := p.Layout()
		if p.Removed || !p.Enabled || t.index >= layout.Partitions || t.e.kinds[p.Kind] == nil {
			t.idle(ctx, changed)
			continue
		}
		if err := t.serve(ctx, p); err != nil && ctx.Err() == nil {
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

// serve works on the partition under one configuration, until that changes or the partition is to be left. It comes back when nothing is under way and the checkpoint is
// saved. Side effects in order, and what a crash behind each leaves: (1) the checkpoint is claimed under a higher epoch: the next one claims it again. (2) Changes are
// delivered; (3) the checkpoint is saved behind them: they are delivered again.
func (t *tenant) serve(ctx context.Context, p *registry.Plugin) error {
	number, layout := p.Layout()
	open, err := t.claim(ctx, p, number)
	if err != nil {
		return err
	}
	t.servesNow(ctx, open.saver.epoch)
	if err := t.replay(ctx, p, open); err != nil {
		return err
	}
	kind := t.e.kinds[p.Kind]
	values, err := t.e.cfg.Secrets.Join(p)
	if err != nil {
		return t.stopped(ctx, open, err)
	}
	how := behaviourOf(kind, values)
	how.partitions = layout.Partitions
	if how.pii && t.e.cfg.Keys == nil {
		return t.stopped(ctx, open, errors.New("this process holds no keys of encrypted fields, which --pii needs"))
	}
	w, err := t.e.acquire(ctx, workKey{t.name, p.Change}, kind, values, how)
	if err != nil {
		return t.stopped(ctx, open, fmt.Errorf("open the target: %w", err))
	}
	defer t.e.release(w)
	part := newPartition(t, w, p, open)
	err = part.run(ctx, func() bool { return t.mustEnd(p) })
	if isMismatch(err) {
		return t.stopped(ctx, open, err)
	}
	return err
}

// stopped notes in the checkpoint why nothing is delivered, so that `plugin:list` shows it, and waits until something changes, or for a while: the cause may lie outside.
func (t *tenant) stopped(ctx context.Context, open *opened, err error) error {
	changed := t.e.view.changes()
	if open.point.State != stateStopped || open.point.Error != err.Error() {
		open.point.State, open.point.Error, open.point.Saved = stateStopped, err.Error(), t.now()
		if saving := open.saver.save(ctx, open.point); saving != nil {
			return errors.Join(err, saving)
		}
	}
	t.log.Error().Err(err).Msg("plugin stopped")
	short, cancel := context.WithTimeout(ctx, 5*pause)
	defer cancel()
	t.idle(short, changed)
	return nil
}

func (t *tenant) now() event.Time { return event.Time(t.e.cfg.Now().UnixNano()) }

// mustEnd reports whether the partition is to be settled: another configuration, or somebody else's turn.
func (t *tenant) mustEnd(p *registry.Plugin) bool {
	select {
	case <-t.leaving:
		return true
	default:
	}
	now := t.e.view.now().plugins[t.name]
	return now.Change != p.Change || now.Replay.Number != p.Replay.Number || now.Retry.Number != p.Retry.Number || now.Purges != p.Purges
}

// opened is a checkpoint that this process may write.
type opened struct {
	saver saver
	point Checkpoint
}

// claim takes the checkpoint over under a higher epoch; one that does not exist begins where the layout before ended.
func (t *tenant) claim(ctx context.Context, p *registry.Plugin, layout int) (*opened, error) {
	bucket, err := t.e.cfg.Checkpoints(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the checkpoints: %w", err)
	}
	key := CheckpointKey(t.name, layout, t.index)
	point, revision, err := t.load(ctx, bucket, key)
	if err == nil && revision == 0 {
		point, err = t.begin(ctx, bucket, p, layout)
	}
	if err != nil {
		return nil, err
	}
	point.Closed = false
	return t.take(ctx, bucket, key, point, revision)
}

func (t *tenant) load(ctx context.Context, bucket Bucket, key string) (c Checkpoint, revision uint64, err error) {
	value, revision, err := bucket.Get(ctx, key)
	if err != nil {
		return c, 0, fmt.Errorf("read checkpoint %s: %w", key, err)
	}
	if revision > 0 {
		c, err = DecodeCheckpoint(t.e.cfg.Secrets, key, value)
	}
	return c, revision, err
}

func (t *tenant) take(ctx context.Context, bucket Bucket, key string, point Checkpoint, revision uint64) (*opened, error) {
	point.Epoch++
	point.Owner, point.Saved, point.State = t.e.cfg.Lease.Member.ID, t.now(), stateDelivering
	o := &opened{saver{bucket, t.e.cfg.Secrets, key, revision, point.Epoch}, point}
	if err := o.saver.save(ctx, point); err != nil {
		return nil, err
	}
	return o, nil
}

// begin is the first checkpoint of a partition under a layout: the start of every log, or where the slowest partition of the layout before ended.
func (t *tenant) begin(ctx context.Context, bucket Bucket, p *registry.Plugin, layout int) (Checkpoint, error) {
	empty := Checkpoint{Logs: map[string]Mark{}, Replay: p.Replay.Number, Retry: p.Retry.Number}
	if layout == 0 || p.Layouts[layout].Fresh {
		return empty, nil
	}
	if err := t.closeLayout(ctx, bucket, layout-1, p.Layouts[layout-1].Partitions); err != nil {
		return empty, err
	}
	var merged *Checkpoint
	for i := range p.Layouts[layout-1].Partitions {
		one, revision, err := t.load(ctx, bucket, CheckpointKey(t.name, layout-1, i))
		if err == nil && revision == 0 {
			one, err = t.begin(ctx, bucket, p, layout-1)
		}
		if err != nil {
			return empty, err
		}
		if merged == nil {
			merged = &Checkpoint{Logs: maps.Clone(one.Logs), Replay: one.Replay, Replaying: one.Replaying, Retry: one.Retry}
			continue
		}
		merged.Retry = min(merged.Retry, one.Retry)
		if merged.Replay = min(merged.Replay, one.Replay); len(one.Replaying) > 0 || len(merged.Replaying) > 0 {
			merged.Replay, merged.Replaying = max(p.Replay.Number, 1)-1, nil // begin it again
		}
		if err := slowest(merged.Logs, one.Logs); err != nil {
			return empty, err
		}
	}
	return *merged, nil
}

// slowest keeps in a of each log the earlier of both places.
func slowest(a, b map[string]Mark) error {
	for log, mark := range a {
		other, begun := b[log]
		if !begun {
			delete(a, log)
			continue
		}
		mine, err := mark.position()
		theirs, err2 := other.position()
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("checkpoint of log %s: %w", log, err)
		}
		if theirs.Sequence < mine.Sequence {
			a[log] = other
		}
	}
	return nil
}

// closePatience is how long who works under a layout that is over may take to settle before its checkpoint is taken away.
const closePatience = 10 * pause

// closeLayout waits until nobody delivers under a layout any more. Who does not close its partition in time loses it, as a process that is gone has to.
func (t *tenant) closeLayout(ctx context.Context, bucket Bucket, layout, partitions int) error {
	patient, cancel := context.WithTimeout(ctx, closePatience)
	defer cancel()
	for i := range partitions {
		key := CheckpointKey(t.name, layout, i)
		for {
			c, revision, err := t.load(ctx, bucket, key)
			if err != nil {
				return err
			}
			if c.Closed || revision == 0 {
				break
			}
			if wait(patient, pause/20); patient.Err() == nil {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Closed = true
			if _, err := t.take(ctx, bucket, key, c, revision); err != nil {
				return err
			}
			t.log.Warn().Int("of", i).Msg("partition of the layout before was closed, as its owner did not")
			break
		}
	}
	return nil
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
	settings := plugin.Settings{Name: key.name, Site: e.cfg.Site, Options: values, Schemas: e.view.now().all(), Log: e.cfg.Log.With().Str("plugin", key.name).Logger()}
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
