package projector

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/indexstore"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// The index keeps the hashes of its log's tree by levels of tiles (docs/spec/proofs.md, section 6): level 0 the leaf hashes, level n the roots of full tiles of level
// n-1. A proof reads a tile a level, so its cost hardly depends on the log's length. What is proved is held against a signed root, so a wrong index cannot prove
// anything; it can only fail to.

// errNoTree: the index lacks leaves of the tree, as messages of the log are damaged.
var errNoTree = errors.New("the log tree is not known behind damage")

// tailRun is that the hashes of a tail from first on are the leaves of the log tree from at on, up to the next run.
type tailRun struct {
	at    uint64
	first int
}

// grow notes where the leaves of a block stand, which come next. Behind damage the tree is taken as the block states it.
func (t *tail) grow(treeSize uint64, events int) {
	if events == 0 || treeSize < uint64(events) {
		return
	}
	at := treeSize - uint64(events)
	if n := len(t.runs); n > 0 && t.runs[n-1].at+uint64(len(t.hashes)-t.runs[n-1].first) == at {
		return
	}
	t.runs = append(t.runs, tailRun{at, len(t.hashes)})
}

// leaves gives the leaf hashes of the tail in [from, to): those that it has, ascending, each with its index.
func (t *tail) leaves(from, to uint64, fn func(index uint64, hash event.Hash)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i, run := range t.runs {
		end := len(t.hashes)
		if i+1 < len(t.runs) {
			end = t.runs[i+1].first
		}
		last := run.at + uint64(end-run.first)
		for at := max(from, run.at); at < min(to, last); at++ {
			fn(at, *t.hashes[run.first+int(at-run.at)].hash())
		}
	}
}

func treeKey(level uint, index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyTree, byte(level)}, index)
}

// treeLevels bounds the levels of tiles: 256^8 leaves are more than a tree counts.
const treeLevels = 8

// tree writes the hashes of a tail, and the roots of the tiles that they fill.
func (f *flusher) tree(store *indexstore.Store) error {
	view, err := store.View()
	if err != nil {
		return err
	}
	defer view.Close()
	var rows []treeRow
	for i, run := range f.tail.runs {
		end := len(f.tail.hashes)
		if i+1 < len(f.tail.runs) {
			end = f.tail.runs[i+1].first
		}
		row := treeRow{run.at, make([]event.Hash, 0, end-run.first)}
		for _, h := range f.tail.hashes[run.first:end] {
			row.hashes = append(row.hashes, *h.hash())
		}
		rows = append(rows, row)
	}
	for level := uint(0); level < treeLevels && len(rows) > 0; level++ {
		var above []treeRow
		for _, row := range rows {
			if err := f.row(level, row); err != nil {
				return err
			}
			next, err := row.filled(view, level)
			if err != nil {
				return err
			}
			above = append(above, next...)
		}
		rows = above
	}
	return nil
}

// treeRow is hashes of one level that stand beside each other.
type treeRow struct {
	at     uint64
	hashes []event.Hash
}

// row writes one entry for each tile that a row reaches into. Behind damage rows need not ascend; what does not is left out, so that proofs there fail.
func (f *flusher) row(level uint, r treeRow) error {
	for at, rest := r.at, r.hashes; len(rest) > 0; {
		n := min(len(rest), int(logtree.TileWidth-at%logtree.TileWidth))
		f.value = append(f.value[:0], logtree.EncodeHashes(rest[:n])...)
		if key := treeKey(level, at); string(key) > string(f.key) {
			f.key = append(f.key[:0], key...)
			if err := f.batch.Set(f.key, f.value); err != nil {
				return err
			}
		}
		at, rest = at+uint64(n), rest[n:]
	}
	return nil
}

// filled gives the roots of the tiles that a row fills. The first may have begun in the store; one whose beginning is not known has no root.
func (r treeRow) filled(view *indexstore.View, level uint) ([]treeRow, error) {
	var out []treeRow
	end := r.at + uint64(len(r.hashes))
	for tile := r.at / logtree.TileWidth; (tile+1)*logtree.TileWidth <= end; tile++ {
		from := tile * logtree.TileWidth
		hashes := make([]event.Hash, 0, logtree.TileWidth)
		if from < r.at {
			before, err := storedRow(view, level, from, r.at)
			if err != nil {
				return nil, err
			}
			if uint64(len(before)) != r.at-from {
				continue
			}
			hashes, from = append(hashes, before...), r.at
		}
		hashes = append(hashes, r.hashes[from-r.at:(tile+1)*logtree.TileWidth-r.at]...)
		root := event.Tree{}.Append(hashes...).Root()
		if n := len(out); n > 0 && out[n-1].at+uint64(len(out[n-1].hashes)) == tile {
			out[n-1].hashes = append(out[n-1].hashes, root)
		} else {
			out = append(out, treeRow{tile, []event.Hash{root}})
		}
	}
	return out, nil
}

// storedRow gives the hashes of a level in [from, to) that a store has, as far as they stand beside each other from from on. They lie in one tile.
func storedRow(view *indexstore.View, level uint, from, to uint64) ([]event.Hash, error) {
	var out []event.Hash
	tile := from / logtree.TileWidth * logtree.TileWidth
	var failure error
	err := view.Scan([]byte{keyTree, byte(level)}, treeKey(level, tile), func(key, value []byte) bool {
		if len(key) != 10 || len(value)%len(event.Hash{}) != 0 {
			failure = fmt.Errorf("index entry of the log tree: %w", errContent)
			return false
		}
		at := binary.BigEndian.Uint64(key[2:])
		hashes, _ := logtree.DecodeHashes(value, len(value)/len(event.Hash{})) // the length fits
		for i := range hashes {
			if at+uint64(i) == from+uint64(len(out)) && at+uint64(i) < to {
				out = append(out, hashes[i])
			}
		}
		return at+uint64(len(hashes)) < to
	})
	return out, errors.Join(failure, err)
}

// hashes gives the hashes [from, to) of a level, which lie in one tile: out of the store, the tail, or, at a higher level, recomputed from the level below.
func (r *reading) hashes(level uint, from, to uint64) ([]event.Hash, error) {
	out, err := storedRow(r.store, level, from, to)
	if err != nil {
		return nil, fmt.Errorf("read the log tree: %w", err)
	}
	if level == 0 {
		r.tail.leaves(from+uint64(len(out)), to, func(index uint64, hash event.Hash) {
			if index == from+uint64(len(out)) {
				out = append(out, hash)
			}
		})
	}
	for at := from + uint64(len(out)); level > 0 && at < to; at++ {
		under, err := r.hashes(level-1, at*logtree.TileWidth, (at+1)*logtree.TileWidth)
		if err != nil {
			return nil, err
		}
		out = append(out, event.Tree{}.Append(under...).Root())
	}
	if uint64(len(out)) != to-from {
		return nil, errNoTree
	}
	return out, nil
}

// Tree reads the tree of a log out of its index: fn gets the hashes, which are valid in it only, and the size of the tree that the index has. Its error comes back.
func (p *Projector) Tree(ctx context.Context, log string, fn func(hashes logtree.Hashes, size uint64) error) error {
	if err := p.up(); err != nil {
		return err
	}
	x, _, _ := p.indexOrGrowth(log)
	if x == nil {
		return problem.New(problem.NotFound, "there is no log %.80q", log)
	}
	at, _, _ := x.progress.now()
	err := x.view(ctx, func(r *reading) error { return fn(r.hashes, at.chain.TreeSize) })
	if errors.Is(err, errNoTree) {
		return problem.New(problem.Damaged, "log %s: %v", log, err).WithHint("`eventful aggregate:verify --all` names the damage")
	}
	return err
}

// Proved is an event with what proving it takes.
type Proved struct {
	Aggregate event.AggregateID
	Version   event.Version
	Hash      event.Hash
	At        event.Position
	Commit    *event.Commit
	Event     int // of the commit
}

// Find gives the event with a leaf hash or a unique prefix of it. Errors, and what may says, are as of EventByHash.
func (p *Projector) Find(ctx context.Context, prefix string, may func(event.AggregateID) bool) (Proved, error) {
	m, err := p.match(ctx, prefix, may)
	if err != nil {
		return Proved{}, err
	}
	out := Proved{Aggregate: m.aggregate, Version: m.version, Hash: m.hash}
	err = m.x.view(ctx, func(r *reading) error {
		return r.commits(ctx, m.aggregate, m.version, func(c located) (bool, error) {
			i := int(m.version - c.First)
			if m.version < c.First || i >= len(c.Events) || c.Leaf(i) != m.hash {
				return false, fmt.Errorf("hash %s leads to another event: %w", m.hash, errContent)
			}
			out.Commit, out.Event, out.At = c.Commit, i, r.position(c.at)
			return false, nil
		})
	})
	return out, err
}
