package projector

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// What a tail says of tiers is written by its flush as something to be done, and done right behind it, in batches of their own; a crash between leaves it to the next start. Until it is
// done the tail says how it will be.

// What is to be done about an aggregate: the first byte of the value of its keyDue.
const (
	dueArchive = 1 // since when and why follows
	dueRestore = 2
	dueWarm    = 3 // its first commits are to be brought back from the log
	dueCool    = 4 // its commits leave the hot tier; their newest version (uvarint) follows, and a 1 where it is restored before that
)

// dues writes what is to be done, in the order of keys.
func (f *flusher) dues() error {
	todo := map[event.AggregateID][]byte{}
	for i, of := range f.aggregates {
		if f.folded[i].cold != nil && !of.cold() {
			todo[of.name] = []byte{dueWarm}
		}
	}
	for a, info := range f.tail.tiers {
		if todo[a] = []byte{dueRestore}; info.archived() {
			todo[a] = info.append([]byte{dueArchive})
		}
	}
	for a, upTo := range f.tail.cools {
		info, tiered := f.tail.tiers[a]
		if info.archived() {
			continue
		}
		value := binary.AppendUvarint([]byte{dueCool}, uint64(upTo))
		if tiered {
			value = append(value, 1)
		}
		todo[a] = value
	}
	var entries []entry
	for a, value := range todo {
		entries = append(entries, entry{named(keyDue, a), value})
	}
	return writeSorted(f.batch, entries)
}

// entry is one of an index.
type entry struct{ key, value []byte }

func writeSorted(b *indexstore.Batch, entries []entry) error {
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	for _, e := range entries {
		if err := b.Set(e.key, e.value); err != nil {
			return err
		}
	}
	return nil
}

// moveStep is how many aggregates are moved in one batch, and moveEntries how many entries it takes, about.
const (
	moveStep    = 4096
	moveEntries = 200_000
)

// settle does what is to be done about tiers, but for bringing commits back. It reads the store alone.
func (x *index) settle(store *indexstore.Store) error {
	after := []byte{keyDue}
	for {
		m, err := x.mover(context.Background(), store)
		if err != nil {
			return err
		}
		after, err = m.settle(after)
		m.r.store.Close()
		if err == nil {
			err = m.write(store)
		}
		if err != nil {
			return fmt.Errorf("move aggregates between tiers: %w", err)
		}
		if after == nil {
			return nil
		}
	}
}

// mover collects what moves aggregates between tiers.
type mover struct {
	r       *reading
	entries []entry
	moved   int
	records func(b *indexstore.Batch) error // writes records first; nil: there are none
}

// mover begins one; who calls closes its view.
func (x *index) mover(ctx context.Context, store *indexstore.Store) (*mover, error) {
	view, err := store.View()
	if err != nil {
		return nil, err
	}
	return &mover{r: &reading{log: x.name, tail: newTail(nil), from: store, store: view, dicts: x.dicts, tiers: true, source: x.log, ctx: ctx}}, nil
}

// full reports whether a batch has enough.
func (m *mover) full() bool { return m.moved >= moveStep || len(m.entries) >= moveEntries }

// write writes what was collected, in one batch.
func (m *mover) write(store *indexstore.Store) error {
	if len(m.entries) == 0 {
		return nil
	}
	b, err := store.Begin()
	if err != nil {
		return err
	}
	if m.records != nil {
		err = m.records(b)
	}
	if err == nil {
		err = writeSorted(b, m.entries)
	}
	if err != nil {
		b.Abandon()
		return err
	}
	return b.Commit(store.Note())
}

func (m *mover) set(key, value []byte) { m.entries = append(m.entries, entry{key, value}) }

// settle collects what is to be done, behind a key. It gives where to go on; nil: there is no more.
func (m *mover) settle(after []byte) (next []byte, err error) {
	var failure error
	err = m.r.store.Scan([]byte{keyDue}, after, func(key, value []byte) bool {
		if len(value) == 0 || value[0] == dueWarm {
			return true
		}
		if m.full() {
			next = bytes.Clone(key)
			return false
		}
		m.moved++
		failure = m.due(aggregateOf(key), value)
		return failure == nil
	})
	if failure != nil {
		return nil, failure
	}
	return next, err
}

// due collects what moves one aggregate.
func (m *mover) due(a event.AggregateID, value []byte) error {
	hot, err := m.state(newestKey(a))
	if err != nil {
		return err
	}
	cold, err := m.state(coldKey(a))
	if err != nil {
		return err
	}
	switch value[0] {
	case dueRestore:
		return m.restore(a, hot, cold, 0)
	case dueCool:
		upTo, n := binary.Uvarint(value[1:])
		if n <= 0 {
			return fmt.Errorf("what is to be done about an aggregate is cut: %w", errContent)
		}
		if len(value) > 1+n {
			return m.restore(a, hot, cold, event.Version(upTo))
		}
		return m.coolOne(a, hot, event.Version(upTo))
	}
	info, _, err := cutTier(value[1:])
	if err != nil {
		return err
	}
	return m.archive(a, hot, cold, info)
}

// state gives what stands under a key; nil: nothing.
func (m *mover) state(key []byte) (*state, error) {
	value, _, err := m.r.store.Get(key)
	if err != nil || len(value) == 0 {
		return nil, err
	}
	s, err := parseState(value)
	return &s, err
}

// archive moves an aggregate out of the hot tier.
func (m *mover) archive(a event.AggregateID, hot, cold *state, info tierInfo) error {
	m.set(named(keyDue, a), nil)
	base := cold
	if hot != nil {
		if err := m.leave(a, hot); err != nil {
			return err
		}
		if err := m.fields(a, hot, nil); err != nil {
			return err
		}
		m.set(newestKey(a), nil)
		base = hot
	}
	if base == nil {
		return nil // behind damage
	}
	base.tier = info
	m.set(coldKey(a), append(base.appendHead(nil), base.fields...))
	return nil
}

// restore moves an aggregate into the hot tier; its commits follow, unless upTo says that they stay in the log.
func (m *mover) restore(a event.AggregateID, hot, cold *state, upTo event.Version) error {
	base := hot
	if hot == nil {
		base = cold
	}
	if cold == nil || base == nil { // it was archived and restored at once
		return m.coolOne(a, hot, upTo)
	}
	if upTo >= base.version {
		if err := m.leave(a, base); err != nil {
			return err
		}
	}
	base.tier = tierInfo{}
	_ = m.fields(a, base, []byte{1}) // what was read before
	m.set(coldKey(a), nil)
	m.set(newestKey(a), append(base.appendHead(nil), base.fields...))
	m.stillDue(a, base, upTo)
	return nil
}

// coolOne lets the commits of an aggregate leave the hot tier, unless it was written behind a version.
func (m *mover) coolOne(a event.AggregateID, hot *state, upTo event.Version) error {
	if hot != nil && !hot.gone() && hot.version <= upTo {
		if err := m.leave(a, hot); err != nil {
			return err
		}
		m.set(newestKey(a), append(hot.appendHead(nil), hot.fields...))
	}
	m.stillDue(a, hot, upTo)
	return nil
}

// stillDue says that commits are to be brought back, or that nothing is to be done.
func (m *mover) stillDue(a event.AggregateID, s *state, upTo event.Version) {
	var todo []byte
	if s != nil && s.cold != nil && s.version > upTo {
		todo = []byte{dueWarm}
	}
	m.set(named(keyDue, a), todo)
}

// fields sets the entries by which an aggregate is found.
func (m *mover) fields(a event.AggregateID, s *state, value []byte) error {
	fields, err := s.all()
	for i := range fields {
		if f := &fields[i]; f.textual() {
			m.set(append(fieldPrefix(a.Type, f.name, f.valueHash()), a.ID...), value)
		}
	}
	return err
}

// leave gives the records of an aggregate up: its commits lie in the log alone then. Its state says so behind it.
func (m *mover) leave(a event.AggregateID, s *state) error {
	if s.gone() {
		return nil
	}
	newest, err := m.r.ending(a, s.at)
	if err != nil {
		return err
	}
	var failure error
	err = m.r.store.Scan(commitPrefix(a), nil, func(key, value []byte) bool {
		if len(value) == 0 {
			return true
		}
		at, err := locationOf(value)
		if failure = err; err == nil {
			m.set(bytes.Clone(key), nil)
			m.set(indexstore.FreedKey(nil, keyFreed, at), indexstore.FreedValue(nil, at))
		}
		return err == nil
	})
	if failure != nil {
		return failure
	}
	s.at, s.cold = indexstore.Location{}, &coldPart{version: newest.Last(), at: newest.at, root: newest.Root}
	return err
}
