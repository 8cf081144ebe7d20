package event

import (
	"encoding/binary"
	"errors"
	"math"
)

// Standing is what a message of a log counts as (section 7, "Which blocks count"). The numbers are written out because they are stored.
type Standing int

const (
	Counts  Standing = 1 // a block that continues the last one
	Void    Standing = 2 // a well-formed block that does not: its commits never happened
	Damaged Standing = 3 // no well-formed block
	Newer   Standing = 4 // a format version that this program does not know: the reader must stop
)

// String is the word for messages.
func (s Standing) String() string {
	return [...]string{"unknown", "block", "void", "damage", "newer format"}[s]
}

// Chain keeps what a reader must know of the last block that counted. The zero value stands before the first block.
type Chain struct {
	Sequence uint64 // of the last message looked at
	Block    ID16   // the last block that counted
	At       uint64 // its sequence; 0 before the first
	Epoch    uint64
	TreeSize uint64
	Time     Time
	started  bool
	resync   bool // behind damage: the next well-formed block is taken as it stands
}

// ChainAt is the chain behind a block that counted, as a saved position restores it.
func ChainAt(sequence uint64, h Header) Chain {
	return Chain{Sequence: sequence, Block: h.ID, At: sequence, Epoch: h.Epoch, TreeSize: h.TreeSize, Time: h.Time, started: true}
}

// AppendBinary appends the chain's own form for local stores; it is no part of the log format.
func (c Chain) AppendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, c.Sequence)
	b = append(b, c.Block[:]...)
	b = binary.BigEndian.AppendUint64(b, c.At)
	b = binary.BigEndian.AppendUint64(b, c.Epoch)
	b = binary.BigEndian.AppendUint64(b, c.TreeSize)
	b = appendTime(b, c.Time)
	return append(b, flag(c.started), flag(c.resync))
}

// ChainFromBinary is the inverse of AppendBinary.
func ChainFromBinary(b []byte) (Chain, error) {
	r := &reader{in: b}
	c := Chain{Sequence: r.u64("sequence"), Block: r.id16("block"), At: r.u64("block's sequence"), Epoch: r.u64("epoch"), TreeSize: r.u64("tree size"), Time: r.time("time")}
	c.started, c.resync = r.flag("started"), r.flag("resync")
	return c, r.end()
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// Next judges the message at sequence, which must be above that of the last message. Missing is true if sequence numbers from 1 on were
// missing before it, which is damage of its own, once for each. For Counts and Void the block and its commits are given, for Damaged and
// Newer the error; behind Newer the reader must stop.
func (c *Chain) Next(sequence uint64, raw []byte) (v Verdict) {
	v.Missing = sequence != c.Sequence+1
	c.resync = c.resync || v.Missing
	c.Sequence = sequence
	v.Block, v.Commits, v.Err = DecodeBlock(raw, sequence)
	switch {
	case errors.Is(v.Err, ErrNewerFormat):
		v.Standing = Newer
	case v.Err != nil:
		v.Standing = Damaged
		c.resync = true
	case c.resync || c.continues(v.Block, events(v.Commits)):
		v.Standing = Counts
		*c = ChainAt(sequence, v.Block.Header)
	default:
		v.Standing = Void
	}
	return v
}

// Verdict is what Chain.Next found.
type Verdict struct {
	Standing Standing
	Missing  bool
	Block    *Block
	Commits  []*Commit
	Err      error
}

func (c *Chain) continues(b *Block, events uint64) bool {
	if !c.started {
		return b.Previous.IsZero() && b.TreeSize == events && b.Time > math.MinInt64
	}
	grown := b.TreeSize >= c.TreeSize && b.TreeSize-c.TreeSize == events // a sum could go round 2^64
	return b.Previous == c.Block && grown && b.Epoch >= c.Epoch && b.Time > c.Time
}

func events(commits []*Commit) (n uint64) {
	for _, c := range commits {
		n += uint64(len(c.Events))
	}
	return n
}
