package event

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// Tree is the frontier of an RFC 6962 Merkle tree: it takes leaves and gives the root without the leaves before, O(log n) each.
// The zero value is the empty tree. A Tree is a value; Append leaves its receiver as it is.
type Tree struct {
	size   uint64
	hashes []Hash // roots of the maximal perfect subtrees, left to right (section 5)
}

// NewTree is the tree of that size with a copy of that frontier; ErrInvalid if they do not fit each other.
func NewTree(size uint64, frontier []Hash) (Tree, error) {
	if len(frontier) != bits.OnesCount64(size) {
		return Tree{}, fmt.Errorf("frontier of %d hashes for a tree of %d leaves: %w", len(frontier), size, ErrInvalid)
	}
	return Tree{size: size, hashes: slices.Clone(frontier)}, nil
}

// Size is the number of leaves.
func (t Tree) Size() uint64 { return t.size }

// Frontier is a copy of the tree's frontier.
func (t Tree) Frontier() []Hash { return slices.Clone(t.hashes) }

// Append gives the tree with the leaves added. A leaf closes one perfect subtree for each low bit that is set in the size before it.
func (t Tree) Append(leaves ...Hash) Tree {
	hashes := make([]Hash, len(t.hashes), len(t.hashes)+bits.Len(uint(len(leaves))))
	copy(hashes, t.hashes)
	t.hashes = hashes
	t.Grow(leaves...)
	return t
}

// Grow adds leaves to the tree itself: it is for who has no copy of it, and takes no memory where there is room.
func (t *Tree) Grow(leaves ...Hash) {
	hashes := t.hashes
	for _, h := range leaves {
		for closed := bits.TrailingZeros64(^t.size); closed > 0; closed-- {
			last := len(hashes) - 1
			h, hashes = node(hashes[last], h), hashes[:last]
		}
		hashes = append(hashes, h)
		t.size++
	}
	t.hashes = hashes
}

// Load makes the tree one of a size, in the memory that it has. Its frontier is the beginning of first, as far as that goes, and rest.
func (t *Tree) Load(size uint64, first, rest []Hash) {
	n := bits.OnesCount64(size)
	t.size, t.hashes = size, append(append(t.hashes[:0], first[:min(n, len(first))]...), rest...)
}

// View is the tree's frontier, valid until it grows.
func (t *Tree) View() []Hash { return t.hashes }

// Root is the tree's root; of the empty tree SHA-256 of the empty string.
func (t Tree) Root() Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	n := len(t.hashes) - 1
	root := t.hashes[n]
	for i := n - 1; i >= 0; i-- {
		root = node(t.hashes[i], root)
	}
	return root
}

// node is the node over two subtrees (RFC 6962, section 2.1). The leaves' prefix 0x00 is written by Commit.Leaf.
func node(left, right Hash) Hash {
	var b [1 + 2*len(left)]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+len(left):], right[:])
	return sha256.Sum256(b[:])
}

// AppendBinary appends the tree's own form for local stores: u64 size, then the frontier. It is no part of the log format.
func (t Tree) AppendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, t.size)
	for i := range t.hashes {
		b = append(b, t.hashes[i][:]...)
	}
	return b
}

// TreeFromBinary is the inverse of AppendBinary.
func TreeFromBinary(b []byte) (Tree, error) {
	if len(b) < 8 || (len(b)-8)%32 != 0 {
		return Tree{}, fmt.Errorf("tree of %d bytes: %w", len(b), ErrDecode)
	}
	frontier := make([]Hash, (len(b)-8)/32)
	for i := range frontier {
		copy(frontier[i][:], b[8+32*i:])
	}
	return NewTree(binary.BigEndian.Uint64(b), frontier)
}
