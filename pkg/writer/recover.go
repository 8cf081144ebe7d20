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
	cause = errors.Join(cause, e.endApplier(ctx))
	if errors.Is(cause, statestore.ErrDoubted) {
		if err := e.removeState(); err != nil {
			return err
		}
	}
	for wait := retryAtLeast; ; wait = min(2*wait, retryAtMost) {
		err := e.attempt(ctx)
		switch {
		case err == nil:
			e.settleFallen(nil)
			e.over = newOverlay(e.cfg.CachedHeads, &e.applied)
			e.applier = startApplier(e.st, !e.isSystem(), &e.applied)
			return nil
		case errors.Is(err, ErrFenced), errors.Is(err, ErrDamaged), errors.Is(err, event.ErrNewerFormat), isFinal(err):
			e.settleFallen(err) // a rival's epoch block has the place; else nobody's has, and what was not found may still come
			return err
		case errors.Is(err, syscall.ENOSPC) && e.orders.leaving():
			e.settleFallen(err) // the next one finds out, and the same command id tells
			return err
		case errors.Is(err, errLost):
			if err := e.setAside(err); err != nil {
				return err
			}
			wait = 0
		case errors.Is(err, statestore.ErrDoubted):
			e.rebuilds(err)
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

// rebuilds tells why the state is rebuilt.
func (e *engine) rebuilds(err error) {
	if errors.Is(err, errOtherUnique) {
		e.logger.Info().Msg("other fields are unique now, for which the state is rebuilt from the log")
		return
	}
	e.logger.Warn().Err(err).Msg("state was doubted and is rebuilt from the log")
}

// endApplier writes out what was acknowledged. What could not be written is read again.
func (e *engine) endApplier(ctx context.Context) error {
	if e.applier == nil {
		return nil
	}
	err := e.applier.close(ctx, e.orders)
	e.applier = nil
	if err != nil {
		e.logger.Error().Err(err).Msg("state could not be written, it is read again")
		e.dropState()
	}
	return err
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
func (e *engine) attempt(ctx context.Context) error {
	err := e.openState(ctx)
	if err != nil {
		return err
	}
	if err := e.catchUp(ctx); err != nil {
		return err
	}
	e.recent = nil // the state has it all
	if err := e.st.store.Room(0); err != nil {
		return err // before a fence is stored that could not be kept
	}
	m := e.st.meta
	if e.bound == nil && e.lease != nil {
		epoch := m.chain.Epoch // who appends a higher one from here on has taken the log from us
		e.bound = &epoch
	}
	fence := &openBlock{sequence: m.chain.Sequence + 1, tree: m.tree}
	fence.Header = event.Header{
		ID: e.random.next(), Previous: m.chain.Block, Epoch: m.chain.Epoch + 1, System: e.sys.now.Load().position,
		TreeSize: m.tree.Size(), TreeRoot: m.tree.Root(), Time: e.blockTime(m.chain),
	}
	e.own[fence.ID] = true
	if err := e.log.Append(fence.sequence-1, fence.Encode()).Err(); err != nil {
		return fmt.Errorf("append epoch block at sequence %d: %w", fence.sequence, err)
	}
	if err := e.keep(fence.stored(), fence.chain(), fence.tree); err != nil {
		return err
	}
	e.chain, e.tree, e.ordinal, e.named = fence.chain(), fence.tree, e.st.meta.next, fence.System.Sequence
	epoch := e.chain.Epoch
	e.bound = &epoch
	e.stored.Store(fence.sequence)
	e.session++
	e.showHead(fence)
	e.applied.Store(fence.sequence)
	if e.ids, err = loadCommandIDs(e.st); err != nil {
		return err
	}
	return e.loadFreeze(ctx)
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
// cause is why the log is not taken again; nil: it is.
func (e *engine) settleFallen(cause error) {
	fenced := cause == nil || errors.Is(cause, ErrFenced)
	hint := "send it again with the same command id"
	if errors.Is(cause, ErrDamaged) {
		hint = "run `eventful aggregate:verify --all`, which names what is wrong and where: the log takes nothing until a person has decided. Behind that the same command id tells what became of it"
	}
	for _, b := range e.inFlight {
		if e.found[b.ID] {
			b.answer(e.name)
			continue
		}
		if !fenced {
			b.fall(problem.New(problem.UnknownOutcome, "the outcome of a block of log %s could not be settled", e.name).WithHint("%s", hint))
			continue
		}
		b.fall(problem.New(problem.Unavailable, "log %s: the block could not be written; nothing was stored", e.name).WithHint("send it again, with the same command id"))
	}
	e.inFlight = nil
	clear(e.own)
	clear(e.found)
}

// openState opens the stored state, and makes sure that it belongs to this very log.
func (e *engine) openState(ctx context.Context) error {
	if err := e.openStore(); err != nil {
		return err
	}
	e.under = e.sys.now.Load()
	e.unique = e.under.uniqueIn(e.name)
	e.uniqueKey = e.unique.key(e.under)
	if e.st.meta.chain.Sequence == 0 {
		if err := e.takeOver(ctx); err != nil {
			return err
		}
	}
	switch {
	case e.st.meta.chain.Sequence == 0:
		e.st.meta.unique = e.uniqueKey
	case e.st.meta.unique != e.uniqueKey:
		return errOtherUnique
	}
	if err := e.checkState(ctx); err != nil {
		return err
	}
	if e.isSystem() {
		return e.sys.load(e.st, e.cfg.Now())
	}
	return nil
}

// openStore opens what is stored of the state, if it is not open.
func (e *engine) openStore() error {
	if e.st != nil {
		return nil
	}
	store, err := statestore.Open(statestore.Config{Dir: e.stateDir(), Key: e.cfg.Key, Identity: stateIdentity(e.cfg.Site, e.name), CacheBytes: e.cfg.CacheBytes, Fail: e.cfg.failing(e.name)})
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	st, err := loadState(store, window{commands: e.cfg.WindowCommands, age: e.cfg.WindowAge}, newHasher(e.cfg.Key, e.name))
	if err != nil {
		return errors.Join(err, store.Close())
	}
	e.st = st
	return nil
}

// checkState compares the state's position with the log. A state is written behind the acknowledgement, so what it has seen was on disk: if the log does not hold
// it any more, the log has lost its tail or is another one (lost.go).
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
		return fmt.Errorf("the state has block %s at sequence %d, which the log does not have: %w", at.Block, at.At, errLost)
	}
	if err != nil {
		return fmt.Errorf("read sequence %d: %w", at.At, err)
	}
	b, err := event.DecodeHeader(m.Data)
	if err != nil || b.ID != at.Block {
		return fmt.Errorf("the state has block %s at sequence %d, the log holds another one there: %w", at.Block, at.At, errLost)
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

func stateIdentity(site, log string) string {
	return fmt.Sprintf("writer/%s/%s/%d", site, log, stateFormat)
}

func (e *engine) isSystem() bool { return e.name == event.Reserved }

// closeState writes what was acknowledged and closes the state.
func (e *engine) closeState() {
	atOnce, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.endApplier(atOnce) // said, and mended by the next start
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
	e.distrust = e.distrust || e.imported // what it came from is not taken a second time
	if err := statestore.Remove(e.stateDir()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove doubted state: %w", err)
	}
	return nil
}
