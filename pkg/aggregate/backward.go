package aggregate

import (
	"maps"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Backward is Fold backwards: it takes the events of an aggregate newest first, and remembers of each field only what the newest of them says. So a past can be read along
// its links, which lead backwards, without being kept. The zero value has taken no event. It is for one goroutine.
type Backward struct {
	newest State // of its newest event, without fields
	fields map[string]told
	ended  bool
}

// told is what the newest event that names a field says of it.
type told struct {
	event.Field
	by event.Version
}

// Add takes the event in front of those that were taken; version is its own. more is false when nothing that lies before it matters: it ended the aggregate.
func (b *Backward) Add(version event.Version, e *event.Event, fields []event.Field, deletes bool) (more bool) {
	if b.newest.Version == 0 {
		b.newest = State{Version: version, Deleted: deletes, RolledBack: IsRollback(e)}
		b.fields = make(map[string]told, len(fields))
	} else {
		b.ended = b.ended || deletes
	}
	if b.ended {
		return false
	}
	for _, f := range fields {
		if _, later := b.fields[f.Name]; !later {
			b.fields[f.Name] = told{f, version}
		}
	}
	return true
}

// Behind gives the state behind the newest event that was taken, where base is the one in front of the oldest. It leaves base as it was.
func (b *Backward) Behind(base State) State {
	if b.newest.Version == 0 {
		return base
	}
	next := b.newest
	next.Fields = make(map[string]string, len(base.Fields)+len(b.fields))
	if !b.ended && !base.Deleted {
		maps.Copy(next.Fields, base.Fields)
		next.Sealed = base.Sealed
	}
	for name, t := range b.fields {
		if t.Set {
			next.Fields[name] = t.Value
		} else {
			delete(next.Fields, name)
		}
		next.seal(t.Field, t.by)
	}
	return next
}
