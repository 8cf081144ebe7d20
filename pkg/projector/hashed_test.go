package projector_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/eventfuldb/eventful/pkg/projector"
)

// TestByHash holds the order of hashes against a sort: spread evenly, all equal, and all alike at their beginning.
func TestByHash(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 2, 3, 7, 8, 100, 5000} {
		for name, hash := range map[string]func() uint64{
			"spread": random.Uint64, "equal": func() uint64 { return 7 << 40 }, "few": func() uint64 { return random.Uint64N(3) << 45 }, "alike": func() uint64 { return random.Uint64N(1 << 20) },
		} {
			for _, width := range []int{48, 64} {
				hashes, want := make([]uint64, n), make([]uint32, n)
				for i := range hashes {
					hashes[i], want[i] = hash()>>(64-width), uint32(i)
				}
				slices.SortStableFunc(want, func(a, b uint32) int { return cmp.Compare(hashes[a], hashes[b]) })
				if got := projector.ByHash(hashes, width); !slices.Equal(got, want) {
					t.Errorf("%d %s hashes of %d bits: got %v, want %v", n, name, width, got, want)
				}
			}
		}
	}
}
