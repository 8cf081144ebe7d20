package writer

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
)

// head is what the writer knows of an aggregate: its newest version, where the commit with it lies, and the frontier of its tree.
type head struct {
	version event.Version
	deleted bool
	link    event.Link
	tree    event.Tree
	held    map[string]string // values of unique fields, by field; nil where the type has none
}

func (h head) rules() aggregate.Head { return aggregate.Head{Version: h.version, Deleted: h.deleted} }

const headFixed = 8 + 1 + 8 + 4 + 16

func (h head) encode() []byte {
	b := make([]byte, 0, headFixed+8+32*4)
	b = binary.BigEndian.AppendUint64(b, uint64(h.version))
	if h.deleted {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.BigEndian.AppendUint64(b, h.link.Sequence)
	b = binary.BigEndian.AppendUint32(b, h.link.Index)
	b = append(b, h.link.Block[:]...)
	b = binary.AppendUvarint(b, uint64(len(h.held)))
	for _, f := range slices.Sorted(maps.Keys(h.held)) {
		b = appendText(appendText(b, f), h.held[f])
	}
	return h.tree.AppendBinary(b)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// takeText reads what appendText wrote, and gives what is behind it.
func takeText(b []byte) (s string, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil, fmt.Errorf("head is cut: %w", event.ErrDecode)
	}
	return string(b[used : used+int(n)]), b[used+int(n):], nil
}

func takeHeld(b []byte) (held map[string]string, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > event.MaxFields {
		return nil, nil, fmt.Errorf("head is cut: %w", event.ErrDecode)
	}
	rest = b[used:]
	for range n {
		var f, v string
		if f, rest, err = takeText(rest); err != nil {
			return nil, nil, err
		}
		if v, rest, err = takeText(rest); err != nil {
			return nil, nil, err
		}
		if held == nil {
			held = make(map[string]string, n)
		}
		held[f] = v
	}
	return held, rest, nil
}

func decodeHead(b []byte) (h head, err error) {
	if len(b) < headFixed {
		return h, fmt.Errorf("head of %d bytes: %w", len(b), event.ErrDecode)
	}
	h.version, h.deleted = event.Version(binary.BigEndian.Uint64(b)), b[8] == 1
	h.link = event.Link{Sequence: binary.BigEndian.Uint64(b[9:]), Index: binary.BigEndian.Uint32(b[17:])}
	copy(h.link.Block[:], b[21:37])
	held, rest, err := takeHeld(b[headFixed:])
	if err != nil {
		return h, err
	}
	h.held = held
	h.tree, err = event.TreeFromBinary(rest)
	if err == nil && h.tree.Size() != uint64(h.version) {
		err = fmt.Errorf("head at version %d with a tree of %d leaves: %w", h.version, h.tree.Size(), event.ErrDecode)
	}
	return h, err
}

// accepted is what is kept of an accepted command while it is in the window: enough to find its first answer in the log, and to know when it leaves.
type accepted struct {
	digest   event.Hash
	sequence uint64
	block    event.ID16
	ordinal  uint64     // counts the accepted commands of the log
	at       event.Time // block time
}

const acceptedLen = 32 + 8 + 16 + 8 + 8

func (a accepted) encode() []byte {
	b := append(make([]byte, 0, acceptedLen), a.digest[:]...)
	b = binary.BigEndian.AppendUint64(b, a.sequence)
	b = append(b, a.block[:]...)
	b = binary.BigEndian.AppendUint64(b, a.ordinal)
	return binary.BigEndian.AppendUint64(b, uint64(a.at))
}

func decodeAccepted(b []byte) (a accepted, err error) {
	if len(b) != acceptedLen {
		return a, fmt.Errorf("accepted command of %d bytes: %w", len(b), event.ErrDecode)
	}
	copy(a.digest[:], b)
	a.sequence = binary.BigEndian.Uint64(b[32:])
	copy(a.block[:], b[40:])
	a.ordinal, a.at = binary.BigEndian.Uint64(b[56:]), event.Time(binary.BigEndian.Uint64(b[64:]))
	return a, nil
}
