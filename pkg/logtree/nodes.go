package logtree

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/eventfuldb/eventful/pkg/event"
)

// TileHeight is the number of levels of a tile, TileWidth the number of hashes in a full one.
const (
	TileHeight = 8
	TileWidth  = 1 << TileHeight
)

// Hashes gives the hashes [from, to) of a tile level: level 0 holds leaf hashes, level n the roots of subtrees of 256^n leaves. They lie in one tile.
type Hashes func(level uint, from, to uint64) ([]event.Hash, error)

// node is the root of the perfect subtree at a level of the binary tree.
func (h Hashes) node(id compact.NodeID) (event.Hash, error) {
	level, inner := id.Level/TileHeight, id.Level%TileHeight
	under, err := h(level, id.Index<<inner, (id.Index+1)<<inner)
	if err != nil {
		return event.Hash{}, err
	}
	if len(under) != 1<<inner {
		return event.Hash{}, fmt.Errorf("%d hashes where %d were asked for: %w", len(under), 1<<inner, ErrFormat)
	}
	return event.Tree{}.Append(under...).Root(), nil
}

// Tree is the tree of the first size leaves.
func (h Hashes) Tree(size uint64) (event.Tree, error) {
	frontier := make([]event.Hash, 0, bits.OnesCount64(size))
	for _, id := range compact.RangeNodes(0, size, nil) {
		n, err := h.node(id)
		if err != nil {
			return event.Tree{}, err
		}
		frontier = append(frontier, n)
	}
	return event.NewTree(size, frontier)
}

// Inclusion is the inclusion proof of a leaf in the tree of the first size leaves, from the leaf's sibling up.
func (h Hashes) Inclusion(index, size uint64) ([]event.Hash, error) {
	nodes, err := proof.Inclusion(index, size)
	var out []event.Hash
	if err == nil {
		out, err = h.proof(nodes)
	}
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d of %d: %w", index, size, err)
	}
	return out, nil
}

// Consistency is the proof that the tree of the first size leaves begins with that of the first older leaves. older is from 1 to size.
func (h Hashes) Consistency(older, size uint64) ([]event.Hash, error) {
	nodes, err := proof.Consistency(older, size)
	var out []event.Hash
	if err == nil {
		out, err = h.proof(nodes)
	}
	if err != nil {
		return nil, fmt.Errorf("prove that %d leaves begin with the first %d: %w", size, older, err)
	}
	return out, nil
}

// proof reads the hashes of a proof.
func (h Hashes) proof(nodes proof.Nodes) ([]event.Hash, error) {
	raw := make([][]byte, len(nodes.IDs))
	for i, id := range nodes.IDs {
		n, err := h.node(id)
		if err != nil {
			return nil, err
		}
		raw[i] = n[:]
	}
	raw, err := nodes.Rehash(raw, rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, err
	}
	out := make([]event.Hash, len(raw))
	for i := range raw {
		out[i] = event.Hash(raw[i])
	}
	return out, nil
}

// CheckInclusion holds that an inclusion proof leads from a leaf to the root of a tree. The error wraps ErrProof.
func CheckInclusion(c Checkpoint, index uint64, leaf event.Hash, hashes []event.Hash) error {
	err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, c.Size, leaf[:], rawHashes(hashes), c.Root[:])
	var other proof.RootMismatchError
	if errors.As(err, &other) { // which says the bytes in decimal
		return fmt.Errorf("leaf %s at %d of %d leads to the root %x, the checkpoint has %s: %w", leaf, index, c.Size, other.CalculatedRoot, c.Root, ErrProof)
	}
	if err != nil {
		return fmt.Errorf("leaf %s at %d of %d: %w: %w", leaf, index, c.Size, err, ErrProof)
	}
	return nil
}

// CheckConsistency holds that the tree of one checkpoint begins with that of an older one of the same log, which has a leaf or more. The error wraps ErrProof.
func CheckConsistency(older, newer Checkpoint, hashes []event.Hash) error {
	if older.Size == 0 {
		return fmt.Errorf("a tree without leaves says nothing: %w", ErrProof)
	}
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, newer.Size, rawHashes(hashes), older.Root[:], newer.Root[:])
	var other proof.RootMismatchError
	if errors.As(err, &other) { // which says the bytes in decimal
		return fmt.Errorf("the tree of %d leaves with the root %s does not begin with that of %d leaves with the root %s: %w", newer.Size, newer.Root, older.Size, older.Root, ErrProof)
	}
	if err != nil {
		return fmt.Errorf("a tree of %d leaves, an older one of %d: %w: %w", newer.Size, older.Size, err, ErrProof)
	}
	return nil
}

func rawHashes(hashes []event.Hash) [][]byte {
	raw := make([][]byte, len(hashes))
	for i := range hashes {
		raw[i] = hashes[i][:]
	}
	return raw
}
