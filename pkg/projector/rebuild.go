package projector

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/indexstore"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// besideSuffix ends the name of the folder in which an index is built beside the one that answers; no log has such a name.
const besideSuffix = ".new"

// Rebuild builds the index of a log anew, beside the one that answers meanwhile, and puts it in its place. progress, if it is not nil, is told sequences of the log now and then. The steps are:
// the new index comes up to the old one; following stops; it takes over what came since; queries are turned to it; the old folder is removed, the new one gets its name. Killed
// at any of them, the next start finds the old index, or none and builds one. conflict: it is being rebuilt already.
func (p *Projector) Rebuild(ctx context.Context, log string, progress func(done, total uint64)) error {
	x, _, ended := p.indexOrGrowth(log)
	switch {
	case ended:
		return notRunning()
	case x == nil:
		return problem.New(problem.NotFound, "there is no log %s", log).WithHint("`eventful status` lists the logs")
	case !x.anew.TryLock():
		return problem.New(problem.Conflict, "the index of log %s is being rebuilt already", log)
	}
	defer x.anew.Unlock()
	source := x.source()
	if err := x.progress.complete(log); err != nil || source == nil {
		return errors.Join(problem.New(problem.Unavailable, "the index of log %s is being built", log), err)
	}
	b := beside{x: x, source: source, progress: progress}
	b.follower = follower{p: p, x: newIndex(log, p.held), dir: filepath.Join(p.config.Dir, log+besideSuffix), log: p.config.Log.With().Str("log", log).Logger()}
	if err := b.run(ctx, filepath.Join(p.config.Dir, log)); err != nil {
		if ctx.Err() != nil {
			err = problem.New(problem.Unavailable, "rebuilding the index of log %s was given up: %v", log, ctx.Err())
		}
		return err
	}
	p.metrics.rebuilt(log)
	return nil
}

// beside is an index that is built beside another one.
type beside struct {
	follower        // of the new one
	x        *index // the old one
	source   eventlog.Log
	progress func(done, total uint64)
	taken    int
}

func (b *beside) run(ctx context.Context, dir string) error {
	fresh := b.follower.x
	if err := indexstore.Remove(b.dir); err != nil {
		return fmt.Errorf("remove what an earlier rebuild left: %w", err)
	}
	if _, err := fresh.open(b.store(b.dir)); err != nil {
		return err
	}
	old, err := b.swap(ctx)
	if err != nil {
		return errors.Join(err, fresh.shut(false), indexstore.Remove(b.dir))
	}
	if err := old.Close(); err != nil && !errors.Is(err, indexstore.ErrDoubted) { // it waits for queries that still read it
		b.log.Warn().Err(err).Msg("index that was replaced was not closed cleanly")
	}
	if err := indexstore.Remove(dir); err != nil {
		return fmt.Errorf("remove the index that was replaced: %w", err)
	}
	b.x.mu.RLock()
	defer b.x.mu.RUnlock()
	if b.x.store == nil {
		return nil // the program ends; the next start removes what is here and builds anew
	}
	return b.x.store.Move(dir)
}

// swap brings the new index up to the old one, has following stop, and exchanges them. It gives the old store.
func (b *beside) swap(ctx context.Context) (old *indexstore.Store, err error) {
	at, _, _ := b.x.progress.now()
	if err := b.upTo(ctx, at.chain.Sequence); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	exchange := func() error {
		err := b.upTo(ctx, b.x.at.chain.Sequence)
		if err == nil {
			old = b.exchange()
		}
		done <- err
		return nil // the old one goes on where it was
	}
	select {
	case b.x.swaps <- exchange:
		err = <-done
		return old, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// upTo reads the log until the new index has come to a sequence.
func (b *beside) upTo(ctx context.Context, sequence uint64) error {
	fresh := b.follower.x
	if fresh.at.chain.Sequence >= sequence {
		return nil
	}
	r, err := eventlog.Read(ctx, b.source, fresh.at.chain)
	if err != nil {
		return err
	}
	defer r.Stop()
	for fresh.at.chain.Sequence < sequence {
		found, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := b.put(ctx, &found, r.Chain()); err != nil {
			return err
		}
		if b.taken++; b.progress != nil && b.taken%1000 == 0 {
			b.progress(fresh.at.chain.Sequence, sequence)
		}
	}
	return nil
}

// put takes a message into the new index, as take does.
func (b *beside) put(ctx context.Context, found *eventlog.Found, behind event.Chain) error {
	fresh := b.follower.x
	at := place{chain: behind, counted: fresh.at.counted}
	if found.Standing == event.Counts {
		at.counted = found.Sequence
		if err := b.schemasOf(ctx, found); err != nil {
			return err
		}
		fresh.add(found, b.p.schemas.ends)
	}
	fresh.at = at
	if !fresh.tail.full(tailBytes) {
		return nil
	}
	return b.flush(ctx)
}

// exchange turns queries to the new index. Nobody follows the log meanwhile.
func (b *beside) exchange() (old *indexstore.Store) {
	fresh := b.follower.x
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	old = b.x.store
	b.x.store, b.x.tail, b.x.types, b.x.at, b.x.flushed = fresh.store, fresh.tail, fresh.types, fresh.at, fresh.flushed
	fresh.store, fresh.tail, fresh.types = nil, nil, nil
	return old
}
