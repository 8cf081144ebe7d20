package projector

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// The keys of an index. Names and ids hold no zero byte, so a zero byte ends them, and keys stand in the order of type, id, version. A record
// holds commits of one aggregate that came one after the other; where it lies is the value, or the end of it.
//
//	a type 0 id 0 u64 version    record of the commits from that version on
//	b u64 sequence               ids of the blocks that counted, from that sequence on: distance (uvarint) and id, for each
//	c type 0 id                  as n, of an aggregate that is archived; it has neither n, a nor f (tier.go)
//	d type 0 id                  what is to be done about the tier of an aggregate (settle.go); nothing where it is done
//	f type 0 field 0 hash id     1 where the field has a value with that hash now; nothing where it had it once. The hash has 6 bytes
//	h start of a leaf hash       sequence, index of its commit, and of the event in it (uvarints)
//	n type 0 id                  record that ends with the newest commit, and the state behind it (state.go)
//	o u64 sequence               time of the block (big-endian); of each of its commits record and first version (uvarint). A record of no bytes, or one that was given up: the
//	                             commit is read from the log
//	p kind hash sequence         commits that name something with that hash (6 bytes), from that sequence on: distance and index (uvarints), for each.
//	                             The sequence: number of its bytes, and they
//	w u8 level u64 index         hashes of the log tree at a level of tiles, from that index on, to the end of its tile at most (tree.go)
//	x record                     the record was given up (indexstore.FreedKey)
const (
	keyCommit  = 'a'
	keyBlock   = 'b'
	keyCold    = 'c'
	keyDue     = 'd'
	keyField   = 'f'
	keyHash    = 'h'
	keyNewest  = 'n'
	keyOrder   = 'o'
	keyPosting = 'p'
	keyTree    = 'w'
	keyFreed   = 'x'
)

// What commits are found by, as it stands in keys.
const (
	byActor       = 'a'
	byCause       = 'c' // what caused them, as they name it
	byCommand     = 'd'
	byCorrelation = 'r'
	byEvent       = 't' // type of one of their events
)

// hashBytes is how much of a leaf hash stands in its key. Salts are random, so that no two events ever agree in so much.
const hashBytes = 12

// contentVersion is the version of this layout; another one is dropped and rebuilt.
const contentVersion = 8

func identity(site, log string) string {
	return fmt.Sprintf("%s/%s/index/%d", site, log, contentVersion)
}

func blockKey(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyBlock}, sequence)
}

// maxName is what an aggregate's name takes besides its type and id, with everything that stands around it in a key or value.
const maxName = 1 + 1 + 1 + 8

func appendName(b []byte, a event.AggregateID) []byte {
	b = append(b, a.Type...)
	b = append(b, 0)
	return append(b, a.ID...)
}

// named begins a key with room for the rest of it.
func named(kind byte, a event.AggregateID) []byte {
	return appendName(append(make([]byte, 0, len(a.Type)+len(a.ID)+maxName), kind), a)
}

func commitPrefix(a event.AggregateID) []byte { return append(named(keyCommit, a), 0) }

func commitKey(a event.AggregateID, first event.Version) []byte {
	return binary.BigEndian.AppendUint64(commitPrefix(a), uint64(first))
}

func newestKey(a event.AggregateID) []byte { return named(keyNewest, a) }

func coldKey(a event.AggregateID) []byte { return named(keyCold, a) }

// typePrefix begins the keys of one kind of a type's aggregates; afterType lies behind all of them.
func typePrefix(kind byte, aggregateType string) []byte {
	return append(append([]byte{kind}, aggregateType...), 0)
}

func afterType(kind byte, aggregateType string) []byte {
	return append(append([]byte{kind}, aggregateType...), 1)
}

func aggregateOf(newestKey []byte) event.AggregateID {
	t, id, _ := strings.Cut(string(newestKey[1:]), "\x00")
	return event.AggregateID{Type: t, ID: id}
}

// lookedUp are the keys of newest commits and of archived aggregates: they are asked for one by one.
func lookedUp(key []byte) bool { return key[0] == keyNewest || key[0] == keyCold }

func appendHash48(b []byte, hash uint64) []byte {
	return append(b, byte(hash>>40), byte(hash>>32), byte(hash>>24), byte(hash>>16), byte(hash>>8), byte(hash))
}

// hashLen is what appendHash48 takes.
const hashLen = 6

// fieldPrefix begins the keys of the aggregates of a type whose field has a value with a hash.
func fieldPrefix(aggregateType, field string, hash uint64) []byte {
	b := append(append([]byte{keyField}, aggregateType...), 0)
	return appendHash48(append(append(b, field...), 0), hash)
}

func orderKey(sequence uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyOrder}, sequence)
}

func postingPrefix(kind byte, hash uint64) []byte { return appendPosting(nil, kind, hash) }

func appendPosting(b []byte, kind byte, hash uint64) []byte {
	return appendHash48(append(b, keyPosting, kind), hash)
}

// appendOrdered appends a number so that the order of the bytes is that of the numbers.
func appendOrdered(b []byte, n uint64) []byte {
	length := (bits.Len64(n) + 7) / 8
	b = append(b, byte(length))
	for i := length - 1; i >= 0; i-- {
		b = append(b, byte(n>>(8*i)))
	}
	return b
}

// parseOrdered is the inverse of appendOrdered.
func parseOrdered(b []byte) (n uint64, err error) {
	if len(b) == 0 || int(b[0]) != len(b)-1 || b[0] > 8 {
		return 0, fmt.Errorf("key of a posting: %w", errContent)
	}
	for _, c := range b[1:] {
		n = n<<8 | uint64(c)
	}
	return n, nil
}

// blockOf finds the id of the block at a sequence in an entry of blocks.
func blockOf(key, value []byte, sequence uint64) (id event.ID16, found bool, err error) {
	err = eachBlock(key, value, func(at uint64, of event.ID16) bool {
		if at == sequence {
			id, found = of, true
		}
		return !found
	})
	return id, found, err
}

// eachBlock goes through an entry of blocks until fn gives false.
func eachBlock(key, value []byte, fn func(uint64, event.ID16) bool) error {
	if len(key) != 9 {
		return fmt.Errorf("key of block ids has %d bytes: %w", len(key), errContent)
	}
	first := binary.BigEndian.Uint64(key[1:])
	for len(value) > 0 {
		distance, n := binary.Uvarint(value)
		if n <= 0 || len(value)-n < len(event.ID16{}) {
			return fmt.Errorf("entry of block ids is cut: %w", errContent)
		}
		if !fn(first+distance, event.ID16(value[n:n+len(event.ID16{})])) {
			return nil
		}
		value = value[n+len(event.ID16{}):]
	}
	return nil
}

const linkBytes = 8 + 4 + 16

func appendLink(b []byte, l event.Link) []byte {
	b = binary.BigEndian.AppendUint64(b, l.Sequence)
	b = binary.BigEndian.AppendUint32(b, l.Index)
	return append(b, l.Block[:]...)
}

// cutLink reads a link and gives what lies behind it.
func cutLink(b []byte) (l event.Link, rest []byte, err error) {
	if len(b) < linkBytes {
		return l, nil, fmt.Errorf("index entry has %d bytes: %w", len(b), errContent)
	}
	l.Sequence, l.Index = binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	copy(l.Block[:], b[12:])
	return l, b[linkBytes:], nil
}

// place is where an index stands in its log.
type place struct {
	chain   event.Chain
	counted uint64 // sequence of the last block that counted; 0: none
}

func (p *place) encode() []byte {
	return p.chain.AppendBinary(binary.BigEndian.AppendUint64(nil, p.counted))
}

func parsePlace(b []byte) (p place, err error) {
	if len(b) < 8 {
		return p, fmt.Errorf("position has %d bytes: %w", len(b), errContent)
	}
	p.counted = binary.BigEndian.Uint64(b)
	if p.chain, err = event.ChainFromBinary(b[8:]); err != nil {
		return p, fmt.Errorf("position: %w: %w", err, errContent)
	}
	return p, nil
}
