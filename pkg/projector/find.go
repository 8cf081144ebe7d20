package projector

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// minPrefix is the least number of hexadecimal digits that name an event (docs/spec/log.md, section 4).
const minPrefix = 4

// maxCandidates is the number of events that an ambiguous prefix names in the problem.
const maxCandidates = 10

// EventByHash gives the event with a leaf hash, or with the only one that begins with a prefix of at least 4 hexadecimal digits. malformed if the
// prefix is not such a one, or if it is ambiguous: then the problem lists candidates. not_found if no event has it.
func (p *Projector) EventByHash(ctx context.Context, prefix string) (NamedEvent, error) {
	if err := p.up(); err != nil {
		return NamedEvent{}, err
	}
	prefix = strings.ToLower(prefix)
	if err := checkPrefix(prefix); err != nil {
		return NamedEvent{}, err
	}
	var found []hashMatch
	for _, x := range p.all() {
		err := x.view(func(store *statestore.Store) error {
			matches, err := byPrefix(store, prefix, maxCandidates+1-len(found))
			for i := range matches {
				matches[i].x = x
			}
			found = append(found, matches...)
			return err
		})
		if err != nil {
			return NamedEvent{}, err
		}
	}
	switch len(found) {
	case 0:
		return NamedEvent{}, problem.New(problem.NotFound, "no event has a hash that begins with %s", prefix)
	case 1:
		return p.event(ctx, found[0])
	}
	return NamedEvent{}, ambiguous(prefix, found)
}

func checkPrefix(prefix string) error {
	for i := range len(prefix) {
		if c := prefix[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return problem.New(problem.Malformed, "the hash %.80q has other characters than hexadecimal digits", prefix)
		}
	}
	if len(prefix) < minPrefix || len(prefix) > 64 {
		return problem.New(problem.Malformed, "the hash %.80q has %d digits, it must have %d to 64", prefix, len(prefix), minPrefix)
	}
	return nil
}

func ambiguous(prefix string, found []hashMatch) *problem.Problem {
	p := problem.New(problem.Malformed, "the prefix %s is ambiguous: %d events or more begin with it", prefix, len(found)).WithHint("give more digits")
	for _, m := range found[:min(len(found), maxCandidates)] {
		p.Problems = append(p.Problems, problem.New(problem.Malformed, "candidate %s: version %d of %s", m.hash, m.version, m.aggregate))
	}
	return p
}

type hashMatch struct {
	x         *index
	hash      event.Hash
	aggregate event.AggregateID
	version   event.Version
}

// byPrefix gives at most limit events whose hash begins with a prefix. An odd number of digits takes a look for each digit that may follow.
func byPrefix(store *statestore.Store, prefix string, limit int) (out []hashMatch, err error) {
	whole := []string{prefix}
	if len(prefix)%2 == 1 {
		whole = whole[:0]
		for _, digit := range "0123456789abcdef" {
			whole = append(whole, prefix+string(digit))
		}
	}
	for _, w := range whole {
		start, err := hex.DecodeString(w)
		if err != nil {
			return nil, fmt.Errorf("decode hash: %w", err)
		}
		var failure error
		err = store.Scan(append([]byte{keyHash}, start...), nil, func(key, value []byte) bool {
			if len(out) == limit {
				return false
			}
			m := hashMatch{}
			copy(m.hash[:], key[1:])
			if m.aggregate, m.version, failure = parseHashValue(value); failure != nil {
				return false
			}
			out = append(out, m)
			return true
		})
		if err := errors.Join(err, failure); err != nil {
			return nil, fmt.Errorf("look up hash: %w", err)
		}
	}
	return out, nil
}

// event reads the event that a hash leads to.
func (p *Projector) event(ctx context.Context, m hashMatch) (NamedEvent, error) {
	out := NamedEvent{Type: m.aggregate.Type, ID: m.aggregate.ID}
	err := m.x.view(func(store *statestore.Store) error {
		return p.commits(ctx, store, m.x.name, m.aggregate, m.version, func(at event.Position, c *event.Commit) (bool, error) {
			i := int(m.version - c.First)
			if m.version < c.First || i >= len(c.Events) || c.Leaf(i) != m.hash {
				return false, fmt.Errorf("hash %s leads to another event: %w", m.hash, errContent)
			}
			e, _, err := toEvent(at, c, i)
			out.Event = e
			return false, err
		})
	})
	return out, err
}

// Candidates are the aggregates that have an id.
type Candidates struct {
	Candidates []string `json:"candidates"` // type/id, ascending
}

// Resolve gives the aggregates of all types but EventfulDB's own that have this id. None is no error.
func (p *Projector) Resolve(_ context.Context, id string) (Candidates, error) {
	out := Candidates{Candidates: []string{}}
	if err := p.up(); err != nil {
		return out, err
	}
	if err := event.CheckID(id); err != nil {
		return out, problem.New(problem.Malformed, "%v", err)
	}
	for _, x := range p.all() {
		err := x.view(func(store *statestore.Store) error {
			for _, t := range x.listed(nil) {
				a := event.AggregateID{Type: t, ID: id}
				_, err := readSummary(store, a)
				if errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
					continue
				}
				if err != nil {
					return err
				}
				out.Candidates = append(out.Candidates, a.String())
			}
			return nil
		})
		if err != nil {
			return out, err
		}
	}
	slices.Sort(out.Candidates)
	return out, nil
}
