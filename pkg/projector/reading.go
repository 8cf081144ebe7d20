package projector

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/indexstore"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// reading is an index as a query sees it: a tail, and a view of the store that was taken after it. What was flushed in between stands in both, and
// is given once.
type reading struct {
	log   string
	tail  *tail
	from  *indexstore.Store
	store *indexstore.View
	held  *held // nil: decode anew
	dicts *dicts
	tiers bool // aggregates were archived

	source  eventlog.Log    // nil until it was opened: what left the hot tier is not read then
	fetches int             // blocks that were read from source
	ctx     context.Context // of the query, for what is read from source
	fetched loggedBlock     // that was read from source last
}

// located is a commit with its place in the log and the leaf hashes of its events.
type located struct {
	*event.Commit
	at     event.Link
	leaves []event.Hash
}

func (r *reading) position(l event.Link) event.Position {
	return event.Position{Log: r.log, Sequence: l.Sequence, Index: l.Index, Block: l.Block}
}

// each gives an aggregate's commits in order, beginning with the one that holds version from, until fn gives false or an error.
func (r *reading) each(a event.AggregateID, from event.Version, fn func(located) (bool, error)) error {
	recent := r.tail.of(a)
	var last event.Link // of what was given out of the store
	if len(recent) == 0 || recent[0].first > from {
		more := true
		err := r.stored(a, from, func(c located) (bool, error) {
			if len(recent) > 0 && !before(c.at, recent[0].at) {
				return false, nil // flushed meanwhile
			}
			var err error
			last = c.at
			more, err = fn(c)
			return more, err
		})
		if err != nil || !more {
			return err
		}
	}
	for i, raw := range recent {
		if i+1 < len(recent) && recent[i+1].first <= from || !before(last, raw.at) {
			continue
		}
		c, err := r.decodeRecent(raw)
		if err != nil {
			return err
		}
		if more, err := fn(c); err != nil || !more {
			return err
		}
	}
	return nil
}

func before(a, b event.Link) bool {
	return a.Sequence < b.Sequence || a.Sequence == b.Sequence && a.Index < b.Index
}

// stored is each for what the store holds, and for what it gave up and the log holds.
func (r *reading) stored(a event.AggregateID, from event.Version, fn func(located) (bool, error)) error {
	gap, err := r.records(a, from, true, fn)
	if err != nil || !gap {
		return err
	}
	base, err := r.base(a)
	if err != nil || base == nil {
		return err
	}
	if cold := base.cold; cold != nil && from <= cold.version {
		more, err := r.cold(a, from, cold, fn)
		if err != nil || !more {
			return err
		}
		from = cold.version + 1
	}
	_, err = r.records(a, from, false, fn)
	return err
}

// records is stored for what the store holds. With whole it does nothing and reports a gap if that begins behind version from, or not at all.
func (r *reading) records(a event.AggregateID, from event.Version, whole bool, fn func(located) (bool, error)) (gap bool, err error) {
	prefix := commitPrefix(a)
	store := r.store.Holding(newestKey(a)) // a flush writes it beside every commit
	begin := prefix
	if from > 1 {
		at, found, err := floorLive(store, prefix, commitKey(a, from))
		if err != nil {
			return false, err
		}
		if found {
			begin = at
		}
	}
	first := true
	var failure error
	err = store.Scan(prefix, begin, func(key, value []byte) bool {
		if len(value) == 0 {
			return true // it left the hot tier
		}
		if first && whole && binary.BigEndian.Uint64(key[len(prefix):]) > max(uint64(from), 1) {
			return false
		}
		first = false
		var commits []located
		if commits, failure = r.record(a, value); failure != nil {
			return false
		}
		more := true
		for i := range commits {
			if i+1 < len(commits) && commits[i+1].First <= from {
				continue
			}
			if more, failure = fn(commits[i]); failure != nil || !more {
				return false
			}
		}
		return true
	})
	return first, errors.Join(failure, err)
}

// floorLive gives the highest key with a prefix that is not above key and has a value.
func floorLive(store *indexstore.View, prefix, key []byte) (at []byte, found bool, err error) {
	for {
		at, value, found, err := store.Floor(prefix, key)
		if err != nil || !found || len(value) > 0 {
			return at, found, err
		}
		version := binary.BigEndian.Uint64(at[len(prefix):])
		if version == 0 {
			return nil, false, nil
		}
		key = binary.BigEndian.AppendUint64(at[:len(prefix)], version-1)
	}
}

// record gives the commits of the record that an entry's value leads to.
func (r *reading) record(a event.AggregateID, value []byte) ([]located, error) {
	at, err := locationOf(value)
	if err != nil {
		return nil, err
	}
	key := heldKey{store: r.from, a: at.File, b: at.Offset}
	if commits := r.held.get(key); commits != nil {
		return commits, nil
	}
	raws, err := r.raw(at)
	if err != nil {
		return nil, err
	}
	commits := make([]located, len(raws))
	for i := range raws {
		if commits[i], err = decode(a, raws[i]); err != nil {
			return nil, err
		}
	}
	r.held.put(key, commits)
	return commits, nil
}

func locationOf(value []byte) (indexstore.Location, error) {
	at, rest, err := indexstore.ParseLocation(value)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("entry has %d bytes too many: %w", len(rest), errContent)
	}
	return at, err
}

func (r *reading) raw(at indexstore.Location) ([]tailCommit, error) {
	raw, err := r.unshrunk(at)
	if err != nil {
		return nil, err
	}
	return parseRecord(raw)
}

// decodeRecent decodes a commit of the tail. It does not share the memory of its message, which is much larger.
func (r *reading) decodeRecent(c tailCommit) (located, error) {
	key := heldKey{store: r.from, recent: true, a: c.at.Sequence, b: uint64(c.at.Index)}
	if commits := r.held.get(key); commits != nil {
		return commits[0], nil
	}
	c.raw = bytes.Clone(c.raw)
	commit, err := decodeOne(c)
	if err == nil {
		r.held.put(key, []located{commit})
	}
	return commit, err
}

// decode decodes a commit that should be of an aggregate. It shares the memory of raw.
func decode(a event.AggregateID, raw tailCommit) (located, error) {
	c, err := decodeOne(raw)
	if err == nil && c.Aggregate != a {
		err = fmt.Errorf("a commit of %s stands where one of %s should: %w", c.Aggregate, a, errContent)
	}
	return c, err
}

func decodeOne(raw tailCommit) (located, error) {
	c, err := event.DecodeCommit(raw.raw)
	if err != nil {
		return located{}, fmt.Errorf("%w: %w", err, errContent)
	}
	if c.First != raw.first || len(c.Events) != len(raw.leaves) {
		return located{}, fmt.Errorf("commit at %d with version %d and %d events, want %d and %d: %w", raw.at.Sequence, c.First, len(c.Events), raw.first, len(raw.leaves), errContent)
	}
	return located{c, raw.at, raw.leaves}, nil
}

// newest gives an aggregate's newest commit; not_found if there is no such aggregate.
func (r *reading) newest(a event.AggregateID) (located, error) {
	c, found, err := r.last(a)
	if err == nil && !found {
		err = noAggregate(a)
	}
	return c, err
}

// last gives an aggregate's newest commit, if it has one.
func (r *reading) last(a event.AggregateID) (c located, found bool, err error) {
	var base *state
	if len(r.tail.of(a)) == 0 {
		if base, err = r.base(a); err != nil {
			return c, false, err
		}
	}
	return r.lastOver(a, base)
}

// base gives what the store says of an aggregate; nil: it has none.
func (r *reading) base(a event.AggregateID) (*state, error) {
	value, found, err := r.store.Get(newestKey(a))
	if err == nil && len(value) == 0 && r.tiers {
		value, found, err = r.store.Get(coldKey(a))
	}
	if err != nil {
		return nil, fmt.Errorf("read state of %s: %w", a, err)
	}
	if !found || len(value) == 0 {
		return nil, nil
	}
	s, err := parseState(value)
	return &s, err
}

// lastOver is last for who has the base, nil for none.
func (r *reading) lastOver(a event.AggregateID, base *state) (c located, found bool, err error) {
	if recent := r.tail.of(a); len(recent) > 0 {
		c, err = r.decodeRecent(recent[len(recent)-1])
		return c, true, err
	}
	if base == nil {
		return c, false, nil
	}
	if base.gone() {
		c, _, err = r.logged(base.cold.at)
		return c, true, err
	}
	c, err = r.ending(a, base.at)
	return c, true, err
}

// ending gives the last commit of a record.
func (r *reading) ending(a event.AggregateID, at indexstore.Location) (located, error) {
	if commits := r.held.get(heldKey{store: r.from, a: at.File, b: at.Offset}); commits != nil {
		return commits[len(commits)-1], nil
	}
	raws, err := r.raw(at)
	if err != nil {
		return located{}, fmt.Errorf("read newest commit of %s: %w", a, err)
	}
	return decode(a, raws[len(raws)-1])
}

// exists reports whether the index has an aggregate.
func (r *reading) exists(a event.AggregateID) (bool, error) {
	if len(r.tail.of(a)) > 0 {
		return true, nil
	}
	base, err := r.base(a)
	return base != nil, err
}

// block gives the id of the block that counted at a sequence.
func (r *reading) block(sequence uint64) (id event.ID16, found bool, err error) {
	if id, found = r.tail.block(sequence); found {
		return id, true, nil
	}
	key, value, found, err := r.store.Floor([]byte{keyBlock}, blockKey(sequence))
	if err != nil || !found {
		return id, false, err
	}
	return blockOf(key, value, sequence)
}

// ids gives the ids of one type, ascending.
func (r *reading) ids(aggregateType string) (ids []string, err error) {
	err = r.scan(keyNewest, aggregateType, "", func(c *current) (bool, error) {
		ids = append(ids, c.id.ID)
		return true, nil
	})
	return ids, err
}

// end is the place behind the last block that counted.
func (r *reading) end() (feedPlace, error) {
	if b, ok := r.tail.last(); ok {
		return feedPlace{Sequence: b.sequence + 1, Block: b.id.String(), Of: b.sequence}, nil
	}
	key, value, found, err := r.store.Floor([]byte{keyBlock}, blockKey(1<<64-1))
	if err != nil || !found {
		return feedPlace{}, err
	}
	var place feedPlace
	err = eachBlock(key, value, func(sequence uint64, id event.ID16) bool {
		place = feedPlace{Sequence: sequence + 1, Block: id.String(), Of: sequence}
		return true
	})
	return place, err
}

// types gives the aggregate types in the store; it jumps from type to type and does not read the aggregates between.
func (r *reading) types() (map[string]struct{}, error) {
	types := map[string]struct{}{}
	for _, kind := range [...]byte{keyNewest, keyCold} {
		var from []byte
		for {
			found := ""
			err := r.store.Scan([]byte{kind}, from, func(key, _ []byte) bool {
				found = aggregateOf(key).Type
				return false
			})
			if err != nil {
				return nil, fmt.Errorf("read types of the index: %w", err)
			}
			if found == "" {
				break
			}
			types[found] = struct{}{}
			from = afterType(kind, found)
		}
	}
	return types, nil
}

// commits gives an aggregate's commits in order, beginning with the one that holds version from, until fn gives false or an error.
func (r *reading) commits(ctx context.Context, a event.AggregateID, from event.Version, fn func(located) (bool, error)) error {
	err := r.each(a, from, func(c located) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		return fn(c)
	})
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return problem.New(problem.Unavailable, "reading %s was given up: %v", a, err)
	}
	if err != nil {
		return fmt.Errorf("read commits of %s: %w", a, err)
	}
	return nil
}
