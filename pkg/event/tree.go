package event

import (
	"encoding/binary"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
)

var ranges = compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}

// Tree is the frontier of an RFC 6962 Merkle tree: it takes leaves and gives the root without the leaves before, O(log n) each.
// The zero value is the empty tree. A Tree is a value; Append leaves its receiver as it is.
type Tree struct {
	size   uint64
	hashes []Hash // roots of the maximal perfect subtrees, left to right (section 5)
}

// NewTree is the tree of that size with that frontier; an error if they do not fit each other.
func NewTree(size uint64, frontier []Hash) (Tree, error) {
	t := Tree{size: size, hashes: frontier}
	if _, err := t.compact(); err != nil {
		return Tree{}, fmt.Errorf("frontier of %d hashes for a tree of %d leaves: %w", len(frontier), size, ErrInvalid)
	}
	return t, nil
}

// Size is the number of leaves.
func (t Tree) Size() uint64 { return t.size }

// Frontier is a copy of the tree's frontier.
func (t Tree) Frontier() []Hash { return append([]Hash(nil), t.hashes...) }

// Append gives the tree with the leaves added.
func (t Tree) Append(leaves ...Hash) Tree {
	r, err := t.compact()
	if err != nil {
		panic("event.Tree: " + err.Error()) // NewTree and Append let no other state come to be
	}
	for i := range leaves {
		if err := r.Append(leaves[i][:], nil); err != nil {
			panic("event.Tree: " + err.Error())
		}
	}
	out := Tree{size: r.End(), hashes: make([]Hash, len(r.Hashes()))}
	for i, h := range r.Hashes() {
		copy(out.hashes[i][:], h)
	}
	return out
}

// Root is the tree's root; of the empty tree SHA-256 of the empty string.
func (t Tree) Root() (root Hash) {
	if t.size == 0 {
		copy(root[:], rfc6962.DefaultHasher.EmptyRoot())
		return root
	}
	n := len(t.hashes) - 1
	root = t.hashes[n]
	for i := n - 1; i >= 0; i-- {
		copy(root[:], rfc6962.DefaultHasher.HashChildren(t.hashes[i][:], root[:]))
	}
	return root
}

func (t Tree) compact() (*compact.Range, error) {
	hashes := make([][]byte, len(t.hashes))
	for i := range t.hashes {
		hashes[i] = t.hashes[i][:]
	}
	return ranges.NewRange(0, t.size, hashes)
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
