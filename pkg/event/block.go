package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Limits of a block that is not one larger transaction (section 7).
const (
	MaxBlockCommits = 512
	MaxBlockBytes   = 1 << 16
)

const (
	blockMagic    = "EVB"
	formatVersion = 1
	recordHead    = 8 + 4 + 16
	headerLen     = 4 + 16 + 16 + 8 + 8 + 16 + 8 + 32 + 8 + 4
)

// Size is the number of bytes that the record takes in a block's records.
func (r *Record) Size() int { return recordHead + len(r.Raw) }

// Encode gives the bytes of the block. Records are taken as they are: whoever made them encoded them.
func (b *Block) Encode() []byte {
	size := headerLen
	for i := range b.Records {
		size += 4 + b.Records[i].Size()
	}
	out := make([]byte, 0, size)
	out = append(out, blockMagic...)
	out = append(out, formatVersion)
	out = append(out, b.ID[:]...)
	out = append(out, b.Previous[:]...)
	out = binary.BigEndian.AppendUint64(out, b.Epoch)
	out = binary.BigEndian.AppendUint64(out, b.System.Sequence)
	out = append(out, b.System.Block[:]...)
	out = binary.BigEndian.AppendUint64(out, b.TreeSize)
	out = append(out, b.TreeRoot[:]...)
	out = appendTime(out, b.Time)
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Records)))
	end := 0
	for i := range b.Records {
		end += b.Records[i].Size()
		out = binary.BigEndian.AppendUint32(out, uint32(end))
	}
	for i := range b.Records {
		r := &b.Records[i]
		out = binary.BigEndian.AppendUint64(out, r.Prev.Sequence)
		out = binary.BigEndian.AppendUint32(out, r.Prev.Index)
		out = append(out, r.Prev.Block[:]...)
		out = append(out, r.Raw...)
	}
	return out
}

// DecodeHeader reads a block's header and checks that its table and records have the stated length; the commits stay unread.
// The error wraps ErrNewerFormat or ErrDecode. The block's records share raw's memory.
func DecodeHeader(raw []byte) (*Block, error) {
	if !bytes.HasPrefix(raw, []byte(blockMagic)) || len(raw) < 4 {
		return nil, fmt.Errorf("block: no %q at its start: %w", blockMagic, ErrDecode)
	}
	if v := raw[3]; v > formatVersion {
		return nil, fmt.Errorf("block: format version %d, this program knows up to %d: %w", v, formatVersion, ErrNewerFormat)
	} else if v != formatVersion {
		return nil, fmt.Errorf("block: format version %d does not exist: %w", v, ErrDecode)
	}
	r := &reader{in: raw, pos: 4}
	b := &Block{Header: Header{ID: r.id16("block id"), Previous: r.id16("previous block id"), Epoch: r.u64("epoch")}}
	b.System = SystemPosition{Sequence: r.u64("system sequence"), Block: r.id16("system block")}
	b.TreeSize, b.TreeRoot, b.Time = r.u64("tree size"), r.hash("tree root"), r.time("writer time")
	n := r.u32("number of commits")
	table := r.take(4*uint64(n), "table of offsets")
	last := uint32(0)
	for i := 0; i < len(table) && r.err == nil; i += 4 {
		end := binary.BigEndian.Uint32(table[i:])
		if end < last+recordHead || end < last {
			r.fail("offset %d: %d does not ascend by a record", i/4, end)
			break
		}
		b.Records = append(b.Records, decodeRecord(r, uint64(end-last)))
		last = end
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	if b.ID.IsZero() {
		return nil, fmt.Errorf("block: its id is zero: %w", ErrDecode)
	}
	return b, nil
}

func decodeRecord(r *reader, size uint64) Record {
	prev := Link{Sequence: r.u64("link"), Index: r.u32("link"), Block: r.id16("link")}
	return Record{Prev: prev, Raw: r.take(size-recordHead, "commit")}
}

// DecodeBlock reads a block with all its commits and holds the rules inside a block. sequence is that of its message, for
// the links of an aggregate that occurs twice. The error wraps ErrNewerFormat or ErrDecode.
func DecodeBlock(raw []byte, sequence uint64) (*Block, []*Commit, error) {
	b, err := DecodeHeader(raw)
	if err != nil {
		return nil, nil, err
	}
	commits := make([]*Commit, len(b.Records))
	for i := range b.Records {
		if commits[i], err = DecodeCommit(b.Records[i].Raw); err != nil {
			return nil, nil, fmt.Errorf("block %s, commit %d: %w", b.ID, i, err)
		}
	}
	if err := b.check(commits, sequence); err != nil {
		return nil, nil, fmt.Errorf("block %s: %w: %w", b.ID, err, ErrDecode)
	}
	return b, commits, nil
}

func (b *Block) check(commits []*Commit, sequence uint64) error {
	seen := make(map[AggregateID]int, len(commits))
	for i, c := range commits {
		if c.Time != b.Time {
			return fmt.Errorf("commit %d has the time %d, its block %d", i, c.Time, b.Time)
		}
		if err := checkTransaction(commits, i); err != nil {
			return err
		}
		prev := b.Records[i].Prev
		if at, twice := seen[c.Aggregate]; twice && prev != (Link{Sequence: sequence, Index: uint32(at), Block: b.ID}) {
			return fmt.Errorf("commit %d of %s does not link to commit %d of the same block", i, c.Aggregate, at)
		} else if !twice && c.First == 1 && prev != (Link{}) {
			return fmt.Errorf("commit %d is the first of %s and has a link", i, c.Aggregate)
		} else if !twice && c.First != 1 && (prev.Sequence == 0 || prev.Sequence >= sequence || prev.Block.IsZero()) {
			return fmt.Errorf("commit %d of %s at version %d links to no earlier block", i, c.Aggregate, c.First)
		}
		seen[c.Aggregate] = i
	}
	return nil
}

// checkTransaction holds that a transaction lies whole and in order inside its block.
func checkTransaction(commits []*Commit, i int) error {
	t := commits[i].Transaction
	if t.Index > 0 && (i == 0 || commits[i-1].Transaction != (Transaction{ID: t.ID, Index: t.Index - 1, Count: t.Count})) {
		return fmt.Errorf("commit %d: transaction %s does not follow on", i, t.ID)
	}
	if t.Index+1 < t.Count && (i+1 == len(commits) || commits[i+1].Transaction.ID != t.ID) {
		return fmt.Errorf("commit %d: transaction %s is cut", i, t.ID)
	}
	return nil
}
