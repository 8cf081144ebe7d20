package projector

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/filter"
)

// current is an aggregate as it is now: what the store says of it, or what that and the tail come to.
type current struct {
	r       *reading
	id      event.AggregateID
	version event.Version
	time    event.Time
	deleted bool
	partial bool
	tier    tierInfo
	base    *state       // nil: fields counts
	fields  []stateField // in ascending order of names
	err     error        // of the last field that could not be read
}

// current gives an aggregate as it is now; found is false if nobody has it.
func (r *reading) current(a event.AggregateID) (c current, found bool, err error) {
	base, err := r.base(a)
	if err != nil {
		return c, false, err
	}
	return r.overlay(a, base)
}

// overlay puts what the tail has of an aggregate over what the store has, nil for nothing.
func (r *reading) overlay(a event.AggregateID, base *state) (c current, found bool, err error) {
	c = current{r: r, id: a, tier: r.tierNow(a, base)}
	d, first, recent := r.tail.delta(a)
	if base != nil && (!recent || base.version >= d.last) { // flushed meanwhile
		c.version, c.time, c.deleted, c.partial, c.base = base.version, base.time, base.deleted(), base.partial(), base
		return c, true, nil
	}
	if !recent {
		return c, false, nil
	}
	c.version, c.time, c.deleted = d.last, d.time, d.deleted
	c.fields, c.partial, err = d.over(base, first)
	return c, true, err
}

// field gives the text of a field that is set and not sealed. An error is kept in err.
func (c *current) field(name string) (text string, set bool) {
	f := stateField{}
	if c.base != nil {
		raw, found, err := c.base.find(name)
		if err != nil || !found {
			c.err = err
			return "", false
		}
		f = stateField{name: name, kind: raw.kind, version: raw.version, value: string(raw.value)}
	} else {
		for i := range c.fields {
			if c.fields[i].name == name {
				f = c.fields[i]
			}
		}
	}
	switch f.kind {
	case fieldText:
		return f.value, true
	case fieldLongText:
		long, err := c.r.fieldAt(c.id, f.version, name)
		c.err = err
		return long.Value, err == nil
	}
	return "", false
}

// all gives the fields; partial states have none.
func (c *current) all() ([]stateField, error) {
	if c.base != nil {
		return c.base.all()
	}
	return c.fields, nil
}

func (c *current) row() *filter.Row {
	return &filter.Row{ID: c.id.ID, Version: uint64(c.version), Time: int64(c.time), Deleted: c.deleted, Field: c.field}
}

// fieldAt reads the field that an event set.
func (r *reading) fieldAt(a event.AggregateID, version event.Version, name string) (field event.Field, err error) {
	found := false
	err = r.each(a, version, func(c located) (bool, error) {
		if version < c.First || version > c.Last() {
			return false, nil
		}
		field, found, err = fieldOf(&c.Events[version-c.First], name)
		return false, err
	})
	if err == nil && !found {
		err = noField(a, version, name)
	}
	return field, err
}

// fieldOf gives a field of an event, if it has it.
func fieldOf(e *event.Event, name string) (field event.Field, found bool, err error) {
	fields, err := event.DecodePayload(e.Payload)
	for _, f := range fields {
		if f.Name == name {
			field, found = f, true
		}
	}
	return field, found, err
}

func noField(a event.AggregateID, version event.Version, name string) error {
	return fmt.Errorf("state of %s names the field %s of version %d, which has none: %w", a, name, version, errContent)
}

// whole makes a partial state from the events of the aggregate.
func (p *Projector) whole(ctx context.Context, r *reading, c *current) error {
	if !c.partial {
		return nil
	}
	folded, err := p.fold(ctx, r, c.id, c.version)
	if err != nil {
		return err
	}
	c.base, c.deleted, c.partial = nil, folded.state.Deleted, false
	for _, name := range sortedKeys(folded.state.Fields) {
		f := stateField{name: name, kind: fieldText, value: folded.state.Fields[name]}
		if v, sealed := folded.state.Sealed[name]; sealed {
			f.kind, f.version = fieldSealed, v
		}
		c.fields = append(c.fields, f)
	}
	return nil
}
