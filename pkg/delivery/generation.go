package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// side is one layout of a plugin that is worked on: the newest, and while that fills a new generation of the target also the one that readers use still.
type side struct {
	number int
	layout registry.Layout
	fills  bool         // readers do not use this generation yet
	former *atomic.Bool // set when a newer generation takes the place of this one; nil: this is the newest
}

// sides are those that a partition belongs to.
func (t *tenant) sides(ctx context.Context, p *registry.Plugin) (all []side, err error) {
	number, layout := p.Layout()
	newest := side{number: number, layout: layout}
	if layout.Generation > 0 {
		bucket, err := t.e.cfg.Checkpoints(ctx)
		if err != nil {
			return nil, fmt.Errorf("open the checkpoints: %w", err)
		}
		now, _, err := loadTakeover(ctx, bucket, t.e.cfg.Secrets, t.name)
		if err != nil {
			return nil, err
		}
		newest.fills = now.Generation < layout.Generation || !now.Published
		if n, before, ok := p.LayoutOf(now.Generation); ok && now.Generation < layout.Generation && t.index < before.Partitions {
			all = append(all, side{number: n, layout: before, former: new(atomic.Bool)})
		}
	}
	if t.index < layout.Partitions {
		all = append(all, newest)
	}
	return all, nil
}

// leftBehind looks whether a newer generation takes the place of a side's, and keeps looking every moment until stop is called.
func (t *tenant) leftBehind(ctx context.Context, s side) (is bool, stop func(), err error) {
	if s.former == nil {
		return false, func() {}, nil
	}
	look := func(ctx context.Context) error {
		bucket, err := t.e.cfg.Checkpoints(ctx)
		if err != nil {
			return err
		}
		now, _, err := loadTakeover(ctx, bucket, t.e.cfg.Secrets, t.name)
		if err == nil && now.Generation > s.layout.Generation {
			s.former.Store(true)
		}
		return err
	}
	if err := look(ctx); err != nil {
		return false, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		for !s.former.Load() && ctx.Err() == nil {
			wait(ctx, pause/4)
			_ = look(ctx) // the next one says more
		}
	})
	return s.former.Load(), func() { cancel(); looking.Wait() }, nil
}

// takeOver has readers use a generation once it holds everything. Only who has partition 0 of it does so. Side effects in order, and what a crash behind each leaves: (1) it is
// noted that the generation takes over: those before are delivered to no more, and the next one goes on here. (2) The target publishes it, (3) what the generations before
// had parked is dropped: both may be repeated. (4) It is noted that readers use it.
func (t *tenant) takeOver(ctx context.Context, p *registry.Plugin, s side, w *work) error {
	bucket, err := t.e.cfg.Checkpoints(ctx)
	if err != nil {
		return err
	}
	if err := t.awaitFilled(ctx, bucket, s, w.how.types); err != nil {
		return err
	}
	next := takeover{Generation: s.layout.Generation}
	if err := saveTakeover(ctx, bucket, t.e.cfg.Secrets, t.name, next); err != nil {
		return fmt.Errorf("note that a generation takes over: %w", err)
	}
	for n, before := range p.Layouts[:s.number] {
		if before.Generation == s.layout.Generation {
			continue
		}
		if err := t.closeLayout(ctx, bucket, n, 0, before.Partitions); err != nil {
			return err
		}
	}
	if err := publishSafely(ctx, w); err != nil {
		return fmt.Errorf("publish generation %d: %w", next.Generation, err)
	}
	if err := t.dropParked(ctx, next.Generation); err != nil {
		return err
	}
	next.Published = true
	if err := saveTakeover(ctx, bucket, t.e.cfg.Secrets, t.name, next); err != nil {
		return fmt.Errorf("note that a generation was published: %w", err)
	}
	t.log.Info().Uint64("generation", next.Generation).Msg("target was filled anew, and its readers use that")
	return nil
}

// publishSafely turns a panic of a plugin into an error.
func publishSafely(ctx context.Context, w *work) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of plugin type %s: %v", w.kind.Name, r)
		}
	}()
	if r, ok := w.target.(plugin.Rebuilder); ok {
		return r.Publish(ctx)
	}
	return nil
}

// dropParked drops what was parked under earlier generations: the new one got these changes itself.
func (t *tenant) dropParked(ctx context.Context, generation uint64) error {
	dead, err := t.e.cfg.Dead(ctx)
	if err != nil {
		return err
	}
	for from := uint64(1); ; {
		number, data, err := dead.Next(ctx, t.name, from)
		if errors.Is(err, eventlog.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		from = number + 1
		one, err := DecodeParked(t.e.cfg.Secrets, t.name, data)
		if errors.Is(err, errUnreadable) || err == nil && one.Generation < generation {
			err = dead.Remove(ctx, number)
		}
		if err != nil {
			return err
		}
	}
}

const (
	chases     = 20            // how often the ends of the logs are looked up at most
	shortChase = 3 * savePause // coming up to them in that time is close enough
	lookPause  = savePause / 5 // between two looks at the checkpoints
)

// awaitFilled waits until every partition of a side has come up to the ends of the logs, and these were looked up a moment ago.
func (t *tenant) awaitFilled(ctx context.Context, bucket Bucket, s side, types []string) error {
	for range chases {
		began := time.Now()
		for _, log := range t.e.view.now().logsOf(types) {
			source, err := t.e.cfg.Store.Open(ctx, log)
			if errors.Is(err, eventlog.ErrNotFound) {
				continue // its first migration makes it
			}
			if err != nil {
				return err
			}
			_, last, err := source.Bounds(ctx)
			if err != nil {
				return err
			}
			for i := 0; i < s.layout.Partitions; {
				reached, err := t.reached(ctx, bucket, s, i, ending{source, log, last})
				if err != nil {
					return err
				}
				if reached {
					i++
				} else if wait(ctx, lookPause); ctx.Err() != nil {
					return ctx.Err()
				}
			}
		}
		if time.Since(began) < shortChase {
			return nil
		}
	}
	return nil
}

// ending is how far a log went when somebody looked.
type ending struct {
	source eventlog.Log
	log    string
	last   uint64
}

// reached reports whether a partition has settled a log up to its end.
func (t *tenant) reached(ctx context.Context, bucket Bucket, s side, index int, end ending) (bool, error) {
	if end.last == 0 {
		return true, nil
	}
	c, _, err := t.load(ctx, bucket, CheckpointKey(t.name, s.number, index))
	mark, begun := c.Logs[end.log]
	if err != nil || !begun {
		return false, err
	}
	at, err := mark.position()
	if err != nil || at.Sequence >= end.last {
		return err == nil, err
	}
	newest, err := header(ctx, end.source, end.last)
	return err == nil && newest != nil && newest.TreeSize <= mark.Events, err // nothing but empty blocks, or void ones, lies behind
}
