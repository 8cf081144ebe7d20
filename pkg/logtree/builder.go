package logtree

import "github.com/eventfuldb/eventful/pkg/event"

// Builder makes the tiles of a tree from its leaves. It is for one goroutine.
type Builder struct {
	// Tile gets each tile of hashes that is full, and at End those that are not.
	Tile func(level uint, index uint64, hashes []event.Hash) error

	tree   event.Tree
	levels []level
}

// level is the tile of a level that is being filled.
type level struct {
	index  uint64
	hashes []event.Hash
}

// Resume begins behind the first size leaves, a multiple of 256, of a tree whose hashes it reads.
func (b *Builder) Resume(hashes Hashes, size uint64) (err error) {
	if b.tree, err = hashes.Tree(size); err != nil {
		return err
	}
	b.levels = nil
	for at, n := uint(0), size; n > 0; at, n = at+1, n/TileWidth {
		l := level{index: n / TileWidth}
		if n%TileWidth > 0 {
			if l.hashes, err = hashes(at, n-n%TileWidth, n); err != nil {
				return err
			}
		}
		b.levels = append(b.levels, l)
	}
	return nil
}

// Add takes the next leaf.
func (b *Builder) Add(leaf event.Hash) error {
	b.tree = b.tree.Append(leaf)
	for at := 0; ; at++ {
		if at == len(b.levels) {
			b.levels = append(b.levels, level{})
		}
		l := &b.levels[at]
		if l.hashes = append(l.hashes, leaf); len(l.hashes) < TileWidth {
			return nil
		}
		if err := b.Tile(uint(at), l.index, l.hashes); err != nil {
			return err
		}
		leaf = event.Tree{}.Append(l.hashes...).Root()
		l.index, l.hashes = l.index+1, l.hashes[:0]
	}
}

// End gives the tiles that are not full.
func (b *Builder) End() error {
	for at, l := range b.levels {
		if len(l.hashes) == 0 {
			continue
		}
		if err := b.Tile(uint(at), l.index, l.hashes); err != nil {
			return err
		}
	}
	return nil
}

// Tree is the tree of the leaves so far.
func (b *Builder) Tree() event.Tree { return b.tree }
