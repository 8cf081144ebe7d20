package projector

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/indexstore"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// foldedState is what a flush writes of a state besides where its commit lies. Its fields lie in flusher.arena.
type foldedState struct {
	flags    byte
	from, to int
	cold     *coldPart
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
		if of.cold() {
			if err := f.foldCold(i, of); err != nil {
				return err
			}
			continue
		}
		base, err := f.base(view, newest, of)
		if err != nil {
			return err
		}
		if err := f.foldOne(i, of, base); err != nil {
			return fmt.Errorf("fold %s: %w", of.name, err)
		}
	}
	return nil
}

// base gives what the store says of an aggregate, nil for nothing; one that was restored a moment ago still stands where archived ones do.
func (f *flusher) base(view *indexstore.View, newest *indexstore.Finder, of *tailed) (*state, error) {
	if of.commits[0].first <= 1 {
		return nil, nil
	}
	f.key = appendName(append(f.key[:0], keyNewest), of.name)
	value, _, err := newest.Get(f.key)
	if _, moved := f.tail.tiers[of.name]; err == nil && len(value) == 0 && moved {
		value, _, err = view.Get(coldKey(of.name))
	}
	if err != nil || len(value) == 0 {
		return nil, err
	}
	s, err := parseState(value)
	return &s, err
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
	f.folded[i] = foldedState{flags: d.flags(partial), from: from, to: len(f.arena)}
	if base != nil {
		f.folded[i].cold = base.cold
	}
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

// cold reports whether an aggregate never enters the hot tier: records of tiers, one for each aggregate that was archived.
func (of *tailed) cold() bool { return of.name.Type == schema.SystemTier }

// foldCold makes the state of an aggregate whose commits stay in the log.
func (f *flusher) foldCold(i int, of *tailed) error {
	newest := &of.commits[len(of.commits)-1]
	c, err := decode(of.name, *newest)
	if err != nil {
		return err
	}
	f.folded[i] = foldedState{flags: flagPartial, cold: &coldPart{version: c.Last(), at: newest.at, root: c.Root}}
	return nil
}
