package projector

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
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
			err := x.view(context.Background(), func(*reading) error {
				alone = len(x.listed(nil)) == 1
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
		if x.has(a.Type) && (!event.IsReserved(a.Type) || x.holds(a)) { // EventfulDB's own types may stand in every log
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

// LogHolding is the log that holds an aggregate; not_found if none does.
func (p *Projector) LogHolding(a event.AggregateID) (string, error) {
	x, err := p.find(a)
	if err != nil {
		return "", err
	}
	return x.name, nil
}

// Newest gives where an aggregate's newest commit lies, with its version and root: where verify begins. not_found if there is no such aggregate.
func (p *Projector) Newest(ctx context.Context, a event.AggregateID) (at event.Position, v event.Version, root event.Hash, err error) {
	x, err := p.find(a)
	if err != nil {
		return at, 0, root, err
	}
	err = x.view(ctx, func(r *reading) error {
		if base, err := r.base(a); err == nil && base != nil && base.gone() && !base.partial() && len(r.tail.of(a)) == 0 {
			at, v, root = r.position(base.cold.at), base.version, base.cold.root // the log need not be read, which may be damaged
			return nil
		}
		c, err := r.newest(a)
		if err == nil {
			at, v, root = r.position(c.at), c.Last(), c.Root
		}
		return err
	})
	return at, v, root, err
}

func timeText(t event.Time) string { return time.Unix(0, int64(t)).UTC().Format(time.RFC3339Nano) }

func optionalTimeText(t *event.Time) string {
	if t == nil {
		return ""
	}
	return timeText(*t)
}

// jsonSize is the number of bytes that a text takes in JSON at most.
func jsonSize(s string) int {
	n := len(s) + 2
	for i := range len(s) {
		if c := s[i]; !plain(c) && (c < utf8.RuneSelf || c == 0xe2) { // 0xe2 begins U+2028 and U+2029
			n += 5
		}
	}
	return n
}

// holds reports whether the index has an aggregate; one that cannot be asked may have it.
func (x *index) holds(a event.AggregateID) bool {
	found := false
	err := x.read(context.Background(), func(r *reading) (err error) {
		found, err = r.exists(a)
		return err
	})
	return found || err != nil
}
