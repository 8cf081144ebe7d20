package writer

import (
	"encoding/binary"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// commandIDs finds in memory where a command of the window lies: about 25 bytes a command, 50 where every block has one command only. It belongs to the
// engine's goroutine, and runs ahead of the stored state: it has every block that was acknowledged.
type commandIDs struct {
	window window
	chunks []*chunk // those with the ordinals from first on; the last one may have room
	first  uint64   // ordinal of the first hash kept; a multiple of chunkIDs
	next   uint64   // ordinal of the next accepted command
	slots  []uint32 // open addressing by hash: slotUsed and the low bits of an ordinal; 0: free
}

const slotUsed = 1 << 31

// loadCommandIDs reads the window of the stored state.
func loadCommandIDs(s *state) (*commandIDs, error) {
	ids := &commandIDs{window: s.window, first: s.meta.oldest * chunkIDs, next: s.meta.next}
	ids.resize(ids.next - ids.first)
	number := s.meta.oldest
	var failed error
	err := s.store.Scan([]byte(keyCommands), nil, func(key, value []byte) bool {
		c, err := decodeChunk(value)
		switch {
		case err != nil:
			failed = err
		case string(key) != chunkKey(number):
			failed = fmt.Errorf("entry %x where %d is wanted", key, number)
		default:
			ids.take(c)
			number++
		}
		return failed == nil
	})
	if err != nil {
		return nil, fmt.Errorf("load command ids: %w", err)
	}
	if failed == nil && ids.first+ids.kept() != ids.next {
		failed = fmt.Errorf("%d behind %d where there must be %d", ids.kept(), ids.first, ids.next-ids.first)
	}
	if failed != nil {
		return nil, fmt.Errorf("load command ids: %w: %w", failed, statestore.ErrDoubted)
	}
	return ids, nil
}

// kept is the number of hashes in the chunks; all but the last one are full.
func (ids *commandIDs) kept() uint64 {
	n := len(ids.chunks)
	if n == 0 {
		return 0
	}
	return uint64(n-1)*chunkIDs + uint64(len(ids.chunks[n-1].hashes))
}

// take adds a stored chunk behind the others.
func (ids *commandIDs) take(c *chunk) {
	ordinal := ids.first + uint64(len(ids.chunks))*chunkIDs
	ids.chunks = append(ids.chunks, c)
	for i, h := range c.hashes {
		ids.put(h, ordinal+uint64(i))
	}
}

// add remembers an accepted command.
func (ids *commandIDs) add(hash idHash, sequence uint64, at event.Time) {
	if ids.next%chunkIDs == 0 {
		ids.chunks = append(ids.chunks, &chunk{})
	}
	if kept := ids.next - ids.first; 2*kept >= uint64(len(ids.slots)) {
		ids.resize(2 * kept)
	}
	ids.chunks[len(ids.chunks)-1].add(hash, sequence, at)
	ids.put(hash, ids.next)
	ids.next++
}

// resize makes room for n hashes, of which the slots are half full at most.
func (ids *commandIDs) resize(n uint64) {
	size := uint64(1024)
	for size < 2*n {
		size *= 2
	}
	ids.slots = make([]uint32, size)
	for i, c := range ids.chunks {
		for j, h := range c.hashes {
			ids.put(h, ids.first+uint64(i*chunkIDs+j))
		}
	}
}

// home is the slot that a hash would best have.
func (ids *commandIDs) home(hash idHash) uint64 {
	return binary.BigEndian.Uint64(hash[:]) & uint64(len(ids.slots)-1)
}

func (ids *commandIDs) put(hash idHash, ordinal uint64) {
	mask := uint64(len(ids.slots) - 1)
	at := ids.home(hash)
	for ids.slots[at] != 0 {
		at = (at + 1) & mask
	}
	ids.slots[at] = slotUsed | uint32(ordinal)
}

// ordinal is what a used slot says: the low bits are enough, as the window is much smaller than what they count.
func (ids *commandIDs) ordinal(slot uint32) uint64 {
	return ids.first + uint64((slot-uint32(ids.first))&(slotUsed-1))
}

func (ids *commandIDs) hash(ordinal uint64) idHash {
	i := ordinal - ids.first
	return ids.chunks[i/chunkIDs].hashes[i%chunkIDs]
}

// find gives the block of the command with an id that is remembered for the command with the ordinal next in a block of time now; of several, the newest one's.
func (ids *commandIDs) find(hash idHash, next uint64, now event.Time) (sequence uint64, found bool) {
	mask := uint64(len(ids.slots) - 1)
	newest := uint64(0)
	for at := ids.home(hash); ids.slots[at] != 0; at = (at + 1) & mask {
		ordinal := ids.ordinal(ids.slots[at])
		if ids.hash(ordinal) != hash || ordinal < newest || !ids.window.counts(ordinal, next) {
			continue
		}
		i := ordinal - ids.first
		if b := ids.chunks[i/chunkIDs].block(int(i % chunkIDs)); ids.window.young(b.at, now) {
			sequence, newest, found = b.sequence, ordinal, true
		}
	}
	return sequence, found
}

// forget drops the oldest chunk once all of it has left the window, as the stored state does: one with a block, as dropping costs time.
func (ids *commandIDs) forget(now event.Time) {
	if len(ids.chunks) == 0 || !outlived(ids.window, ids.first/chunkIDs, ids.chunks[0].newest().at, ids.next, now) {
		return
	}
	for i := range ids.chunks[0].hashes {
		ids.remove(ids.first + uint64(i))
	}
	ids.chunks[0] = nil
	ids.chunks = ids.chunks[1:]
	ids.first += chunkIDs
}

// outlived reports whether a chunk is full and all of it is out of the window for the command next in a block of time now.
func outlived(w window, number uint64, newest event.Time, next uint64, now event.Time) bool {
	end := (number + 1) * chunkIDs
	return end <= next && (!w.counts(end-1, next) || !w.young(newest, now))
}

// remove frees the slot of an ordinal and moves those behind it up that would not be found any more.
func (ids *commandIDs) remove(ordinal uint64) {
	mask := uint64(len(ids.slots) - 1)
	at := ids.home(ids.hash(ordinal))
	for ids.ordinal(ids.slots[at]) != ordinal {
		at = (at + 1) & mask
	}
	for free := at; ; {
		at = (at + 1) & mask
		if ids.slots[at] == 0 {
			ids.slots[free] = 0
			return
		}
		home := ids.home(ids.hash(ids.ordinal(ids.slots[at])))
		if (at-home)&mask >= (at-free)&mask {
			ids.slots[free], free = ids.slots[at], at
		}
	}
}
