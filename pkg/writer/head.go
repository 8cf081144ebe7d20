package writer

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
)

// head is what the writer knows of an aggregate: its newest version, where the commit with it lies, and the frontier of its tree.
type head struct {
	version event.Version
	deleted bool
	cold    bool // it is archived: nothing is stored of it
	link    event.Link
	tree    event.Tree
	held    map[string]string // values of unique fields, by field; nil where the type has none
}

func (h head) rules() aggregate.Head { return aggregate.Head{Version: h.version, Deleted: h.deleted} }

const headFixed = 8 + 1 + 8 + 4 + 16

// size is about the number of bytes that encode gives, and not less.
func (h head) size() int {
	n := headFixed + 10 + 8 + 32*bits.OnesCount64(uint64(h.version))
	for f, v := range h.held {
		n += 20 + len(f) + len(v)
	}
	return n
}

func (h head) encode() []byte {
	b := make([]byte, 0, h.size())
	b = binary.BigEndian.AppendUint64(b, uint64(h.version))
	b = append(b, h.flags())
	b = binary.BigEndian.AppendUint64(b, h.link.Sequence)
	b = binary.BigEndian.AppendUint32(b, h.link.Index)
	b = append(b, h.link.Block[:]...)
	b = binary.AppendUvarint(b, uint64(len(h.held)))
	if len(h.held) > 0 { // most types have none, and sorting nothing is not free
		for _, f := range slices.Sorted(maps.Keys(h.held)) {
			b = appendText(appendText(b, f), h.held[f])
		}
	}
	return h.tree.AppendBinary(b)
}

// Flags of an encoded head.
const (
	headDeleted = 1
	headCold    = 2
)

func (h head) flags() (f byte) {
	if h.deleted {
		f |= headDeleted
	}
	if h.cold {
		f |= headCold
	}
	return f
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
	h.version, h.deleted, h.cold = event.Version(binary.BigEndian.Uint64(b)), b[8]&headDeleted != 0, b[8]&headCold != 0
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
