package writer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

const (
	retryAtLeast = 20 * time.Millisecond
	retryAtMost  = 2 * time.Second
)

// recover makes the engine ready to serve: at start and after every outcome that is not a plain acknowledgement. It reads to the end, takes the
// next place with an epoch block, and only then says what became of the blocks that were in flight: whoever holds the place behind
// block k's predecessor decides about k. It comes back with nil, with ctx's error, or with one that a person must look at.
func (e *engine) recover(ctx context.Context, cause error) error {
	e.refuseWaiting()
	if e.applier != nil {
		if err := e.applier.close(); err != nil {
			e.logger.Error().Err(err).Msg("state could not be written, it is read again")
			e.dropState()
			cause = errors.Join(cause, err)
		}
		e.applier = nil
	}
	if errors.Is(cause, statestore.ErrDoubted) {
		if err := e.removeState(); err != nil {
			return err
		}
	}
	found := make(map[event.ID16]bool)
	for wait := retryAtLeast; ; wait = min(2*wait, retryAtMost) {
		err := e.attempt(ctx, found)
		switch {
		case err == nil:
			e.settleFallen(found, true)
			e.over = newOverlay(e.cfg.CachedHeads)
			e.applier = startApplier(e.st, !e.isSystem())
			return nil
		case errors.Is(err, ErrFenced), errors.Is(err, ErrDamaged), errors.Is(err, event.ErrNewerFormat), isFinal(err):
			e.settleFallen(found, errors.Is(err, ErrFenced)) // a rival's epoch block has the place; else nobody's has, and what was not found may still come
			return err
		case errors.Is(err, statestore.ErrDoubted):
			e.logger.Warn().Err(err).Msg("state was doubted and is rebuilt from the log")
			if err := e.removeState(); err != nil {
				return err
			}
			wait = 0
		case errors.Is(err, eventlog.ErrTaken):
			wait = 0 // somebody, perhaps an own late block, was faster: read it and try behind it
		default:
			e.logger.Warn().Err(err).Dur("retry", wait).Msg("log could not be taken")
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// isFinal reports errors of the local folder that no waiting cures: another process has it, it is a file, it may not be written.
func isFinal(err error) bool {
	for _, final := range []error{statestore.ErrLocked, syscall.ENOTDIR, syscall.EACCES, syscall.EPERM, syscall.EROFS} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt opens the state, reads to the end of the log and appends an epoch block there.
func (e *engine) attempt(ctx context.Context, found map[event.ID16]bool) error {
	if err := e.openState(ctx); err != nil {
		return err
	}
	if err := e.catchUp(ctx, found); err != nil {
		return err
	}
	m := e.st.meta
	fence := &openBlock{sequence: m.chain.Sequence + 1, tree: m.tree}
	fence.Header = event.Header{
		ID: e.newID(), Previous: m.chain.Block, Epoch: m.chain.Epoch + 1, System: e.sys.now.Load().position,
		TreeSize: m.tree.Size(), TreeRoot: m.tree.Root(), Time: e.blockTime(m.chain),
	}
	e.own[fence.ID] = true
	if err := e.log.Append(fence.sequence-1, fence.Encode()).Err(); err != nil {
		return fmt.Errorf("append epoch block at sequence %d: %w", fence.sequence, err)
	}
	if err := e.keep(fence.stored(), fence.chain(), fence.tree); err != nil {
		return err
	}
	e.chain, e.tree, e.ordinal = fence.chain(), fence.tree, e.st.meta.next
	e.stored.Store(fence.sequence)
	return nil
}

// keep writes one block without commits to the state.
func (e *engine) keep(b stored, chain event.Chain, tree event.Tree) error {
	if e.isSystem() {
		if _, err := e.sys.apply(b); err != nil {
			return err
		}
	}
	c := e.st.changes()
	if err := c.add(b, chain, tree, !e.isSystem()); err != nil {
		return err
	}
	return c.write()
}

// settleFallen says what became of the blocks that were in flight: they are in the log, or, once an epoch block has the place, they can never be.
func (e *engine) settleFallen(found map[event.ID16]bool, fenced bool) {
	for _, b := range e.inFlight {
		if found[b.ID] {
			b.answer(e.name)
			continue
		}
		if !fenced {
			b.fall(problem.New(problem.UnknownOutcome, "the outcome of a block of log %s could not be settled", e.name).WithHint("send it again with the same command id"))
			continue
		}
		b.fall(problem.New(problem.Unavailable, "log %s: the block could not be written; nothing was stored", e.name).WithHint("send it again, with the same command id"))
	}
	e.inFlight = nil
	clear(e.own)
}

// openState opens the stored state, and makes sure that it belongs to this very log.
func (e *engine) openState(ctx context.Context) error {
	if e.st == nil {
		store, err := statestore.Open(statestore.Config{Dir: e.stateDir(), Key: e.cfg.Key, Identity: e.identity(), CacheBytes: e.cfg.CacheBytes})
		if err != nil {
			return fmt.Errorf("open state: %w", err)
		}
		st, err := loadState(store, window{commands: e.cfg.WindowCommands, age: e.cfg.WindowAge})
		if err != nil {
			return errors.Join(err, store.Close())
		}
		e.st = st
	}
	e.under = e.sys.now.Load()
	e.unique = e.under.uniqueIn(e.name)
	switch {
	case e.st.meta.chain.Sequence == 0:
		e.st.meta.unique = e.unique.key()
	case e.st.meta.unique != e.unique.key():
		return fmt.Errorf("state is kept for other unique fields: %w", statestore.ErrDoubted)
	}
	if err := e.checkState(ctx); err != nil {
		return err
	}
	if e.isSystem() {
		return e.sys.load(e.st, e.cfg.Now())
	}
	return nil
}

// checkState compares the state's position with the log. A state is written behind the acknowledgement, so what it has seen was on disk: if the log does not hold
// it any more, the log has lost its tail or is another one. Serving it would use versions again, and rebuilding the state would destroy the evidence.
func (e *engine) checkState(ctx context.Context) error {
	if g, counts := e.log.(gapCounter); counts {
		if n, err := g.Missing(ctx); err != nil || n > 0 {
			return errors.Join(err, missing(n))
		}
	}
	at := e.st.meta.chain
	if at.At == 0 {
		return nil
	}
	m, err := e.log.Get(ctx, at.At)
	if errors.Is(err, eventlog.ErrNotFound) {
		return fmt.Errorf("the state has block %s at sequence %d, which the log does not have: %w", at.Block, at.At, ErrShortened)
	}
	if err != nil {
		return fmt.Errorf("read sequence %d: %w", at.At, err)
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil || b.ID != at.Block {
		return fmt.Errorf("the state has block %s at sequence %d, the log holds another one there: %w", at.Block, at.At, ErrShortened)
	}
	return nil
}

// gapCounter is a log that can tell how many sequences between its first and its last hold no message.
type gapCounter interface {
	Missing(ctx context.Context) (uint64, error)
}

func missing(n uint64) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d messages are missing between the first and the last: %w", n, ErrDamaged)
}

func (e *engine) stateDir() string { return filepath.Join(e.cfg.Dir, e.name) }

func (e *engine) identity() string {
	return fmt.Sprintf("writer/%s/%s/%d", e.cfg.Site, e.name, stateFormat)
}

func (e *engine) isSystem() bool { return e.name == event.Reserved }

// closeState writes what was acknowledged and closes the state.
func (e *engine) closeState() {
	if e.applier != nil {
		if err := e.applier.close(); err != nil {
			e.logger.Error().Err(err).Msg("state could not be written; the next start reads the log further back")
		}
		e.applier = nil
	}
	e.dropState()
}

func (e *engine) dropState() {
	if e.st == nil {
		return
	}
	if err := e.st.store.Close(); err != nil {
		e.logger.Error().Err(err).Msg("state could not be closed")
	}
	e.st = nil
}

func (e *engine) removeState() error {
	e.dropState()
	if err := statestore.Remove(e.stateDir()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove doubted state: %w", err)
	}
	return nil
}
