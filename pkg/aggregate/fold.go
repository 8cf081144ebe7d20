package aggregate

import (
	"maps"

	"github.com/eventfuldb/eventful/pkg/event"
)

// State is what the events of an aggregate up to a version come to. The zero value is the aggregate before its first event.
type State struct {
	Version event.Version
	Fields  map[string]string
	Deleted bool // the newest event ended the aggregate; Fields are those it ended with

	// RolledBack says that the newest event brought the aggregate back to an earlier state.
	RolledBack bool

	// Sealed are those of Fields whose value is a sealed one, with the version of the event that set it. Nil: none.
	Sealed map[string]event.Version
}

// Fold gives the state after one more event: for each field the last writer wins, and an unset field is gone. deletes says whether the event's
// schema lets its type end the aggregate; an event behind such a one starts from empty fields. Fold never fails (a payload that does not
// decode cannot be in a decoded commit; it counts as one without fields) and leaves s as it was. Fields of the result is never nil.
func Fold(s State, e event.Event, deletes bool) State {
	fields, err := event.DecodePayload(e.Payload)
	if err != nil {
		fields = nil
	}
	return FoldFields(s, e, fields, deletes)
}

// FoldFields is Fold for who has decoded the event's payload already.
func FoldFields(s State, e event.Event, fields []event.Field, deletes bool) State {
	next := State{Version: s.Version + 1, Fields: s.Fields, Deleted: deletes, RolledBack: IsRollback(&e), Sealed: s.Sealed}
	if s.Deleted || s.Fields == nil {
		next.Fields, next.Sealed = map[string]string{}, nil
	}
	if len(fields) == 0 {
		return next
	}
	next.Fields = maps.Clone(next.Fields)
	for _, f := range fields {
		if f.Set {
			next.Fields[f.Name] = f.Value
		} else {
			delete(next.Fields, f.Name)
		}
		next.seal(f, next.Version)
	}
	return next
}

// seal keeps note of whether the value of a field, which the event of a version gave it, is sealed. The map may be shared with the state before.
func (s *State) seal(f event.Field, by event.Version) {
	if _, was := s.Sealed[f.Name]; !was && !f.Sealed {
		return
	}
	if s.Sealed = maps.Clone(s.Sealed); s.Sealed == nil {
		s.Sealed = map[string]event.Version{}
	}
	if f.Sealed {
		s.Sealed[f.Name] = by
	} else {
		delete(s.Sealed, f.Name)
	}
}
