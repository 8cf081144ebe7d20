package indexstore_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// compareFinder looks up some of the keys, and some that are not there, in ascending order.
func compareFinder(t *testing.T, s *indexstore.Store, want map[string]string, random *rand.Rand) {
	t.Helper()
	v := view(t, s)
	defer v.Close()
	asked := slices.Collect(maps.Keys(want))
	for range 50 {
		asked = append(asked, fmt.Sprintf("%c%0*d", 'a'+random.IntN(4), 1+random.IntN(4), random.IntN(3000)))
	}
	slices.Sort(asked)
	every, finder := 1+random.IntN(20), v.Finder()
	for _, k := range slices.Compact(asked) {
		if random.IntN(every) > 0 {
			continue
		}
		value, found, err := finder.Get([]byte(k))
		text, there := want[k]
		if err != nil || found != there {
			t.Fatalf("find %s: got %t, %v, want %t", k, found, err, there)
		}
		if got, err := record(v, value); there && (err != nil || got != text) {
			t.Fatalf("record of %s: got %q, %v, want %q", k, got, err, text)
		}
	}
}
