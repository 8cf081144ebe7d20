package projector

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// What is in the index, and in memory, is sealed as it is in the log. An answer is opened when it is given, outside the index, with the key that the aggregate has
// then; where the log says that the key was forgotten, nobody asks for it any more.

// seal is what opening the sealed fields of a commit takes besides the key.
type seal struct {
	site       string
	branch     uint64
	commitment event.Hash
}

func sealOf(c located) seal {
	s := seal{site: c.Site, branch: c.Branch}
	copy(s.commitment[:], c.KeyCommitment)
	return s
}

// sealed reports whether the event has a sealed field.
func (e *Event) sealed() bool {
	return slices.ContainsFunc(e.Fields, func(f event.Field) bool { return f.Sealed })
}

// sealedState is what opening a state takes.
type sealedState struct {
	commits   []sealedCommit
	fields    map[string]event.Version // that are sealed, with the version that set each
	forgotten map[event.Hash]bool
}

type sealedCommit struct {
	seal
	first, last event.Version
}

func (s *sealedState) note(c located) {
	if c.KeyCommitment != nil {
		s.commits = append(s.commits, sealedCommit{sealOf(c), c.First, c.Last()})
	}
}

// sealAt is that of the commit with a version.
func (s *sealedState) sealAt(v event.Version) (seal, bool) {
	for i := len(s.commits) - 1; i >= 0; i-- {
		if c := s.commits[i]; c.first <= v && v <= c.last {
			return c.seal, true
		}
	}
	return seal{}, false
}

// Forgotten are the commitments of the keys of an aggregate's encrypted fields that were forgotten. not_found if nobody has the aggregate.
func (p *Projector) Forgotten(ctx context.Context, a event.AggregateID) (out map[event.Hash]bool, err error) {
	x, err := p.find(a)
	if err != nil {
		return nil, err
	}
	err = x.view(ctx, func(r *reading) (err error) {
		out, err = r.forgotten(ctx, a)
		return err
	})
	return out, err
}

// forgotten are the commitments of the keys that an aggregate had and that were forgotten.
func (r *reading) forgotten(ctx context.Context, a event.AggregateID) (map[event.Hash]bool, error) {
	out := make(map[event.Hash]bool)
	err := r.commits(ctx, event.AggregateID{Type: schema.SystemForgotten, ID: schema.ForgottenID(a)}, 1, func(c located) (bool, error) {
		for i := range c.Events {
			fields, err := event.DecodePayload(c.Events[i].Payload)
			if err != nil {
				return false, err
			}
			for _, f := range fields {
				if h, err := event.ParseHash(f.Value); f.Name == "commitment" && err == nil {
					out[h] = true
				}
			}
		}
		return true, nil
	})
	return out, err
}

// openState opens the sealed fields of a state.
func (p *Projector) openState(ctx context.Context, a event.AggregateID, out *State, sealed *sealedState) error {
	for name, version := range sealed.fields {
		under, ok := sealed.sealAt(version)
		if !ok {
			return gap(a, version)
		}
		text, shredded, err := p.open(ctx, a, under, sealed.forgotten, event.Field{Name: name, Value: out.Fields[name]})
		if err != nil {
			return err
		}
		if shredded {
			delete(out.Fields, name)
			out.Shredded = append(out.Shredded, name)
			continue
		}
		out.Fields[name] = text
	}
	slices.Sort(out.Shredded)
	return nil
}

// openPage opens the sealed fields of a page, which ends where it gets too large by that.
func (p *Projector) openPage(ctx context.Context, a event.AggregateID, page *historyPage) error {
	size := 0
	for i := range page.out.Events {
		e := &page.out.Events[i]
		if under, sealed := page.sealed[i]; sealed {
			if err := p.openEvent(ctx, a, e, under, page.forgotten); err != nil {
				return err
			}
		}
		if size += e.size(); i > 0 && size > pageBytes {
			page.out.Cursor = strconv.FormatUint(e.Version, 10)
			page.out.Events = page.out.Events[:i]
			return nil
		}
	}
	return nil
}

// openEvent opens the sealed fields of an event.
func (p *Projector) openEvent(ctx context.Context, a event.AggregateID, e *Event, under seal, forgotten map[event.Hash]bool) error {
	fields := make(Fields, 0, len(e.Fields))
	for _, f := range e.Fields {
		if f.Sealed {
			text, shredded, err := p.open(ctx, a, under, forgotten, f)
			if err != nil {
				return err
			}
			if shredded {
				e.Shredded = append(e.Shredded, f.Name)
				continue
			}
			f = event.Field{Name: f.Name, Value: text, Set: true}
		}
		fields = append(fields, f)
	}
	e.Fields = fields
	return nil
}

// open gives the text of a sealed field, or says that its key is gone.
func (p *Projector) open(ctx context.Context, a event.AggregateID, under seal, forgotten map[event.Hash]bool, f event.Field) (text string, shredded bool, err error) {
	if forgotten[under.commitment] {
		return "", true, nil
	}
	if p.config.Keys == nil {
		return "", false, problem.New(problem.Unavailable, "%s: the field %q is encrypted, and this process holds no keys", a, f.Name)
	}
	key, err := p.key(ctx, a, under.commitment)
	if fieldkey.Unreadable(err) {
		return "", false, problem.New(problem.Damaged, "%s: the key of its encrypted field %q is lost: %v", a, f.Name, err).
			WithHint("bring back the bucket of field keys from a backup, or give the values up: `eventful data:forget %s --yes`", a)
	}
	if err != nil {
		return "", false, problem.New(problem.Unavailable, "%s: the key of its encrypted fields cannot be reached: %v", a, err).WithHint("try again in a moment")
	}
	if key == nil {
		return "", true, nil
	}
	text, err = key.Open(fieldkey.Place{Site: under.site, Branch: under.branch, Aggregate: a, Field: f.Name}, f.Value)
	if errors.Is(err, fieldkey.ErrNotOpened) {
		return "", false, problem.New(problem.Damaged, "%s: the encrypted field %q was changed: it does not open under its key", a, f.Name).WithHint("`eventful aggregate:verify %s` says where", a)
	}
	return text, false, err
}

// key is the key with a commitment; nil: it is gone. One in memory may be older than the newest.
func (p *Projector) key(ctx context.Context, a event.AggregateID, commitment event.Hash) (*fieldkey.Key, error) {
	key, err := p.config.Keys.Get(ctx, a)
	if key != nil && key.Commitment() != commitment {
		p.config.Keys.Drop(a)
		key, err = p.config.Keys.Get(ctx, a)
	}
	if err != nil || key == nil || key.Commitment() != commitment {
		return nil, err
	}
	return key, nil
}
