package projector

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// foldedState is what a flush writes of a state besides where its commit lies. Its fields lie in flusher.arena.
type foldedState struct {
	flags    byte
	from, to int
}

// typeChanges are the values that fields of a type's aggregates got and lost.
type typeChanges struct {
	aggregateType string
	fields        []fieldChanges // in ascending order of names
}

// fieldChanges are those of one field: the hash of the value, and twice the place in flusher.aggregates, and one more if it has the value now.
type fieldChanges struct {
	field string
	of    []hashed
}

// fold makes the states of the aggregates that changed, and finds out which values their fields had. Only aggregates that were there before are looked up.
func (f *flusher) fold(store *indexstore.Store) error {
	view, err := store.View()
	if err != nil {
		return err
	}
	defer view.Close()
	newest := view.Finder()
	f.folded = make([]foldedState, len(f.aggregates))
	for i, of := range f.aggregates {
		f.batch.Rest()
		var base *state
		if of.commits[0].first > 1 {
			f.key = appendName(append(f.key[:0], keyNewest), of.name)
			value, found, err := newest.Get(f.key)
			if err != nil {
				return err
			}
			if found {
				s, err := parseState(value)
				if err != nil {
					return err
				}
				base = &s
			}
		}
		if err := f.foldOne(i, of, base); err != nil {
			return fmt.Errorf("fold %s: %w", of.name, err)
		}
	}
	return nil
}

// foldOne puts what the tail changes of an aggregate over what the store holds, nil where it holds nothing: as delta.over, without making the fields.
func (f *flusher) foldOne(i int, of *tailed, base *state) error {
	d := &of.delta
	partial := d.partialOver(base, of.commits[0].first)
	changes := d.changes
	if partial {
		changes = nil
	}
	var before []byte // the fields that are left of base
	if base != nil {
		before = base.fields
	}
	kept := base != nil && !partial && !base.deleted() && !d.reset // what is not changed
	at := f.changer(of.name.Type, i)
	from := len(f.arena)
	for len(before) > 0 || len(changes) > 0 {
		if len(before) == 0 {
			f.set(&at, nil, &changes[0])
			changes = changes[1:]
			continue
		}
		old, rest, err := cutField(before)
		if err != nil {
			return err
		}
		order := -1
		if len(changes) > 0 {
			order = cmp.Compare(string(old.name), changes[0].name)
		}
		switch {
		case order < 0 && kept:
			f.arena = append(f.arena, before[:len(before)-len(rest)]...)
		case order < 0:
			at.lose(&old)
		case order == 0:
			f.set(&at, &old, &changes[0])
		default:
			f.set(&at, nil, &changes[0])
		}
		if order <= 0 {
			before = rest
		}
		if order >= 0 {
			changes = changes[1:]
		}
	}
	f.folded[i] = foldedState{d.flags(partial), from, len(f.arena)}
	return nil
}

// set appends a field that was changed to a state, and notes what it was before, nil for nothing, and is now.
func (f *flusher) set(at *changer, old *rawField, change *stateField) {
	now := change.stored()
	if change.kind != fieldUnset {
		f.arena = appendField(f.arena, &now)
	}
	if old != nil && old.kind == now.kind && string(old.value) == now.value && old.hash == now.hash {
		return
	}
	was, is := old != nil && old.textual(), now.textual()
	switch {
	case was && is && old.valueHash() == now.valueHash():
		return
	case was:
		at.note(old.name, old.valueHash(), false)
	}
	if is {
		at.note([]byte(now.name), now.valueHash(), true)
	}
}

// changer notes what changes of the fields of one aggregate, in ascending order of names.
type changer struct {
	to        *typeChanges
	next      int // in to.fields: names before it are below the next one
	aggregate uint32
}

// changer begins with an aggregate; those of one type come one after the other.
func (f *flusher) changer(aggregateType string, aggregate int) changer {
	if n := len(f.changes); n == 0 || f.changes[n-1].aggregateType != aggregateType {
		f.changes = append(f.changes, typeChanges{aggregateType: aggregateType})
	}
	return changer{to: &f.changes[len(f.changes)-1], aggregate: uint32(aggregate)}
}

// lose notes that a field has its value no more.
func (c *changer) lose(old *rawField) {
	if old.textual() {
		c.note(old.name, old.valueHash(), false)
	}
}

func (c *changer) note(name []byte, hash uint64, has bool) {
	fields := c.to.fields
	for c.next < len(fields) && fields[c.next].field < string(name) {
		c.next++
	}
	if c.next == len(fields) || fields[c.next].field != string(name) {
		fields = slices.Insert(fields, c.next, fieldChanges{field: string(name)})
		c.to.fields = fields
	}
	at := c.aggregate << 1
	if has {
		at |= 1
	}
	fields[c.next].of = append(fields[c.next].of, hashed{hash, at})
}

// fieldEntries writes the entries by which aggregates are found.
func (f *flusher) fieldEntries() error {
	for _, t := range f.changes {
		for _, field := range t.fields {
			f.key = fieldPrefix(t.aggregateType, field.field, 0)
			prefix := len(f.key) - hashLen
			for _, c := range byHash(field.of, 48) {
				f.key = append(appendHash48(f.key[:prefix], c.hash), f.aggregates[c.at>>1].name.ID...)
				f.value = f.value[:0]
				if c.at&1 == 1 {
					f.value = append(f.value, 1)
				}
				if err := f.batch.Set(f.key, f.value); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
