package projector

import (
	"cmp"
	"math/bits"
	"slices"
)

// hash48 mixes a text eight bytes at a time, and keeps 48 bits. What it leads to is checked. It is part of the layout (contentVersion).
func hash48(text string) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(len(text)) * odd
	for ; len(text) >= 8; text = text[8:] {
		h = mixed(h ^ (uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
			uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56))
	}
	rest := uint64(0)
	for i := range len(text) {
		rest |= uint64(text[i]) << (8 * i)
	}
	return mixed(mixed(h^rest)+odd) >> 16
}

// mixed spreads what differs over all bits; no two numbers have the same.
func mixed(h uint64) uint64 {
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	return h ^ h>>32
}

// hashed is something that has a hash.
type hashed struct {
	hash uint64
	at   uint32
}

// byHash gives some in the order of their hashes, of which width bits count; of one hash they stay in their order. Hashes are spread evenly, or equal: so they are
// dealt into stacks by their first bits, and hardly any stack is left to sort.
func byHash(in []hashed, width int) []hashed {
	if len(in) == 0 {
		return nil
	}
	shift := max(0, width-bits.Len(uint(len(in)))-1)
	ends := make([]uint32, 2<<bits.Len(uint(len(in))))
	for i := range in {
		ends[in[i].hash>>shift]++
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	out := make([]hashed, len(in))
	for i := range in {
		stack := &ends[in[i].hash>>shift]
		out[*stack] = in[i]
		*stack++
	}
	for from := 0; from < len(out); {
		to := int(ends[out[from].hash>>shift])
		if stack := out[from:to]; !slices.IsSortedFunc(stack, compareHashed) {
			slices.SortStableFunc(stack, compareHashed)
		}
		from = to
	}
	return out
}

func compareHashed(a, b hashed) int { return cmp.Compare(a.hash, b.hash) }
