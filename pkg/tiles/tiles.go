// Package tiles writes and checks a folder with the tiles of a log, as any web server can serve it (docs/spec/proofs.md, section 6).
//
// Export adds what a log has grown by, and Check recomputes all of it; both stop at the first thing that does not hold. Neither knows a server: entries come
// from the caller.
package tiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/logtree"
)

var (
	// ErrForked: entries that were exported, or vouched for, before are not those that the log has now.
	ErrForked = errors.New("FORKED")
	// ErrTruncated: the log has fewer entries than were exported, or vouched for, before.
	ErrTruncated = errors.New("TRUNCATED")
	// ErrTampered: entries, tiles and checkpoint contradict each other.
	ErrTampered = errors.New("TAMPERED")
	// ErrUnreadable: a tile or bundle is missing or cannot be read.
	ErrUnreadable = errors.New("UNREADABLE")
)

// Source gives entries of the log from an index on, at least one, up to an index that is not included.
type Source func(ctx context.Context, from, to uint64) ([][]byte, error)

// Export is one export of a log into a folder.
type Export struct {
	Dir        string
	Note       []byte             // a checkpoint whose signature was checked …
	Checkpoint logtree.Checkpoint // … and what it says
	Entries    Source
	Progress   func(done, total uint64) // nil: none
}

// Run writes what the folder lacks. In order: bundles of entries and tiles, each put in place by rename; the checkpoint; then partial tiles that others
// replaced are removed. Cut short, it leaves the folder that its old checkpoint describes, with more beside it, and the next Run goes on. It gives the size
// that the folder had before. The error wraps ErrForked, ErrTruncated, ErrTampered, that of the source, or is the disk's.
func (e Export) Run(ctx context.Context) (before uint64, err error) {
	if e.Progress == nil {
		e.Progress = func(uint64, uint64) {}
	}
	old, err := e.old()
	if err != nil {
		return 0, err
	}
	w := &writing{Export: e}
	start := uint64(0) // the last bundle is read again: it must be the one that was exported
	if old.Size > 0 {
		start = (old.Size - 1) / logtree.TileWidth * logtree.TileWidth
	}
	w.builder.Tile = w.tile
	if err := w.builder.Resume(hashesIn(e.Dir, old.Size), start); err != nil {
		return 0, fmt.Errorf("go on with the export in %s: %w", e.Dir, err)
	}
	for at := start; at < e.Checkpoint.Size; at += logtree.TileWidth {
		if err := w.bundle(ctx, at, old); err != nil {
			return 0, err
		}
		e.Progress(min(at+logtree.TileWidth, e.Checkpoint.Size), e.Checkpoint.Size)
	}
	if err := w.builder.End(); err != nil {
		return 0, err
	}
	if root := w.builder.Tree().Root(); root != e.Checkpoint.Root && old.Size > 0 {
		return 0, fmt.Errorf("the %d entries that were exported, and those behind them, give the root %s, the checkpoint of size %d states %s: %w", old.Size, root, e.Checkpoint.Size, e.Checkpoint.Root, ErrForked)
	} else if root != e.Checkpoint.Root {
		return 0, fmt.Errorf("the entries give the root %s, the checkpoint of size %d states %s: %w", root, e.Checkpoint.Size, e.Checkpoint.Root, ErrTampered)
	}
	if err := put(e.Dir, logtree.CheckpointPath, e.Note); err != nil {
		return 0, err
	}
	return old.Size, w.clean()
}

// old is the checkpoint that the folder has; of an empty or missing one it is zero.
func (e Export) old() (c logtree.Checkpoint, err error) {
	signed, err := os.ReadFile(filepath.Join(e.Dir, logtree.CheckpointPath))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the checkpoint of %s: %w", e.Dir, err)
	}
	switch c, err = logtree.Peek(signed); {
	case err != nil:
		return c, fmt.Errorf("read the checkpoint of %s: %w: %w", e.Dir, err, ErrUnreadable)
	case c.Origin != e.Checkpoint.Origin:
		return c, fmt.Errorf("%s holds the export of %s: %w", e.Dir, c.Origin, fs.ErrExist)
	case c.Size > e.Checkpoint.Size:
		return c, fmt.Errorf("%s holds %d entries, the log has %d: %w", e.Dir, c.Size, e.Checkpoint.Size, ErrTruncated)
	}
	return c, nil
}

// writing is an export under way.
type writing struct {
	Export
	builder logtree.Builder
	written []string // paths of tiles and bundles whose partial ones are to be removed
}

// bundle writes the entries of one tile.
func (w *writing) bundle(ctx context.Context, at uint64, old logtree.Checkpoint) error {
	end := min(at+logtree.TileWidth, w.Checkpoint.Size)
	var entries [][]byte
	for next := at; next < end; next = at + uint64(len(entries)) {
		got, err := w.Entries(ctx, next, end)
		if err != nil {
			return err
		}
		if len(got) == 0 || uint64(len(got)) > end-next {
			return fmt.Errorf("%d entries where %d to %d were asked for: %w", len(got), next, end, ErrUnreadable)
		}
		entries = append(entries, got...)
	}
	for i, entry := range entries {
		if err := w.builder.Add(event.EntryLeaf(entry)); err != nil {
			return err
		}
		if n := at + uint64(i) + 1; n == old.Size && w.builder.Tree().Root() != old.Root {
			return fmt.Errorf("the first %d entries of the log are not those that were exported: %w", n, ErrForked)
		}
	}
	text, err := logtree.EncodeEntries(entries)
	if err != nil {
		return err
	}
	return w.put(logtree.EntriesPath(at/logtree.TileWidth, len(entries)), text)
}

func (w *writing) tile(level uint, index uint64, hashes []event.Hash) error {
	return w.put(logtree.TilePath(level, index, len(hashes)), logtree.EncodeHashes(hashes))
}

func (w *writing) put(path string, content []byte) error {
	w.written = append(w.written, path)
	return put(w.Dir, path, content)
}

// clean removes partial tiles that what was written replaces.
func (w *writing) clean() error {
	for _, path := range w.written {
		folder := filepath.Join(w.Dir, filepath.FromSlash(logtree.PartialFolder(path)))
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue // there is none
		}
		keep := ""
		if filepath.Dir(filepath.FromSlash(path)) == filepath.FromSlash(logtree.PartialFolder(path)) {
			keep = filepath.Base(filepath.FromSlash(path))
		}
		for _, e := range entries {
			if e.Name() == keep {
				continue
			}
			if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
				return fmt.Errorf("remove a partial tile: %w", err)
			}
		}
		if keep == "" {
			if err := os.Remove(folder); err != nil {
				return fmt.Errorf("remove a folder of partial tiles: %w", err)
			}
		}
	}
	return nil
}

// put writes a file beside its place and renames it. Tiles are public: anybody may read them, as a web server does.
func put(dir, path string, content []byte) error {
	path = filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err := os.WriteFile(path+".new", content, 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// hashesIn reads the tiles of a folder that was exported at a size.
func hashesIn(dir string, size uint64) logtree.Hashes {
	return func(level uint, from, to uint64) ([]event.Hash, error) {
		count := size >> (logtree.TileHeight * level)
		index := from / logtree.TileWidth
		width := int(min(count-index*logtree.TileWidth, logtree.TileWidth))
		path := logtree.TilePath(level, index, width)
		tile, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, fmt.Errorf("read tile: %w: %w", err, ErrUnreadable)
		}
		hashes, err := logtree.DecodeHashes(tile, width)
		if err != nil {
			return nil, fmt.Errorf("tile %s: %w: %w", path, err, ErrUnreadable)
		}
		return hashes[from-index*logtree.TileWidth : to-index*logtree.TileWidth], nil
	}
}

// Check reads a whole folder and holds it against its checkpoint, which open judges: every tile and the root must follow from the entries. The first entries must give
// the roots of older checkpoints. The error wraps what open gives, ErrForked, ErrTruncated, ErrTampered or ErrUnreadable.
func Check(ctx context.Context, dir string, open func(signed []byte) (logtree.Checkpoint, error), older ...logtree.Checkpoint) (logtree.Checkpoint, error) {
	signed, err := os.ReadFile(filepath.Join(dir, logtree.CheckpointPath))
	if err != nil {
		return logtree.Checkpoint{}, fmt.Errorf("read the checkpoint of %s: %w", dir, err)
	}
	c, err := open(signed)
	if err != nil {
		return c, err
	}
	for _, o := range older {
		if o.Size > c.Size {
			return c, fmt.Errorf("%s has %d entries, an older checkpoint vouches for %d: %w", dir, c.Size, o.Size, ErrTruncated)
		}
	}
	k := &checking{dir: dir, older: older}
	k.builder.Tile = k.tile
	for at := uint64(0); at < c.Size; at += logtree.TileWidth {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		if err := k.bundle(at, int(min(c.Size-at, logtree.TileWidth))); err != nil {
			return c, err
		}
	}
	if err := k.builder.End(); err != nil {
		return c, err
	}
	if root := k.builder.Tree().Root(); root != c.Root {
		return c, fmt.Errorf("the entries give the root %s, the checkpoint of size %d states %s: %w", root, c.Size, c.Root, ErrTampered)
	}
	return c, nil
}

type checking struct {
	dir     string
	older   []logtree.Checkpoint
	builder logtree.Builder
}

func (k *checking) read(path string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(k.dir, filepath.FromSlash(path)))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", path, err, ErrUnreadable)
	}
	return content, nil
}

func (k *checking) bundle(at uint64, width int) error {
	path := logtree.EntriesPath(at/logtree.TileWidth, width)
	content, err := k.read(path)
	if err != nil {
		return err
	}
	entries, err := logtree.DecodeEntries(content, width)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", path, err, ErrUnreadable)
	}
	for i, entry := range entries {
		n := at + uint64(i)
		if _, err := event.ParseEntry(entry); err != nil {
			return fmt.Errorf("entry %s: %w: %w", strconv.FormatUint(n, 10), err, ErrUnreadable)
		}
		if err := k.builder.Add(event.EntryLeaf(entry)); err != nil {
			return err
		}
		at := slices.IndexFunc(k.older, func(o logtree.Checkpoint) bool { return o.Size == n+1 })
		if at >= 0 && k.older[at].Root != k.builder.Tree().Root() {
			return fmt.Errorf("the first %d entries are not those that an older checkpoint vouches for: %w", n+1, ErrForked)
		}
	}
	return nil
}

func (k *checking) tile(level uint, index uint64, hashes []event.Hash) error {
	path := logtree.TilePath(level, index, len(hashes))
	content, err := k.read(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(content, logtree.EncodeHashes(hashes)) {
		return fmt.Errorf("%s does not follow from the entries: %w", path, ErrTampered)
	}
	return nil
}
