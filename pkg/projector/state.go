package projector

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/filter"
	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// The folded state of an aggregate stands in the index beside its newest commit, so that reading it costs the same however many events there are. In the tail it is what
// the commits there change; whoever reads puts that over what the store holds. A flush does the same, and so learns which values a field had and has.

// longValue is the length above which a state holds a hash in place of a value, which is read from the event that set it.
const longValue = 128

// Kinds of fields in a state.
const (
	fieldUnset      = 0 // in a change only
	fieldText       = 1
	fieldSealed     = 2
	fieldLongText   = 3
	fieldLongSealed = 4
)

// stateField is a field of a state, or a change of one.
type stateField struct {
	name    string
	kind    byte
	version event.Version // that set it; of text that is not long it does not matter
	value   string        // of long ones empty
	hash    uint64        // of the canonical text, of long ones
}

// textual reports whether the field can be found by its value.
func (f *stateField) textual() bool { return f.kind == fieldText || f.kind == fieldLongText }

// valueHash is what the value is found by.
func (f *stateField) valueHash() uint64 {
	if f.kind == fieldText {
		return valueHash(f.value)
	}
	return f.hash
}

// Flags of a state.
const (
	flagDeleted = 1
	flagCold    = 4 // the first commits lie in the log alone
	flagTier    = 8 // it is archived: since when and why follows
	flagPartial = 2 // it could not be folded: a schema was not known, or versions are missing; its events say what it is
)

// state is what an index entry says of an aggregate.
type state struct {
	at      indexstore.Location // of the record that ends with the newest commit
	version event.Version
	time    event.Time
	flags   byte
	cold    *coldPart // nil: all commits lie in records
	tier    tierInfo
	fields  []byte // encoded, in ascending order of names
}

func (s *state) deleted() bool { return s.flags&flagDeleted != 0 }
func (s *state) partial() bool { return s.flags&flagPartial != 0 }

// appendHead appends all but the fields: location, version (uvarint), time, flags; and what lies in the log, and the tier, where flags name them.
func (s *state) appendHead(b []byte) []byte {
	b = s.at.Append(b)
	b = binary.AppendUvarint(b, uint64(s.version))
	b = binary.BigEndian.AppendUint64(b, uint64(s.time))
	flags := s.flags &^ (flagCold | flagTier)
	if s.cold != nil {
		flags |= flagCold
	}
	if s.tier.archived() {
		flags |= flagTier
	}
	b = append(b, flags)
	if s.cold != nil {
		b = s.cold.append(b, !s.partial())
	}
	if s.tier.archived() {
		b = s.tier.append(b)
	}
	return b
}

// parseState reads the value of a newest commit. It shares the memory of b.
func parseState(b []byte) (s state, err error) {
	if s.at, b, err = indexstore.ParseLocation(b); err != nil {
		return s, err
	}
	version, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+9 {
		return s, fmt.Errorf("state of an aggregate is cut: %w", errContent)
	}
	s.version, s.time = event.Version(version), event.Time(binary.BigEndian.Uint64(b[n:]))
	s.flags, b = b[n+8], b[n+9:]
	if s.flags&flagCold != 0 {
		if s.cold, b, err = cutCold(b, !s.partial()); err != nil {
			return s, err
		}
	}
	if s.flags&flagTier != 0 {
		if s.tier, b, err = cutTier(b); err != nil {
			return s, err
		}
	}
	s.fields = b
	return s, nil
}

// appendField appends a field: name, kind, then value; version and value; or version and hash. Texts and numbers are uvarints, lengths too.
func appendField(b []byte, f *stateField) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(f.name))), f.name...)
	b = append(b, f.kind)
	if f.kind != fieldText {
		b = binary.AppendUvarint(b, uint64(f.version))
	}
	if f.kind == fieldLongText || f.kind == fieldLongSealed {
		return binary.BigEndian.AppendUint64(b, f.hash)
	}
	return append(binary.AppendUvarint(b, uint64(len(f.value))), f.value...)
}

// cutText cuts a text with its length before it.
func cutText(b []byte) (text, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(length)], b[n+int(length):], true
}

// rawField is a field as it stands in a state.
type rawField struct {
	name, value []byte
	kind        byte
	version     event.Version
	hash        uint64
}

// textual and valueHash are as of stateField.
func (f *rawField) textual() bool { return f.kind == fieldText || f.kind == fieldLongText }

func (f *rawField) valueHash() uint64 {
	if f.kind == fieldText {
		return valueHash(string(f.value))
	}
	return f.hash
}

// cutField reads the first of some fields and gives the others.
func cutField(b []byte) (f rawField, rest []byte, err error) {
	name, b, ok := cutText(b)
	if !ok || len(b) == 0 {
		return f, nil, fmt.Errorf("state of an aggregate: name of a field: %w", errContent)
	}
	f.name, f.kind, b = name, b[0], b[1:]
	if f.kind != fieldText {
		version, n := binary.Uvarint(b)
		if n <= 0 {
			return f, nil, fmt.Errorf("state of an aggregate: version of a field: %w", errContent)
		}
		f.version, b = event.Version(version), b[n:]
	}
	if f.kind == fieldLongText || f.kind == fieldLongSealed {
		if len(b) < 8 {
			return f, nil, fmt.Errorf("state of an aggregate: hash of a field: %w", errContent)
		}
		f.hash = binary.BigEndian.Uint64(b)
		return f, b[8:], nil
	}
	if f.value, b, ok = cutText(b); !ok {
		return f, nil, fmt.Errorf("state of an aggregate: value of a field: %w", errContent)
	}
	return f, b, nil
}

// all gives the fields, in memory of their own, which they share.
func (s *state) all() ([]stateField, error) {
	text := string(s.fields)
	n := 0
	for b := s.fields; len(b) > 0; n++ {
		var err error
		if _, b, err = cutField(b); err != nil {
			return nil, err
		}
	}
	out := make([]stateField, 0, n)
	for b := s.fields; len(b) > 0; {
		f, rest, err := cutField(b)
		if err != nil {
			return nil, err
		}
		name, end := len(text)-len(b)+uvarintBytes(uint64(len(f.name))), len(text)-len(rest) // a value ends its field
		out = append(out, stateField{name: text[name : name+len(f.name)], kind: f.kind, version: f.version, value: text[end-len(f.value) : end], hash: f.hash})
		b = rest
	}
	return out, nil
}

// uvarintBytes is what a uvarint takes.
func uvarintBytes(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }

// find gives one field.
func (s *state) find(name string) (f rawField, found bool, err error) {
	for b := s.fields; len(b) > 0; {
		if f, b, err = cutField(b); err != nil {
			return f, false, err
		}
		if string(f.name) == name {
			return f, true, nil
		}
	}
	return rawField{}, false, nil
}

// delta is what the commits of a tail change of an aggregate.
type delta struct {
	changes []stateField // in ascending order of names
	reset   bool         // what was before does not count
	deleted bool         // the newest event ended the aggregate
	partial bool
	last    event.Version // 0: there is none
	time    event.Time
}

// take folds a commit. deletes says of an event whether it ends its aggregate, and whether that is known; fields is memory, which comes back.
func (d *delta) take(c *event.Commit, deletes func(aggregateType string, e *event.Event) (ends, known bool), fields []event.Field) []event.Field {
	d.partial = d.partial || d.last != 0 && c.First != d.last+1
	d.last, d.time = c.Last(), c.Time
	for i := range c.Events {
		e := &c.Events[i]
		if d.deleted {
			d.changes, d.reset = d.changes[:0], true
		}
		ends, known := deletes(c.Aggregate.Type, e)
		d.deleted, d.partial = ends, d.partial || !known
		var err error
		if fields, err = event.AppendFields(fields[:0], e.Payload); err != nil {
			continue // as in Fold
		}
		d.changes = overlaid(d.changes, fields, c.First+event.Version(i))
	}
	return fields
}

// overlaid puts the fields of an event over what was changed before; both are in ascending order of names.
func overlaid(changes []stateField, fields []event.Field, version event.Version) []stateField {
	if len(changes) == 0 {
		changes = slices.Grow(changes, len(fields))
	}
	at := 0
	for i := range fields {
		f := &fields[i]
		for at < len(changes) && changes[at].name < f.Name {
			at++
		}
		change := stateField{name: f.Name, kind: kindOf(f), version: version, value: f.Value}
		if at < len(changes) && changes[at].name == f.Name {
			changes[at] = change
		} else {
			changes = slices.Insert(changes, at, change)
		}
	}
	return changes
}

func kindOf(f *event.Field) byte {
	switch {
	case !f.Set:
		return fieldUnset
	case f.Sealed:
		return fieldSealed
	}
	return fieldText
}

// stored is a change as a state holds it.
func (f stateField) stored() stateField {
	switch {
	case len(f.value) <= longValue:
	case f.kind == fieldText:
		f.kind, f.hash, f.value = fieldLongText, valueHash(f.value), ""
	case f.kind == fieldSealed:
		f.kind, f.value = fieldLongSealed, ""
	}
	return f
}

// over puts what a tail changes over what the store holds, nil where it holds nothing, and gives the fields as they are then.
func (d *delta) over(base *state, first event.Version) (out []stateField, partial bool, err error) {
	if d.partialOver(base, first) {
		return nil, true, nil
	}
	var old []stateField
	if base != nil && !base.deleted() && !d.reset {
		if old, err = base.all(); err != nil {
			return nil, false, err
		}
	}
	out = make([]stateField, 0, len(old)+len(d.changes))
	changes := d.changes
	for len(old) > 0 || len(changes) > 0 {
		switch {
		case len(changes) == 0 || len(old) > 0 && old[0].name < changes[0].name:
			out, old = append(out, old[0]), old[1:]
			continue
		case len(old) > 0 && old[0].name == changes[0].name:
			old = old[1:]
		}
		if changes[0].kind != fieldUnset {
			out = append(out, changes[0].stored())
		}
		changes = changes[1:]
	}
	return out, false, nil
}

// partialOver reports whether the state cannot be folded from what the store holds and the tail changes.
func (d *delta) partialOver(base *state, first event.Version) bool {
	if base == nil {
		return d.partial || first != 1
	}
	return d.partial || base.partial() || base.version+1 != first
}

func (d *delta) flags(partial bool) (f byte) {
	if d.deleted {
		f |= flagDeleted
	}
	if partial {
		f |= flagPartial
	}
	return f
}

// clone is for readers: the follower goes on changing d.
func (d *delta) clone() delta {
	out := *d
	out.changes = slices.Clone(d.changes)
	return out
}

// valueHash is what a value is found by.
func valueHash(text string) uint64 { return hash48(filter.Canonical(text)) }
