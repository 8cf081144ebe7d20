package projector

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Records of a tier (docs/spec/commands.md, section 15).
const (
	eventCold = "aggregate-archived"
	eventWarm = "aggregate-restored"
	eventCool = "events-cooled"
)

// coldPart is that an aggregate's commits up to a version lie in the log alone: they left the hot tier (docs/adr/0014-hot-tier.md).
type coldPart struct {
	version event.Version
	at      event.Link // of the commit that ends with it
	root    event.Hash // of the aggregate then; of a partial state it is not known
}

// append appends version, sequence, index (uvarints) and block; and the root, which partial states lack.
func (c *coldPart) append(b []byte, rooted bool) []byte {
	b = binary.AppendUvarint(b, uint64(c.version))
	b = binary.AppendUvarint(b, c.at.Sequence)
	b = binary.AppendUvarint(b, uint64(c.at.Index))
	b = append(b, c.at.Block[:]...)
	if !rooted {
		return b
	}
	return append(b, c.root[:]...)
}

func cutCold(b []byte, rooted bool) (c *coldPart, rest []byte, err error) {
	var numbers [3]uint64
	for i := range numbers {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, nil, fmt.Errorf("state of an aggregate: what lies in the log: %w", errContent)
		}
		numbers[i], b = v, b[n:]
	}
	c = &coldPart{version: event.Version(numbers[0]), at: event.Link{Sequence: numbers[1], Index: uint32(numbers[2])}}
	if len(b) < len(c.at.Block) || rooted && len(b) < len(c.at.Block)+len(c.root) || c.version == 0 || numbers[2] > 1<<32-1 {
		return nil, nil, fmt.Errorf("state of an aggregate: what lies in the log is cut: %w", errContent)
	}
	b = b[copy(c.at.Block[:], b):]
	if rooted {
		b = b[copy(c.root[:], b):]
	}
	return c, b, nil
}

// gone reports whether all commits of an aggregate lie in the log alone.
func (s *state) gone() bool { return s.cold != nil && s.cold.version == s.version }

// tierInfo is since when an aggregate is archived, and why; the zero value: it is not.
type tierInfo struct {
	since   event.Time
	comment string
}

func (t *tierInfo) archived() bool { return t.since != 0 }

func (t *tierInfo) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.since))
	return append(binary.AppendUvarint(b, uint64(len(t.comment))), t.comment...)
}

func cutTier(b []byte) (t tierInfo, rest []byte, err error) {
	if len(b) < 8 {
		return t, nil, fmt.Errorf("tier of an aggregate is cut: %w", errContent)
	}
	t.since = event.Time(binary.BigEndian.Uint64(b))
	comment, rest, ok := cutText(b[8:])
	if !ok || t.since == 0 {
		return t, nil, fmt.Errorf("tier of an aggregate is cut: %w", errContent)
	}
	t.comment = string(comment)
	return t, rest, nil
}

// tierOf gives what a commit says of an aggregate's tier; false: nothing.
func tierOf(c *event.Commit) (a event.AggregateID, t tierInfo, found bool) {
	newest := &c.Events[len(c.Events)-1]
	if c.Aggregate.Type != schema.SystemTier || newest.Type != eventCold && newest.Type != eventWarm {
		return a, t, false
	}
	fields, err := event.DecodePayload(newest.Payload)
	if err != nil {
		return a, t, false
	}
	for _, f := range fields {
		switch f.Name {
		case "type":
			a.Type = f.Value
		case "id":
			a.ID = f.Value
		case "comment":
			t.comment = f.Value
		}
	}
	if newest.Type == eventWarm {
		t = tierInfo{}
	} else {
		t.since = c.Time
	}
	return a, t, a.Check() == nil
}

// coolOf gives what a commit says of events that leave the hot tier: those of an aggregate up to a version; false: nothing.
func coolOf(c *event.Commit) (a event.AggregateID, upTo event.Version, found bool) {
	newest := &c.Events[len(c.Events)-1]
	if c.Aggregate.Type != schema.SystemTier || newest.Type != eventCool {
		return a, 0, false
	}
	fields, err := event.DecodePayload(newest.Payload)
	for _, f := range fields {
		switch f.Name {
		case "type":
			a.Type = f.Value
		case "id":
			a.ID = f.Value
		case "version":
			n, _ := strconv.ParseUint(f.Value, 10, 64) // 0: nothing leaves
			upTo = event.Version(n)
		}
	}
	return a, upTo, err == nil && upTo > 0 && a.Check() == nil
}

// tier gives what a tail says of an aggregate's tier; false: nothing.
func (t *tail) tier(a event.AggregateID) (info tierInfo, found bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	info, found = t.tiers[a]
	return info, found
}

// tiered gives the ids of a type that a tail says are archived, or restored.
func (t *tail) tiered(aggregateType string, archived bool) (ids []string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for a, info := range t.tiers {
		if a.Type == aggregateType && info.archived() == archived {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// tierNow is since when an aggregate is archived, for who has the base, nil for none.
func (r *reading) tierNow(a event.AggregateID, base *state) tierInfo {
	if !r.tiers {
		return tierInfo{}
	}
	if info, found := r.tail.tier(a); found {
		return info
	}
	if base == nil {
		return tierInfo{}
	}
	return base.tier
}

// archived reports whether an aggregate is archived now (docs/spec/commands.md, section 15).
func (r *reading) archived(a event.AggregateID) (bool, error) {
	if !r.tiers {
		return false, nil
	}
	base, err := r.base(a)
	t := r.tierNow(a, base)
	return t.archived(), err
}
