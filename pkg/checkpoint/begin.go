package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/verify"
)

// begin takes up what was signed before and holds the log against it, up to the head. The error is a *Refusal if they contradict each other.
func (l *signing) begin(ctx context.Context, h *logtree.Head) error {
	if why := l.s.cfg.Lost(h.Log); why != "" {
		return refusal(verify.Truncated, "log %s has lost acknowledged events: %s", h.Log, why)
	}
	value, revision, err := l.s.cfg.Bucket.Get(ctx, l.s.cfg.KeyOf(h.Log))
	if err != nil {
		return fmt.Errorf("read the last checkpoint: %w", err)
	}
	stored, err := l.decode(h.Log, value)
	own := l.own(h.Log)
	if errors.Is(err, logtree.ErrNoRecord) && newest(own, h) {
		l.log.Warn().Err(err).Msg("what lay in the place of the last checkpoint was left out, and is written over")
		stored, err = nil, nil
	}
	if err != nil {
		return refusal(verify.Unreadable, "the stored checkpoint of log %s: %v", h.Log, err)
	}
	switch {
	case own == nil:
		own = stored
	case stored == nil:
		stored = own // the bucket was lost, or holds what is none of ours; it is written anew
	case stored.Tree.Size() < own.Tree.Size():
		return refusal(verify.Forked, "the stored checkpoint of log %s has size %d, this process has stored one of size %d: the bucket was put back", h.Log, stored.Tree.Size(), own.Tree.Size())
	}
	if own != nil {
		if err := l.extends(ctx, h, own, stored); err != nil {
			return err
		}
	}
	l.record, l.revision = stored, revision
	return nil
}

// newest reports whether nobody can have signed a checkpoint since this process did: nobody else has written the log, for each who begins to raises its epoch. The head may be of the epoch behind,
// with which this process began anew.
func newest(own *logtree.Record, h *logtree.Head) bool {
	return own != nil && h.Epoch >= own.Epoch && h.Epoch-own.Epoch <= 1
}

func (l *signing) decode(log string, value []byte) (*logtree.Record, error) {
	if len(value) == 0 {
		return nil, nil
	}
	r, err := logtree.DecodeRecord(value, l.s.cfg.Key.VKey(log))
	if err == nil && r.Position.Log != log {
		err = fmt.Errorf("it is of log %s", r.Position.Log)
	}
	return r, err
}

// own is this process's own note of the last checkpoint, or nil; one that cannot be read is left out, as it is only a second memory.
func (l *signing) own(log string) *logtree.Record {
	value, err := os.ReadFile(filepath.Join(l.s.cfg.Dir, log))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var r *logtree.Record
	if err == nil {
		r, err = l.decode(log, value)
	}
	if err != nil {
		l.log.Warn().Err(err).Msg("own note of a checkpoint could not be read, and was left out")
		return nil
	}
	return r
}

// extends reads the log from the older of two checkpoints on, by way of the newer one, up to the head, and recomputes the tree.
func (l *signing) extends(ctx context.Context, h *logtree.Head, older, newer *logtree.Record) error {
	log, err := l.s.cfg.Logs.Open(ctx, h.Log)
	if err != nil {
		return fmt.Errorf("read on from the last checkpoint: %w", err)
	}
	if h.Sequence < newer.Position.Sequence {
		return refusal(verify.Truncated, "log %s ends at message %d, a signed checkpoint of size %d names message %d", h.Log, h.Sequence, newer.Tree.Size(), newer.Position.Sequence)
	}
	header, err := placed(ctx, log, older)
	if err != nil {
		return err
	}
	w := walk{tree: older.Tree, newer: newer}
	reader, err := eventlog.Read(ctx, log, event.ChainAt(older.Position.Sequence, header))
	if err != nil {
		return fmt.Errorf("read on from the last checkpoint: %w", err)
	}
	defer reader.Stop()
	for at := older.Position.Sequence; at < h.Sequence; {
		found, err := reader.Next(ctx)
		if err != nil {
			return fmt.Errorf("read on from the last checkpoint: %w", err)
		}
		if err := w.take(&found); err != nil {
			return err
		}
		at = found.Sequence
	}
	if w.tree.Size() != h.Tree.Size() || w.tree.Root() != h.Tree.Root() {
		return refusal(verify.Tampered, "log %s: the leaves behind the last checkpoint give a tree of size %d and root %s, its writer knows one of size %d and root %s",
			h.Log, w.tree.Size(), w.tree.Root(), h.Tree.Size(), h.Tree.Root())
	}
	return nil
}

// placed reads the header of the block that a checkpoint ends with.
func placed(ctx context.Context, log eventlog.Log, r *logtree.Record) (header event.Header, err error) {
	size := r.Tree.Size()
	m, err := log.Get(ctx, r.Position.Sequence)
	if errors.Is(err, eventlog.ErrNotFound) {
		return header, refusal(verify.Truncated, "log %s has no message %d, which the signed checkpoint of size %d names", log.Name(), r.Position.Sequence, size)
	}
	if err != nil {
		return header, fmt.Errorf("read the block of the last checkpoint: %w", err)
	}
	b, err := event.DecodeHeader(m.Data)
	switch {
	case errors.Is(err, event.ErrNewerFormat):
		return header, fmt.Errorf("read the block of the last checkpoint: %w", err)
	case err != nil:
		return header, refusal(verify.Unreadable, "message %d of log %s, which the signed checkpoint of size %d names: %v", r.Position.Sequence, log.Name(), size, err)
	case b.ID != r.Position.Block:
		return header, refusal(verify.Forked, "message %d of log %s holds block %s, the signed checkpoint of size %d names block %s", r.Position.Sequence, log.Name(), b.ID, size, r.Position.Block)
	case b.TreeSize != size || b.TreeRoot != r.Tree.Root():
		return header, refusal(verify.Forked, "message %d of log %s states a tree of size %d and root %s, the signed checkpoint size %d and root %s",
			r.Position.Sequence, log.Name(), b.TreeSize, b.TreeRoot, size, r.Tree.Root())
	}
	return b.Header, nil
}

// walk recomputes the tree message by message.
type walk struct {
	tree  event.Tree
	newer *logtree.Record
}

func (w *walk) take(f *eventlog.Found) error {
	switch f.Standing {
	case event.Void:
		return nil
	case event.Damaged:
		return refusal(verify.Unreadable, "message %d behind the last checkpoint: %v", f.Sequence, f.Err)
	}
	if f.Missing {
		return refusal(verify.Unreadable, "messages before %d, behind the last checkpoint, are missing", f.Sequence)
	}
	for _, c := range f.Commits {
		w.tree = w.tree.Append(c.Leaves()...)
	}
	if b := f.Block; w.tree.Size() != b.TreeSize || w.tree.Root() != b.TreeRoot {
		return refusal(verify.Tampered, "message %d: the leaves give a tree of size %d and root %s, its block states size %d and root %s", f.Sequence, w.tree.Size(), w.tree.Root(), b.TreeSize, b.TreeRoot)
	}
	p := w.newer.Position
	if f.Sequence == p.Sequence && (f.Block.ID != p.Block || w.tree.Size() != w.newer.Tree.Size() || w.tree.Root() != w.newer.Tree.Root()) {
		return refusal(verify.Forked, "message %d is block %s with a tree of size %d and root %s; the signed checkpoint names block %s, size %d and root %s",
			f.Sequence, f.Block.ID, w.tree.Size(), w.tree.Root(), p.Block, w.newer.Tree.Size(), w.newer.Tree.Root())
	}
	return nil
}
