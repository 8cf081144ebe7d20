package projector

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/indexstore"
)

// spot is a place in the order of a log: an event of a commit.
type spot struct {
	sequence uint64
	index    uint32
	event    uint32
}

func (s spot) compare(o spot) int {
	switch {
	case s.sequence != o.sequence:
		return cmp.Compare(s.sequence, o.sequence)
	case s.index != o.index:
		return cmp.Compare(s.index, o.index)
	}
	return cmp.Compare(s.event, o.event)
}

// commit is the place of the commit.
func (s spot) commit() spot { return spot{sequence: s.sequence, index: s.index} }

func spotOf(l event.Link) spot { return spot{sequence: l.Sequence, index: l.Index} }

// post says that a commit names something.
type post struct {
	kind  byte
	hash  uint64
	place spot
}

// post notes what a commit can be found by.
func (t *tail) post(c *event.Commit, at spot) {
	t.posts = append(t.posts, post{byActor, hash48(c.Actor), at}, post{byCommand, hash48(c.CommandID), at})
	if c.Causation != "" {
		t.posts = append(t.posts, post{byCause, hash48(c.Causation), at})
	}
	if c.Correlation != "" {
		t.posts = append(t.posts, post{byCorrelation, hash48(c.Correlation), at})
	}
	for i := range c.Events {
		if i == 0 || c.Events[i].Type != c.Events[i-1].Type {
			t.posts = append(t.posts, post{byEvent, hash48(c.Events[i].Type), at})
		}
	}
}

// posted gives the commits, not before a spot, that are found by something, in the order of the log.
func (t *tail) posted(by posting, from spot) (out []tailCommit) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range t.posts {
		p := &t.posts[i]
		if p.kind != by.kind || p.hash != by.hash || p.place.compare(from) < 0 {
			continue
		}
		if n := len(out); n > 0 && out[n-1].at.Sequence == p.place.sequence && out[n-1].at.Index == p.place.index {
			continue
		}
		out = append(out, t.at(p.place))
	}
	return out
}

// postChunk is the number of commits from which on a further entry begins.
const postChunk = 512

// postings writes what commits are found by.
func (f *flusher) postings() error {
	posts := slices.Clone(f.tail.posts) // readers look at these
	slices.SortFunc(posts, func(a, b post) int {
		switch {
		case a.kind != b.kind:
			return cmp.Compare(a.kind, b.kind)
		case a.hash != b.hash:
			return cmp.Compare(a.hash, b.hash)
		}
		return a.place.compare(b.place)
	})
	for i := 0; i < len(posts); {
		first := posts[i]
		f.key = appendOrdered(appendPosting(f.key[:0], first.kind, first.hash), first.place.sequence)
		f.value = f.value[:0]
		last := first.place.sequence
		for n := 0; i < len(posts) && posts[i].kind == first.kind && posts[i].hash == first.hash; n, i = n+1, i+1 {
			p := posts[i].place
			if n >= postChunk && p.sequence != last {
				break
			}
			if n > 0 && p == posts[i-1].place {
				continue // an event type that stands in it again
			}
			f.value = binary.AppendUvarint(binary.AppendUvarint(f.value, p.sequence-last), uint64(p.index))
			last = p.sequence
		}
		if err := f.batch.Set(f.key, f.value); err != nil {
			return err
		}
	}
	return nil
}

// order writes where the commits of each block lie.
func (f *flusher) order() error {
	hashes := f.tail.hashes
	for _, b := range f.tail.blocks {
		f.value = binary.BigEndian.AppendUint64(f.value[:0], uint64(b.time))
		n := 0
		for ; len(hashes) > 0; hashes = hashes[1:] {
			h := hashes[0]
			c := &h.of.commits[h.commit]
			if c.at.Sequence != b.sequence {
				break
			}
			if h.event == 0 {
				f.value = binary.AppendUvarint(f.records[h.of][h.commit].Append(f.value), uint64(c.first))
				n++
			}
		}
		if n == 0 {
			continue
		}
		f.key = append(f.key[:0], orderKey(b.sequence)...)
		if err := f.batch.Set(f.key, f.value); err != nil {
			return err
		}
	}
	return nil
}

// fieldName is a field of an aggregate type.
type fieldName struct{ aggregateType, field string }

// fieldChange says that an aggregate has a value now, or has it no more.
type fieldChange struct {
	hash      uint64
	aggregate int // in flusher.aggregates
	has       bool
}

// foldedState is what a flush writes of a state besides where its commit lies.
type foldedState struct {
	flags  byte
	fields []byte
}

// fold makes the states of the aggregates that changed, and finds out which values their fields had. Only aggregates that were there before are looked up.
func (f *flusher) fold(store *indexstore.Store) error {
	view, err := store.View()
	if err != nil {
		return err
	}
	defer view.Close()
	f.states = make([]foldedState, len(f.aggregates))
	f.changes = make(map[fieldName][]fieldChange)
	for i, of := range f.aggregates {
		var base *state
		var old []stateField
		first := of.commits[0].first
		if first > 1 {
			f.key = appendName(append(f.key[:0], keyNewest), of.name)
			value, found, err := view.Get(f.key)
			if err != nil {
				return err
			}
			if found {
				s, err := parseState(value)
				if err == nil {
					old, err = s.all()
				}
				if err != nil {
					return err
				}
				base = &s
			}
		}
		now, partial, err := of.delta.over(base, first)
		if err != nil {
			return err
		}
		f.states[i].flags = of.delta.flags(partial)
		f.value = f.value[:0]
		for k := range now {
			f.value = appendField(f.value, &now[k])
		}
		f.states[i].fields = bytes.Clone(f.value)
		f.changed(i, old, now)
	}
	return nil
}

// changed notes which values of an aggregate came and went; both lists are in ascending order of names.
func (f *flusher) changed(aggregate int, old, now []stateField) {
	note := func(of *stateField, has bool) {
		if of.textual() {
			name := fieldName{f.aggregates[aggregate].name.Type, of.name}
			f.changes[name] = append(f.changes[name], fieldChange{of.valueHash(), aggregate, has})
		}
	}
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && old[0].name < now[0].name:
			note(&old[0], false)
			old = old[1:]
		case len(old) == 0 || now[0].name < old[0].name:
			note(&now[0], true)
			now = now[1:]
		default:
			if !old[0].same(&now[0]) {
				note(&old[0], false)
				note(&now[0], true)
			}
			old, now = old[1:], now[1:]
		}
	}
}

// fields writes the entries by which aggregates are found.
func (f *flusher) fields() error {
	names := make([]fieldName, 0, len(f.changes))
	for name := range f.changes {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b fieldName) int {
		return cmp.Or(cmp.Compare(a.aggregateType, b.aggregateType), cmp.Compare(a.field, b.field))
	})
	for _, name := range names {
		changes := f.changes[name]
		slices.SortFunc(changes, func(a, b fieldChange) int {
			if a.hash != b.hash {
				return cmp.Compare(a.hash, b.hash)
			}
			return cmp.Compare(a.aggregate, b.aggregate)
		})
		f.key = fieldPrefix(name.aggregateType, name.field, 0)
		prefix := len(f.key) - hashLen
		for _, c := range changes {
			f.key = append(appendHash48(f.key[:prefix], c.hash), f.aggregates[c.aggregate].name.ID...)
			f.value = f.value[:0]
			if c.has {
				f.value = append(f.value, 1)
			}
			if err := f.batch.Set(f.key, f.value); err != nil {
				return err
			}
		}
	}
	return nil
}
