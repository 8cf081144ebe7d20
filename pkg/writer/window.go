package writer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// window bounds how long a command id is remembered: both measures are of the log, so every replay forgets the same ids.
type window struct {
	commands uint64
	age      time.Duration
}

// counts reports whether the command with an ordinal is among those that are remembered when the next one has the ordinal next.
func (w window) counts(ordinal, next uint64) bool { return next-ordinal <= w.commands }

// young reports whether a command of block time at is remembered in a block of time now.
func (w window) young(at, now event.Time) bool { return now-at <= event.Time(w.age) }

// chunkIDs is how many command ids one entry of the state holds. The newest entry is written anew with each batch, so it is kept small.
const chunkIDs = 1024

// chunk is the hashes of the ids of accepted commands, in the order of the log: those with the ordinals from number * chunkIDs on.
type chunk struct {
	hashes []idHash
	blocks []chunkBlock // which blocks they came with, in order
}

// chunkBlock is that the hashes up to end, behind those of the block before, came with the block at a sequence, of time at.
type chunkBlock struct {
	sequence uint64
	at       event.Time
	end      uint32
}

func chunkKey(number uint64) string {
	return keyCommands + string(binary.BigEndian.AppendUint64(nil, number))
}

func (c *chunk) add(hash idHash, sequence uint64, at event.Time) {
	if c.hashes == nil {
		c.hashes = make([]idHash, 0, chunkIDs)
	}
	c.hashes = append(c.hashes, hash)
	if n := len(c.blocks); n == 0 || c.blocks[n-1].sequence != sequence {
		c.blocks = append(c.blocks, chunkBlock{sequence: sequence, at: at})
	}
	c.blocks[len(c.blocks)-1].end = uint32(len(c.hashes))
}

func (c *chunk) clone() *chunk {
	return &chunk{hashes: append(make([]idHash, 0, chunkIDs), c.hashes...), blocks: slices.Clone(c.blocks)}
}

// newest is the block of the last hash; there must be one.
func (c *chunk) newest() chunkBlock { return c.blocks[len(c.blocks)-1] }

// block is the one that the hash at index came with.
func (c *chunk) block(index int) chunkBlock {
	at, _ := slices.BinarySearchFunc(c.blocks, uint32(index), func(b chunkBlock, i uint32) int {
		if b.end <= i {
			return -1
		}
		return 1
	})
	return c.blocks[at]
}

// encode gives the time of the newest block as u64, the number of blocks, for each how far its sequence and time are behind those of the one before and how many
// hashes it has, as unsigned LEB128, then the hashes.
func (c *chunk) encode() []byte {
	b := make([]byte, 0, 8+3+len(c.blocks)*10+len(c.hashes)*len(idHash{}))
	b = binary.BigEndian.AppendUint64(b, uint64(c.newest().at))
	b = binary.AppendUvarint(b, uint64(len(c.blocks)))
	before := chunkBlock{}
	for _, at := range c.blocks {
		b = binary.AppendUvarint(b, at.sequence-before.sequence)
		b = binary.AppendUvarint(b, uint64(at.at)-uint64(before.at))
		b = binary.AppendUvarint(b, uint64(at.end-before.end))
		before = at
	}
	for i := range c.hashes {
		b = append(b, c.hashes[i][:]...)
	}
	return b
}

func decodeChunk(b []byte) (*chunk, error) {
	newest, blocks, rest, err := chunkHead(b)
	if err != nil {
		return nil, err
	}
	c := &chunk{blocks: make([]chunkBlock, blocks), hashes: make([]idHash, 0, chunkIDs)}
	before := chunkBlock{}
	for i := range c.blocks {
		var n [3]uint64
		for j := range n {
			v, used := binary.Uvarint(rest)
			if used <= 0 {
				return nil, fmt.Errorf("command ids: block %d of %d is cut: %w", i, blocks, event.ErrDecode)
			}
			n[j], rest = v, rest[used:]
		}
		if n[0] == 0 || before.sequence+n[0] < n[0] || n[2] == 0 || n[2] > chunkIDs-uint64(before.end) {
			return nil, fmt.Errorf("command ids: block %d of %d: %w", i, blocks, event.ErrDecode)
		}
		before = chunkBlock{sequence: before.sequence + n[0], at: before.at + event.Time(n[1]), end: before.end + uint32(n[2])}
		c.blocks[i] = before
	}
	if before.at != newest || len(rest) != len(idHash{})*int(before.end) {
		return nil, fmt.Errorf("%d command ids in %d bytes: %w", before.end, len(rest), event.ErrDecode)
	}
	for ; len(rest) > 0; rest = rest[len(idHash{}):] {
		c.hashes = append(c.hashes, idHash(rest[:len(idHash{})]))
	}
	return c, nil
}

// chunkHead reads the time of the newest block and the number of blocks of an encoded chunk.
func chunkHead(b []byte) (newest event.Time, blocks uint64, rest []byte, err error) {
	if len(b) < 9 {
		return 0, 0, nil, fmt.Errorf("command ids of %d bytes: %w", len(b), event.ErrDecode)
	}
	blocks, n := binary.Uvarint(b[8:])
	if n <= 0 || blocks == 0 || blocks > chunkIDs {
		return 0, 0, nil, fmt.Errorf("command ids of %d blocks: %w", blocks, event.ErrDecode)
	}
	return event.Time(binary.BigEndian.Uint64(b)), blocks, b[8+n:], nil
}

// idHash is the hash of a command id, under a key that nobody else knows: two ids of a log never have the same one.
type idHash [16]byte

// hasher makes them. It is the same for every state of a log that has the same key.
type hasher struct{ key [sha256.Size]byte }

func newHasher(key []byte, log string) hasher {
	return hasher{sha256.Sum256(append([]byte("eventful command ids\x00"+log+"\x00"), key...))}
}

func (h *hasher) hash(commandID string) idHash {
	var b [sha256.Size + event.MaxCommandIDLen]byte
	n := copy(b[:], h.key[:])
	sum := sha256.Sum256(append(b[:n], commandID...))
	return idHash(sum[:len(idHash{})])
}
