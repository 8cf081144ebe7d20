package projector

import (
	"bytes"
	"errors"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/filter"
)

// candidates gives the aggregates of a type that may be wanted, by id, behind one. Those that cannot match the filter may be left out.
func (l *listing) candidates(r *reading, aggregateType, after string, fn func(*current) (bool, error)) error {
	switch {
	case len(l.want.Only) > 0:
		return l.named(r, aggregateType, after, fn)
	case l.want.Archived:
		return r.scan(keyCold, aggregateType, after, fn)
	case l.filter != nil:
		if e, ok := l.narrowest(r, aggregateType); ok {
			return r.valued(aggregateType, after, e, fn)
		}
	}
	return r.scan(keyNewest, aggregateType, after, fn)
}

// named gives the aggregates that who asks may read, and no others.
func (l *listing) named(r *reading, aggregateType, after string, fn func(*current) (bool, error)) error {
	var ids []string
	for _, a := range l.want.Only {
		if a.Type == aggregateType && a.ID > after {
			ids = append(ids, a.ID)
		}
	}
	slices.Sort(ids)
	return r.these(aggregateType, slices.Compact(ids), fn)
}

// these gives the aggregates with some ids, as far as they exist.
func (r *reading) these(aggregateType string, ids []string, fn func(*current) (bool, error)) error {
	for _, id := range ids {
		c, found, err := r.current(event.AggregateID{Type: aggregateType, ID: id})
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if more, err := fn(&c); err != nil || !more {
			return err
		}
	}
	return nil
}

// probe is how many entries of an equality are counted, to find the one that the fewest aggregates fulfil.
const probe = 2000

// narrowest gives the equality of the filter that is looked up; false: there is none.
func (l *listing) narrowest(r *reading, aggregateType string) (best filter.Equality, found bool) {
	equalities := l.filter.Equalities()
	if len(equalities) == 1 {
		return equalities[0], true
	}
	least := probe + 1
	for _, e := range equalities {
		n := 0
		for _, value := range e.Values {
			prefix := fieldPrefix(aggregateType, e.Field, hash48(value))
			if err := r.store.Scan(prefix, nil, func(_, _ []byte) bool { n++; return n < probe }); err != nil {
				break // whoever reads it next tells
			}
		}
		if n < least {
			best, found, least = e, true, n
		}
	}
	return best, found
}

// valuedStep is how many ids are looked up at once.
const valuedStep = 512

// valued gives the aggregates that may have one of the values of an equality now, by id, behind one.
func (r *reading) valued(aggregateType, after string, e filter.Equality, fn func(*current) (bool, error)) error {
	hashes := make([]uint64, len(e.Values))
	for i, value := range e.Values {
		hashes[i] = hash48(value)
	}
	recent := r.withTiered(r.tail.valued(aggregateType, e.Field, hashes), aggregateType, "", false)
	for {
		var ids []string
		cut := false
		for _, hash := range hashes {
			more, err := r.withValue(fieldPrefix(aggregateType, e.Field, hash), after, &ids)
			if err != nil {
				return err
			}
			cut = cut || more
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		if cut {
			ids = ids[:min(len(ids), valuedStep)] // of each value the first ones are known
		}
		last := ""
		if len(ids) > 0 {
			last = ids[len(ids)-1]
		}
		for ; len(recent) > 0 && (!cut || recent[0] <= last); recent = recent[1:] {
			if recent[0] > after {
				ids = append(ids, recent[0])
			}
		}
		slices.Sort(ids)
		ended := false
		err := r.these(aggregateType, slices.Compact(ids), func(c *current) (bool, error) {
			more, err := fn(c)
			ended = !more
			return more, err
		})
		if err != nil || ended || !cut {
			return err
		}
		after = last
	}
}

// withValue appends ids that stand behind a prefix, at most valuedStep; more says that others follow.
func (r *reading) withValue(prefix []byte, after string, ids *[]string) (more bool, err error) {
	n := 0
	err = r.store.Scan(prefix, append(bytes.Clone(prefix), after...), func(key, value []byte) bool {
		id := key[len(prefix):]
		if len(value) == 0 || string(id) <= after {
			return true
		}
		if more = n == valuedStep; more {
			return false
		}
		*ids = append(*ids, string(id))
		n++
		return true
	})
	return more, err
}

// valued gives the ids of a type whose field the tail sets to a value with one of some hashes, ascending.
func (t *tail) valued(aggregateType, field string, hashes []uint64) (ids []string) {
	t.mu.RLock()
	for a, of := range t.aggregates {
		if a.Type != aggregateType {
			continue
		}
		for i := range of.delta.changes {
			if c := &of.delta.changes[i]; c.name == field && c.kind == fieldText && slices.Contains(hashes, valueHash(c.value)) || of.delta.partial {
				ids = append(ids, a.ID)
				break
			}
		}
	}
	t.mu.RUnlock()
	slices.Sort(ids)
	return ids
}

// withTiered adds the ids of aggregates that the tail says were archived, or restored: the store has them elsewhere.
func (r *reading) withTiered(ids []string, aggregateType, after string, archived bool) []string {
	if !r.tiers {
		return ids
	}
	for _, id := range r.tail.tiered(aggregateType, archived) {
		if id > after {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// scan gives all aggregates of a type, by id, behind one: those in the hot tier (keyNewest), or those that are archived (keyCold).
func (r *reading) scan(kind byte, aggregateType, after string, fn func(*current) (bool, error)) error {
	var recent []string
	if kind == keyNewest {
		recent = r.tail.ids(aggregateType, after)
	}
	s := scanning{r: r, of: aggregateType, fn: fn, recent: r.withTiered(recent, aggregateType, after, kind == keyCold)}
	prefix := typePrefix(kind, aggregateType)
	err := r.store.Scan(prefix, append(bytes.Clone(prefix), after...), func(key, value []byte) bool {
		id := string(key[len(prefix):])
		if id <= after {
			return true
		}
		for s.goesOn() && len(s.recent) > 0 && (s.recent[0] < id || s.recent[0] == id && len(value) == 0) {
			s.next()
		}
		if !s.goesOn() || len(value) == 0 {
			return s.goesOn()
		}
		if len(s.recent) > 0 && s.recent[0] == id {
			s.recent = s.recent[1:]
		}
		base, err := parseState(bytes.Clone(value))
		if s.err = err; err == nil {
			s.one(id, &base)
		}
		return s.goesOn()
	})
	for s.goesOn() && err == nil && len(s.recent) > 0 {
		s.next()
	}
	return errors.Join(s.err, err)
}

// scanning is a scan under way.
type scanning struct {
	r      *reading
	of     string
	fn     func(*current) (bool, error)
	recent []string // of the tail, ascending: those that were not given yet
	ended  bool
	err    error
}

func (s *scanning) goesOn() bool { return !s.ended && s.err == nil }

// next gives the next one of the tail, which the store does not have there.
func (s *scanning) next() {
	id := s.recent[0]
	s.recent = s.recent[1:]
	var base *state
	if s.r.tiers {
		if base, s.err = s.r.base(event.AggregateID{Type: s.of, ID: id}); s.err != nil {
			return
		}
	}
	s.one(id, base)
}

func (s *scanning) one(id string, base *state) {
	c, found, err := s.r.overlay(event.AggregateID{Type: s.of, ID: id}, base)
	if err == nil && found {
		var more bool
		more, err = s.fn(&c)
		s.ended = !more
	}
	s.err = err
}
