package projector

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// The keys of an index. Names and ids hold no zero byte, so a zero byte ends them, and keys stand in the order of type, id, version.
//
//	p                            the chain behind the last message, and the sequence of the last block that counted
//	b u64 sequence               block id, of every block that counted
//	c type 0 id 0 u64 version    position and bytes of the commit that begins at that version
//	a type 0 id                  summary of the aggregate
//	h leaf hash                  type 0 id 0 u64 version
const (
	keyPosition  = 'p'
	keyBlock     = 'b'
	keyCommit    = 'c'
	keyAggregate = 'a'
	keyHash      = 'h'
)

// contentVersion is the version of this layout; another one is dropped and rebuilt.
const contentVersion = 1

var positionKey = []byte{keyPosition}

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

func firstOf(commitKey []byte) event.Version {
	return event.Version(binary.BigEndian.Uint64(commitKey[len(commitKey)-8:]))
}

func aggregateKey(a event.AggregateID) []byte { return named(keyAggregate, a) }

// typePrefix begins the summaries of one type; afterType lies behind all of them.
func typePrefix(aggregateType string) []byte {
	return append(append([]byte{keyAggregate}, aggregateType...), 0)
}

func afterType(aggregateType string) []byte {
	return append(append([]byte{keyAggregate}, aggregateType...), 1)
}

func aggregateOf(aggregateKey []byte) event.AggregateID {
	t, id, _ := strings.Cut(string(aggregateKey[1:]), "\x00")
	return event.AggregateID{Type: t, ID: id}
}

func hashKey(h event.Hash) []byte { return append([]byte{keyHash}, h[:]...) }

func hashValue(a event.AggregateID, v event.Version) []byte {
	b := appendName(make([]byte, 0, len(a.Type)+len(a.ID)+maxName), a)
	return binary.BigEndian.AppendUint64(append(b, 0), uint64(v))
}

func parseHashValue(b []byte) (a event.AggregateID, v event.Version, err error) {
	if len(b) < 9 {
		return a, 0, fmt.Errorf("index entry of a hash has %d bytes: %w", len(b), errContent)
	}
	t, id, _ := strings.Cut(string(b[:len(b)-9]), "\x00")
	return event.AggregateID{Type: t, ID: id}, event.Version(binary.BigEndian.Uint64(b[len(b)-8:])), nil
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

// summary is what the index keeps of an aggregate besides its commits.
type summary struct {
	version event.Version
	root    event.Hash
	at      event.Link
	time    event.Time
	schema  event.Hash // of the newest event
	event   string     // type of the newest event
}

const summaryBytes = 8 + 32 + linkBytes + 8 + 32

func summaryOf(c *event.Commit, at event.Link) summary {
	newest := &c.Events[len(c.Events)-1]
	return summary{version: c.Last(), root: c.Root, at: at, time: c.Time, schema: newest.SchemaDigest, event: newest.Type}
}

func (s *summary) encode() []byte {
	b := make([]byte, 0, summaryBytes+len(s.event))
	b = binary.BigEndian.AppendUint64(b, uint64(s.version))
	b = append(b, s.root[:]...)
	b = appendLink(b, s.at)
	b = binary.BigEndian.AppendUint64(b, uint64(s.time))
	b = append(b, s.schema[:]...)
	return append(b, s.event...)
}

func parseSummary(b []byte) (s summary, err error) {
	if len(b) < summaryBytes {
		return s, fmt.Errorf("summary has %d bytes: %w", len(b), errContent)
	}
	s.version = event.Version(binary.BigEndian.Uint64(b))
	copy(s.root[:], b[8:])
	s.at, b, err = cutLink(b[40:])
	s.time = event.Time(binary.BigEndian.Uint64(b))
	copy(s.schema[:], b[8:])
	s.event = string(b[40:])
	return s, err
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
