package writer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// Records of forgetting (docs/spec/commands.md, section 12).
const (
	typeForgotten   = schema.SystemForgotten   // in the log of the aggregate
	typeCertificate = schema.SystemCertificate // in the system log
	eventForgotten  = "data-forgotten"
	eventForgetDone = "forget-done"
	eventUnstored   = "unstored-removed" // there was no key
)

// forgetting is that the key of an aggregate is not used any more from its commit on.
type forgetting struct {
	aggregate  event.AggregateID
	commitment event.Hash
	after      *head // of the aggregate, which gives up values of unique encrypted fields; nil: it holds none
}

// about works out what a record of a log is about besides its own aggregate. headOf gives heads as they are before the commit.
func (i *item) about(headOf func(event.AggregateID) (head, error)) error {
	switch i.commit.Aggregate.Type {
	case typeForgotten:
		return i.forget(headOf)
	case typeTier:
		return i.move(headOf)
	}
	return nil
}

// forget works out what a commit that forgets a key leads to. headOf gives heads as they are before the commit.
func (i *item) forget(headOf func(event.AggregateID) (head, error)) error {
	f, err := forgettingOf(i.commit)
	if err != nil {
		return fmt.Errorf("record of a forgotten key: %w: %w", err, ErrDamaged)
	}
	i.forgets = f
	h, err := headOf(f.aggregate)
	if err != nil {
		return err
	}
	for _, field := range slices.Sorted(maps.Keys(h.held)) {
		if !strings.HasPrefix(h.held[field], keyedMark) {
			continue
		}
		if f.after == nil {
			after := h
			after.held = maps.Clone(h.held)
			f.after = &after
		}
		delete(f.after.held, field)
		i.claims = append(i.claims, claim{key: uniqueKey(f.aggregate.Type, field, h.held[field]), field: field})
	}
	return nil
}

func forgettingOf(c *event.Commit) (*forgetting, error) {
	fields, err := fieldsOf(&c.Events[len(c.Events)-1])
	if err != nil {
		return nil, err
	}
	f := &forgetting{aggregate: event.AggregateID{Type: fields["type"], ID: fields["id"]}}
	if f.commitment, err = event.ParseHash(fields["commitment"]); err != nil {
		return nil, err
	}
	return f, f.aggregate.Check()
}

// forget keeps what a block under way forgets; all that was forgotten of the aggregate before was looked up when that was decided.
func (o *overlay) forget(f *forgetting, sequence uint64) {
	before, _ := o.forgotten.get(f.aggregate)
	o.forgotten.put(f.aggregate, append(slices.Clone(before), f.commitment), sequence)
	if f.after != nil {
		o.heads.put(f.aggregate, *f.after, sequence)
	}
}

// isForgotten reports whether a key was forgotten: by a block under way, or by the stored state.
func (e *engine) isForgotten(a event.AggregateID, commitment event.Hash) (bool, error) {
	all, ok := e.over.forgotten.get(a)
	if !ok {
		var err error
		if all, err = e.st.forgotten(a); err != nil {
			return false, err
		}
		e.over.forgotten.put(a, all, 0)
	}
	return slices.Contains(all, commitment), nil
}

func forgottenKey(a event.AggregateID) string { return keyForgot + a.Type + "\x00" + a.ID }

// forgotten are the commitments of an aggregate's forgotten keys, as stored.
func (s *state) forgotten(a event.AggregateID) ([]event.Hash, error) {
	raw, err := s.store.Get([]byte(forgottenKey(a)))
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load forgotten keys of %s: %w", a, err)
	}
	var all []event.Hash
	if len(raw)%len(event.Hash{}) != 0 {
		return nil, fmt.Errorf("load forgotten keys of %s: %d bytes: %w", a, len(raw), statestore.ErrDoubted)
	}
	for ; len(raw) > 0; raw = raw[len(event.Hash{}):] {
		all = append(all, event.Hash(raw))
	}
	return all, nil
}

// forgetKey collects what a commit that forgets a key changes.
func (c *changes) forgetKey(f *forgetting) error {
	raw, err := c.get(forgottenKey(f.aggregate))
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("load forgotten keys of %s: %w", f.aggregate, err)
	}
	c.put(forgottenKey(f.aggregate), append(slices.Clone(raw), f.commitment[:]...))
	if f.after != nil {
		c.putHead(f.aggregate, *f.after)
	}
	return nil
}

// dropForgotten drops the keys that a block on disk forgets from memory.
func (e *engine) dropForgotten(b *openBlock) {
	for i := range b.items {
		if f := b.items[i].forgets; f != nil && e.cfg.Keys != nil {
			e.cfg.Keys.Drop(f.aggregate)
		}
	}
}

// noted takes note of what a commit that was read is about besides its own aggregate.
func (r *replay) noted(it *item) {
	if it.moves != nil {
		r.heads.put(it.moves.aggregate, it.moves.after, 0)
	}
	f := it.forgets
	if f == nil {
		return
	}
	if f.after != nil {
		r.heads.put(f.aggregate, *f.after, 0)
	}
	if keys := r.e.cfg.Keys; keys != nil {
		keys.Drop(f.aggregate)
	}
}
