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
	b.Records = decodeRecords(r, r.take(4*uint64(r.u32("number of commits")), "table of offsets"))
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	if b.ID.IsZero() {
		return nil, fmt.Errorf("block: its id is zero: %w", ErrDecode)
	}
	if (b.System.Sequence == 0) != b.System.Block.IsZero() {
		return nil, fmt.Errorf("block %s: system position %d, %s is zero in one part only: %w", b.ID, b.System.Sequence, b.System.Block, ErrDecode)
	}
	return b, nil
}

// decodeRecords reads the records that a table of end offsets cuts.
func decodeRecords(r *reader, table []byte) []Record {
	records := make([]Record, 0, len(table)/4)
	last := uint32(0)
	for i := 0; i < len(table) && r.err == nil; i += 4 {
		end := binary.BigEndian.Uint32(table[i:])
		if end < last || end-last < recordHead {
			r.fail("offset %d: %d does not ascend by a record", i/4, end)
			break
		}
		records = append(records, decodeRecord(r, uint64(end-last)))
		last = end
	}
	return records
}

func decodeRecord(r *reader, size uint64) Record {
	prev := Link{Sequence: r.u64("link"), Index: r.u32("link"), Block: r.id16("link")}
	return Record{Prev: prev, Raw: r.take(size-recordHead, "commit")}
}

// DecodeBlock reads a block with all its commits and holds the rules inside a block: what it gives is well-formed (section 7). sequence is
// that of its message, for the links. The error wraps ErrNewerFormat or ErrDecode.
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

// check holds the rules inside a block.
func (b *Block) check(commits []*Commit, sequence uint64) error {
	for i, c := range commits {
		if c.Time != b.Time {
			return fmt.Errorf("commit %d has the time %d, its block %d", i, c.Time, b.Time)
		}
	}
	if err := checkTransactions(commits); err != nil {
		return err
	}
	return b.checkLinks(commits, sequence)
}

// checkTransactions holds that each transaction lies whole and in order inside its block.
func checkTransactions(commits []*Commit) error {
	var open Transaction // the one whose commits are being passed; Index is the one wanted next, 0 if none is open
	for i, c := range commits {
		if open.Index == 0 {
			open = Transaction{ID: c.Transaction.ID, Count: c.Transaction.Count}
		}
		if c.Transaction != open {
			return fmt.Errorf("commit %d is number %d of transaction %s, number %d of %s is due", i, c.Transaction.Index, c.Transaction.ID, open.Index, open.ID)
		}
		if open.Index++; open.Index == open.Count {
			open.Index = 0
		}
	}
	if open.Index != 0 {
		return fmt.Errorf("transaction %s is cut behind its commit %d", open.ID, open.Index-1)
	}
	return nil
}

// origin names an aggregate among all sites and branches (section 6).
type origin struct {
	AggregateID
	site   string
	branch uint64
}

// checkLinks holds what a link can be without knowing other blocks.
func (b *Block) checkLinks(commits []*Commit, sequence uint64) error {
	seen := make(map[origin]uint32, len(commits))
	for i, c := range commits {
		prev := b.Records[i].Prev
		name := origin{c.Aggregate, c.Site, c.Branch}
		at, twice := seen[name]
		switch {
		case c.First == 1 && prev != Link{}:
			return fmt.Errorf("commit %d is the first of %s and has a link", i, c.Aggregate)
		case c.First != 1 && (prev.Sequence == 0 || prev.Block.IsZero()):
			return fmt.Errorf("commit %d of %s at version %d has no link", i, c.Aggregate, c.First)
		case twice && prev != Link{Sequence: sequence, Index: at, Block: b.ID}:
			return fmt.Errorf("commit %d of %s does not link to commit %d of the same block", i, c.Aggregate, at)
		case !twice && prev.Sequence >= sequence:
			return fmt.Errorf("commit %d of %s links to %d, which is not before %d", i, c.Aggregate, prev.Sequence, sequence)
		}
		seen[name] = uint32(i)
	}
	return nil
}
