package verify

import (
	"encoding/binary"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
)

// salvage goes on with the commits of a damaged message that can still be read, so that one bad byte fails one aggregate and not all
// of its block, and names the aggregates of those that cannot.
func (s *scan) salvage(sequence uint64, raw []byte) {
	s.gaps = append(s.gaps, stretch{sequence, sequence})
	b, err := event.DecodeHeader(raw)
	if err != nil || b.Previous != s.last {
		s.treeLost = true
		return
	}
	whole := true
	var commits []*event.Commit
	for i := range b.Records {
		c, err := event.DecodeCommit(b.Records[i].Raw)
		if err != nil {
			whole = false
			s.broken(sequence, i, b.Records[i].Raw, err)
			continue
		}
		commits = append(commits, c)
		s.commit(event.Link{Sequence: sequence, Index: uint32(i), Block: b.ID}, b.Records[i].Prev, c, c.Leaves())
	}
	s.last = b.ID
	if !whole {
		s.treeLost = true
		return
	}
	var leaves []event.Hash
	for _, c := range commits {
		leaves = append(leaves, c.Leaves()...)
	}
	s.logTree(sequence, b, leaves)
}

// broken names the aggregate of a commit that does not decode, if its head still says so and fits what is known of that aggregate.
func (s *scan) broken(sequence uint64, index int, raw []byte, cause error) {
	a, first, ok := peek(raw)
	if !ok || a.Check() != nil {
		return // a later commit that links to it names the aggregate
	}
	h := s.heads.find(a)
	if h == nil && first == 1 {
		h, _ = s.heads.make(a) // nil: another time
	}
	if h == nil || first != h.last+1 {
		return
	}
	s.fail(h, a, Unreadable, first, sequence, fmt.Sprintf("commit %d of message %d, from version %d on, cannot be read: %v", index, sequence, first, cause))
}

// peek reads aggregate and first version of a commit (docs/spec/log.md, section 6) without asking that the rest be sound.
func peek(raw []byte) (a event.AggregateID, first event.Version, ok bool) {
	p := peeker{rest: raw, ok: true}
	p.skip(1 + 16)
	p.str()
	p.uv()
	p.str()
	p.skip(32)
	a = event.AggregateID{Type: p.str(), ID: p.str()}
	first = event.Version(p.uv())
	return a, first, p.ok
}

type peeker struct {
	rest []byte
	ok   bool
}

func (p *peeker) skip(n uint64) []byte {
	if n > uint64(len(p.rest)) {
		p.rest, p.ok = nil, false
		return nil
	}
	out := p.rest[:n]
	p.rest = p.rest[n:]
	return out
}

func (p *peeker) uv() uint64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 {
		p.rest, p.ok = nil, false
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *peeker) str() string { return string(p.skip(p.uv())) }
