package indexstore

// filter tells of most keys that are not in a run that they are not: about ten bits an entry, of which each key sets seven (a Bloom filter). It is read before the
// run's pages are.
type filter []byte

const (
	filterBits   = 10 // an entry; one key in a hundred that is not there is looked for
	filterProbes = 7
)

func newFilter(entries uint64) filter { return make(filter, entries*filterBits/8+8) }

// hashKey is FNV-1a, with its bits mixed once more.
func hashKey(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	return h ^ h>>33
}

func (f filter) bit(hash uint64, probe uint32) (at int, mask byte) {
	h := uint32(hash) + probe*(uint32(hash>>32)|1)
	n := uint64(h) * uint64(len(f)) * 8 >> 32
	return int(n / 8), 1 << (n % 8)
}

func (f filter) add(hash uint64) {
	for i := range uint32(filterProbes) {
		at, mask := f.bit(hash, i)
		f[at] |= mask
	}
}

// may reports whether a key with that hash may be there; an empty filter knows nothing.
func (f filter) may(hash uint64) bool {
	if len(f) == 0 {
		return true
	}
	for i := range uint32(filterProbes) {
		if at, mask := f.bit(hash, i); f[at]&mask == 0 {
			return false
		}
	}
	return true
}

// filterBuilder makes the filter of a run while it is written. If the number of entries is not known before, it keeps their hashes.
type filterBuilder struct {
	filter filter
	hashes []uint64
	of     func(key []byte) bool // which keys it knows; nil: all
}

func (b *filterBuilder) add(key []byte) {
	if b.of != nil && !b.of(key) {
		return
	}
	if b.filter != nil {
		b.filter.add(hashKey(key))
		return
	}
	b.hashes = append(b.hashes, hashKey(key))
}

func (b *filterBuilder) finish() filter {
	if b.filter == nil {
		b.filter = newFilter(uint64(len(b.hashes)))
		for _, h := range b.hashes {
			b.filter.add(h)
		}
	}
	return b.filter
}
