package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// pageBytes is the size of an answer's JSON up to which a page takes further entries, so that it fits the server's max_payload of 1 MiB. One
// entry alone may be larger.
const pageBytes = 512 << 10

// Limits of the number of entries of a page; a request for none, or for less than one, gets defaultTake.
const (
	defaultTake = 100
	maxTake     = 1000
)

func clampTake(take int) int {
	if take <= 0 {
		return defaultTake
	}
	return min(take, maxTake)
}

// LogOf gives the log of an aggregate type: as its schema says, or else where events of the type are.
func (p *Projector) LogOf(aggregateType string) (string, bool) {
	if event.IsReserved(aggregateType) {
		return event.Reserved, true
	}
	if log, ok := p.schemas.logOf(aggregateType); ok {
		return log, true
	}
	for _, x := range p.all() {
		if x.has(aggregateType) {
			return x.name, true
		}
	}
	return "", false
}

// Alone reports whether a log holds aggregates of no other type than this one, EventfulDB's own left out.
func (p *Projector) Alone(aggregateType string) bool {
	for _, x := range p.all() {
		if x.has(aggregateType) {
			alone := true
			err := x.view(func(*statestore.Store) error {
				types := x.listed(nil)
				alone = len(types) == 1
				return nil
			})
			return err == nil && alone
		}
	}
	return true
}

// find gives the index that holds an aggregate's type.
func (p *Projector) find(a event.AggregateID) (*index, error) {
	if err := p.up(); err != nil {
		return nil, err
	}
	if err := a.Check(); err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	indexes := p.all()
	for _, x := range indexes {
		if x.has(a.Type) {
			return x, nil
		}
	}
	for _, x := range indexes {
		if err := x.progress.complete(x.name); err != nil {
			return nil, err
		}
	}
	return nil, noAggregate(a)
}

func noAggregate(a event.AggregateID) *problem.Problem {
	return problem.New(problem.NotFound, "aggregate %s does not exist", a).WithHint("check type and id; `eventful aggregate:list %s` shows what there is", a.Type)
}

func readSummary(store *statestore.Store, a event.AggregateID) (summary, error) {
	raw, err := store.Get(aggregateKey(a))
	if errors.Is(err, statestore.ErrNotFound) {
		return summary{}, noAggregate(a)
	}
	if err != nil {
		return summary{}, fmt.Errorf("read summary of %s: %w", a, err)
	}
	return parseSummary(raw)
}

// Newest gives where an aggregate's newest commit lies, with its version and root: where verify begins. not_found if there is no such aggregate.
func (p *Projector) Newest(_ context.Context, a event.AggregateID) (at event.Position, v event.Version, root event.Hash, err error) {
	x, err := p.find(a)
	if err != nil {
		return at, 0, root, err
	}
	var s summary
	err = x.view(func(store *statestore.Store) (err error) {
		s, err = readSummary(store, a)
		return err
	})
	if err != nil {
		return at, 0, root, err
	}
	return position(x.name, s.at), s.version, s.root, nil
}

// commits reads an aggregate's commits in order, beginning with the one that holds version from, until fn gives false or an error.
func (p *Projector) commits(ctx context.Context, store *statestore.Store, log string, a event.AggregateID, from event.Version, fn func(event.Position, *event.Commit) (bool, error)) error {
	prefix := commitPrefix(a)
	first := event.Version(1)
	err := store.ScanBack(prefix, commitKey(a, from+1), func(key, _ []byte) bool {
		first = firstOf(key)
		return false
	})
	if err != nil {
		return fmt.Errorf("read commits of %s: %w", a, err)
	}
	var failure error
	err = store.Scan(prefix, commitKey(a, first-1), func(_, value []byte) bool {
		if failure = ctx.Err(); failure != nil {
			return false
		}
		at, c, err := p.decode(log, value)
		if err != nil {
			failure = err
			return false
		}
		more, err := fn(at, c)
		failure = err
		return more && err == nil
	})
	if err == nil {
		err = failure
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return problem.New(problem.Unavailable, "reading %s was given up: %v", a, err)
	}
	if err != nil {
		return fmt.Errorf("read commits of %s: %w", a, err)
	}
	return nil
}

// decode gives a commit of the index, from memory if it is held there.
func (p *Projector) decode(log string, value []byte) (event.Position, *event.Commit, error) {
	link, _, err := cutLink(value)
	if err != nil {
		return event.Position{}, nil, err
	}
	at := position(log, link)
	if c := p.held.get(at); c != nil {
		return at, c, nil
	}
	_, c, err := parseCommit(value)
	if err != nil {
		return at, nil, err
	}
	p.held.put(at, c)
	return at, c, nil
}

func position(log string, l event.Link) event.Position {
	return event.Position{Log: log, Sequence: l.Sequence, Index: l.Index, Block: l.Block}
}

func timeText(t event.Time) string { return time.Unix(0, int64(t)).UTC().Format(time.RFC3339Nano) }

func optionalTimeText(t *event.Time) string {
	if t == nil {
		return ""
	}
	return timeText(*t)
}

// jsonSize is the number of bytes that a text takes in JSON at most.
func jsonSize(s string) (n int) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20 || c == '<' || c == '>' || c == '&' || c == 0x7f || c == 0xe2: // 0xe2 begins U+2028 and U+2029
			n += 6
		case c == '"' || c == '\\':
			n += 2
		default:
			n++
		}
	}
	return n + 2
}
