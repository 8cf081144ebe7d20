package event_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"pgregory.net/rapid"

	"github.com/eventfuldb/eventful/pkg/event"
)

// mth is RFC 6962, section 2.1, word for word.
func mth(leaves []event.Hash) event.Hash {
	switch len(leaves) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	left, right := mth(leaves[:k]), mth(leaves[k:])
	return sha256.Sum256(slices.Concat([]byte{1}, left[:], right[:]))
}

func drawLeaves(t *rapid.T) []event.Hash {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Hash {
		return sha256.Sum256([]byte{rapid.Byte().Draw(t, "leaf")})
	}), 0, 300).Draw(t, "leaves")
}

func TestTreeIsRFC6962(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		cut := rapid.IntRange(0, len(leaves)).Draw(t, "cut")
		before := event.Tree{}.Append(leaves[:cut]...)
		tree := before.Append(leaves[cut:]...)
		if got, want := tree.Root(), mth(leaves); got != want {
			t.Fatalf("root of %d leaves: got %s, want %s", len(leaves), got, want)
		}
		if got, want := before.Root(), mth(leaves[:cut]); got != want {
			t.Fatalf("root of the tree before, of %d leaves: got %s, want %s", cut, got, want)
		}
		if got, want := tree.Size(), uint64(len(leaves)); got != want {
			t.Fatalf("size: got %d, want %d", got, want)
		}
	})
}

// The library of the transparency logs is the second opinion on every frontier.
func TestTreeAgreesWithCompactRange(t *testing.T) {
	factory := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	want, tree := factory.NewEmptyRange(0), event.Tree{}
	for i := range 1000 {
		leaf := event.Hash(sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		tree = tree.Append(leaf)
		if err := want.Append(leaf[:], nil); err != nil {
			t.Fatal(err)
		}
		var frontier []event.Hash
		for _, h := range want.Hashes() {
			frontier = append(frontier, event.Hash(h))
		}
		if diff := cmp.Diff(frontier, tree.Frontier()); diff != "" {
			t.Fatalf("frontier of %d leaves (-want +got):\n%s", i+1, diff)
		}
	}
}

func TestTreeRestored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		tree := event.Tree{}.Append(leaves...)
		byFrontier, err := event.NewTree(tree.Size(), tree.Frontier())
		if err != nil {
			t.Fatal(err)
		}
		byBytes, err := event.TreeFromBinary(tree.AppendBinary(nil))
		if err != nil {
			t.Fatal(err)
		}
		next := sha256.Sum256([]byte("next"))
		want := tree.Append(next).Root()
		for _, restored := range []event.Tree{byFrontier, byBytes} {
			if got := restored.Append(next).Root(); got != want {
				t.Fatalf("root behind a restored tree of %d: got %s, want %s", tree.Size(), got, want)
			}
		}
	})
}

func TestNewTreeRefusesAFrontierThatDoesNotFit(t *testing.T) {
	for size, hashes := range map[uint64]int{0: 1, 1: 0, 2: 2, 3: 1, 1 << 63: 2} {
		if _, err := event.NewTree(size, make([]event.Hash, hashes)); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("%d hashes for %d leaves: got %v, want ErrInvalid", hashes, size, err)
		}
	}
	short := event.Tree{}.Append(event.Hash{}).AppendBinary(nil)
	for _, raw := range [][]byte{nil, short[:7], short[:39], append(short, 0)} {
		if _, err := event.TreeFromBinary(raw); err == nil {
			t.Errorf("%d bytes: got a tree, want an error", len(raw))
		}
	}
}

// A tree is a value: two trees that grow out of one do not touch each other, nor what they were made from.
func TestTreeIsAValue(t *testing.T) {
	leaves := []event.Hash{{1}, {2}, {3}, {4}, {5}, {6}}
	frontier := event.Tree{}.Append(leaves[:3]...).Frontier()
	base, err := event.NewTree(3, frontier)
	if err != nil {
		t.Fatal(err)
	}
	frontier[0] = event.Hash{}
	left, right := base.Append(leaves[3:]...), base.Append(leaves[5])
	base.Frontier()[0] = event.Hash{}
	if got, want := left.Root(), mth(leaves); got != want {
		t.Errorf("one branch: got %s, want %s", got, want)
	}
	if got, want := right.Root(), mth([]event.Hash{{1}, {2}, {3}, {6}}); got != want {
		t.Errorf("the other branch: got %s, want %s", got, want)
	}
	if got, want := base.Root(), mth(leaves[:3]); got != want {
		t.Errorf("the tree they grew from: got %s, want %s", got, want)
	}
}
