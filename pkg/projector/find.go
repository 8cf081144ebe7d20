package projector

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// minPrefix is the least number of hexadecimal digits that name an event (docs/spec/log.md, section 4).
const minPrefix = 4

// maxCandidates is the number of events that an ambiguous prefix names in the problem.
const maxCandidates = 10

// EventByHash gives the event with a leaf hash among those of aggregates that who asks may read (nil: all), or with the only one that begins with a prefix of at least 4 hexadecimal digits. malformed if the
// prefix is not such a one, or if it is ambiguous: then the problem lists candidates. not_found if no event has it.
func (p *Projector) EventByHash(ctx context.Context, prefix string, may func(event.AggregateID) bool) (NamedEvent, error) {
	m, err := p.match(ctx, prefix, may)
	if err != nil {
		return NamedEvent{}, err
	}
	return p.event(ctx, m)
}

// match finds the one event whose hash begins with a prefix, among those that who asks may read; nil: all.
func (p *Projector) match(ctx context.Context, prefix string, may func(event.AggregateID) bool) (hashMatch, error) {
	if err := p.up(); err != nil {
		return hashMatch{}, err
	}
	prefix = strings.ToLower(prefix)
	if err := checkPrefix(prefix); err != nil {
		return hashMatch{}, err
	}
	var found []hashMatch
	for _, x := range p.all() {
		err := x.view(ctx, func(r *reading) error {
			matches, err := r.byPrefix(prefix, maxCandidates+1-len(found), may)
			for i := range matches {
				matches[i].x = x
			}
			found = append(found, matches...)
			return err
		})
		if err != nil {
			return hashMatch{}, err
		}
	}
	switch len(found) {
	case 0:
		return hashMatch{}, problem.New(problem.NotFound, "no event that the token covers has a hash that begins with %s", prefix).WithHint("`eventful event:list` and `eventful aggregate:history` show hashes")
	case 1:
		return found[0], nil
	}
	return hashMatch{}, ambiguous(prefix, found)
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

// hexPrefix is the start of a hash: whole bytes, and a half one where the number of digits is odd.
type hexPrefix struct {
	bytes []byte
	half  byte // in the upper four bits
	odd   bool
}

func parsePrefix(digits string) (p hexPrefix, err error) {
	whole := digits
	if p.odd = len(digits)%2 == 1; p.odd {
		whole = digits + "0"
	}
	if p.bytes, err = hex.DecodeString(whole); err != nil {
		return p, fmt.Errorf("decode hash: %w", err)
	}
	if p.odd {
		n := len(p.bytes) - 1
		p.half, p.bytes = p.bytes[n], p.bytes[:n]
	}
	return p, nil
}

func (p *hexPrefix) begins(hash []byte) bool {
	return bytes.HasPrefix(hash, p.bytes) && (!p.odd || hash[len(p.bytes)]&0xf0 == p.half)
}

// byPrefix gives at most limit events whose hash begins with a prefix.
func (r *reading) byPrefix(digits string, limit int, may func(event.AggregateID) bool) ([]hashMatch, error) {
	prefix, err := parsePrefix(digits)
	if err != nil {
		return nil, err
	}
	out := r.tail.byPrefix(prefix, limit, may)
	key := append([]byte{keyHash}, prefix.bytes[:min(len(prefix.bytes), hashBytes)]...)
	from, half := key, prefix.odd && len(prefix.bytes) < hashBytes
	if half {
		from = append(bytes.Clone(key), prefix.half)
	}
	var failure error
	err = r.store.Scan(key, from, func(k, value []byte) bool {
		if len(out) == limit || half && k[len(key)]&0xf0 != prefix.half {
			return false
		}
		var m hashMatch
		if m, failure = r.resolve(value); failure == nil && prefix.begins(m.hash[:]) && !known(out, m.hash) && (may == nil || may(m.aggregate)) {
			out = append(out, m)
		}
		return failure == nil
	})
	if err := errors.Join(err, failure); err != nil {
		return nil, fmt.Errorf("look up hash: %w", err)
	}
	return out, nil
}

func known(matches []hashMatch, hash event.Hash) bool {
	return slices.ContainsFunc(matches, func(m hashMatch) bool { return m.hash == hash })
}

// resolve reads the event that the value of a hash leads to.
func (r *reading) resolve(value []byte) (m hashMatch, err error) {
	at, err := parseEventPlace(value)
	if err != nil {
		return m, err
	}
	w := walker{r: r}
	if err = w.load(at.sequence); err != nil {
		return m, err
	}
	c, err := w.at(at.commit())
	if err != nil {
		return m, err
	}
	if int(at.event) >= len(c.leaves) {
		return m, fmt.Errorf("index entry of a hash leads to a commit without event %d: %w", at.event, errContent)
	}
	m.aggregate, m.version, m.hash = c.Aggregate, c.First+event.Version(at.event), c.leaves[at.event]
	return m, nil
}

// event reads the event that a hash leads to.
func (p *Projector) event(ctx context.Context, m hashMatch) (NamedEvent, error) {
	out := NamedEvent{Type: m.aggregate.Type, ID: m.aggregate.ID}
	var under *seal
	var forgotten map[event.Hash]bool
	err := m.x.view(ctx, func(r *reading) error {
		return r.commits(ctx, m.aggregate, m.version, func(c located) (bool, error) {
			i := int(m.version - c.First)
			if m.version < c.First || i >= len(c.Events) || c.Leaf(i) != m.hash {
				return false, fmt.Errorf("hash %s leads to another event: %w", m.hash, errContent)
			}
			e, err := toEvent(m.x.name, c, i)
			out.Correlation, out.Causation = c.Correlation, c.Causation
			if out.Event = e; err == nil && e.sealed() {
				under = new(sealOf(c))
				forgotten, err = r.forgotten(ctx, m.aggregate)
			}
			return false, err
		})
	})
	if err == nil && under != nil {
		err = p.openEvent(ctx, m.aggregate, &out.Event, *under, forgotten)
	}
	return out, err
}

// Candidates are the aggregates that have an id.
type Candidates struct {
	Candidates []string `json:"candidates"` // type/id, ascending
}

// Resolve gives the aggregates of all types but EventfulDB's own that have this id. None is no error.
func (p *Projector) Resolve(ctx context.Context, id string) (Candidates, error) {
	out := Candidates{Candidates: []string{}}
	if err := p.up(); err != nil {
		return out, err
	}
	if err := event.CheckID(id); err != nil {
		return out, problem.New(problem.Malformed, "%v", err)
	}
	for _, x := range p.all() {
		err := x.view(ctx, func(r *reading) error {
			for _, t := range x.listed(nil) {
				a := event.AggregateID{Type: t, ID: id}
				found, err := r.exists(a)
				if err != nil {
					return err
				}
				if found {
					out.Candidates = append(out.Candidates, a.String())
				}
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
