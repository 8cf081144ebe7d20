package projector

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/filter"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Wanted says which aggregates a list gives; the zero value: all but EventfulDB's own.
type Wanted struct {
	Types    []string            // of these types; none: of all but EventfulDB's own
	Only     []event.AggregateID // if any, these at most: who asks may read no others
	Filter   string              // a condition over the fields of the one type (package filter); empty: none
	Order    string              // what they are sorted by (filter.ParseOrder); empty: log, type and id, ascending in bytes
	Cursor   string              // of the page before; empty: from the start
	Archived bool                // only those that are archived now
	Take     int                 // at most; 100 if it is less than 1, 1000 at most
}

// listRead is how many aggregates one page of a list that is not sorted looks at, at most: a page may be empty and have a cursor.
const listRead = 50_000

// List gives aggregates. A page has about 512 KiB at most; its cursor begins the next one of the same query. While aggregates are written a list by id gives each that is there all the while
// once; a sorted one gives an aggregate twice, or not, if its place changes. malformed if the cursor is not one of this query, or the filter or order cannot be read; unavailable if ctx ends
// before a sorted list is through. A type that nobody has is no error. An equality in the filter is looked up; else the cost grows with the number of aggregates that are looked at.
func (p *Projector) List(ctx context.Context, want Wanted) (List, error) {
	if err := p.up(); err != nil {
		return List{}, err
	}
	l, err := p.listing(want)
	if err != nil {
		return List{}, err
	}
	l.ctx = ctx
	err = p.withSchemas(ctx, func() error {
		l.begin()
		for _, x := range p.all() {
			if x.name < l.from.Log || l.full {
				continue
			}
			if err := x.view(ctx, func(r *reading) error { return l.log(x, r) }); err != nil {
				return err
			}
		}
		return l.end()
	})
	return l.out, err
}

// listing is a list under way.
type listing struct {
	p      *Projector
	ctx    context.Context
	want   Wanted
	filter *filter.Filter // nil: none
	order  *filter.Order  // nil: by id
	query  []byte
	start  listPlace
	take   int

	from listPlace // behind it the next one is looked for
	last listPlace // that was looked at
	best []ranked  // of a sorted list, in order
	out  List
	read int
	size int
	full bool // there may be more
}

// listPlace is where a page ends. The zero value stands before the first.
type listPlace struct {
	Log, Type, ID string
	Key           filter.Key `json:",omitempty"` // of a sorted list
}

func (p *Projector) listing(want Wanted) (*listing, error) {
	l := &listing{p: p, want: want, take: clampTake(want.Take), query: queryDigest("list", strings.Join(want.Types, "\x00"), want.Filter, want.Order, strconv.FormatBool(want.Archived))}
	if want.Filter != "" || want.Order != "" {
		if len(want.Types) != 1 {
			return nil, problem.New(problem.Malformed, "a list of several types has no fields to filter or sort by").WithHint("name the aggregate type")
		}
		fields, ok := p.schemas.fieldsOf(want.Types[0])
		if !ok {
			return nil, problem.New(problem.NotFound, "there is no aggregate type %s", want.Types[0]).WithHint("`eventful schema:list` lists the types")
		}
		var err error
		if want.Filter != "" {
			if l.filter, err = filter.Parse(want.Filter, fields); err != nil {
				return nil, err
			}
		}
		if want.Order != "" {
			if l.order, err = filter.ParseOrder(want.Order, fields); err != nil {
				return nil, err
			}
		}
	}
	if err := p.cursors.open(l.query, want.Cursor, &l.start); err != nil {
		return nil, err
	}
	return l, nil
}

// begin begins anew, as a query does that met a schema which was not known yet.
func (l *listing) begin() {
	l.from, l.last, l.best, l.read, l.size, l.full = l.start, l.start, nil, 0, 0, false
	l.out = List{Aggregates: []Summary{}}
	if l.order != nil {
		l.from = listPlace{} // all are looked at
	}
}

// log looks at the aggregates of one log.
func (l *listing) log(x *index, r *reading) error {
	for _, t := range x.listed(l.want.Types) {
		after := ""
		switch {
		case x.name == l.from.Log && t < l.from.Type:
			continue
		case x.name == l.from.Log && t == l.from.Type:
			after = l.from.ID
		}
		err := l.candidates(r, t, after, func(c *current) (bool, error) { return l.look(r, x.name, c) })
		if err != nil || l.full {
			return err
		}
	}
	return nil
}

// look takes an aggregate into the page if it is wanted; false: the page is full.
func (l *listing) look(r *reading, log string, c *current) (bool, error) {
	if l.read++; l.read%256 == 0 && l.ctx.Err() != nil {
		return false, problem.New(problem.Unavailable, "the list was given up behind %d aggregates: %v", l.read, l.ctx.Err()).WithHint("narrow it by an equality in the filter")
	}
	if l.order == nil && l.read > listRead {
		l.full = true
		return false, nil
	}
	at := listPlace{Log: log, Type: c.id.Type, ID: c.id.ID}
	if c.tier.archived() != l.want.Archived {
		l.last = at
		return true, nil
	}
	if l.filter != nil || l.order != nil {
		if err := l.p.whole(l.ctx, r, c); err != nil {
			return false, err
		}
	}
	row := c.row()
	if wanted, err := l.wanted(c, row); err != nil || !wanted {
		l.last = at
		return err == nil, err
	}
	if l.order != nil {
		return true, l.rank(at, c, row)
	}
	if full, err := l.add(r, at); err != nil || full {
		l.full = full
		return false, err
	}
	l.last = at
	return true, nil
}

// wanted reports whether an aggregate is one of those that are asked for.
func (l *listing) wanted(c *current, row *filter.Row) (bool, error) {
	if l.filter != nil && !l.filter.Match(row) || c.err != nil {
		return false, c.err
	}
	return true, nil
}

// summaryText is what an aggregate takes in JSON besides its id.
const summaryText = 250

// add puts an aggregate on the page, if there is room.
func (l *listing) add(r *reading, at listPlace) (full bool, err error) {
	size := summaryText + jsonSize(at.ID)
	if len(l.out.Aggregates) == l.take || len(l.out.Aggregates) > 0 && l.size+size > pageBytes {
		return true, nil
	}
	s, err := l.p.summary(r, event.AggregateID{Type: at.Type, ID: at.ID})
	if err != nil {
		return false, err
	}
	l.out.Aggregates = append(l.out.Aggregates, s)
	l.size += size + jsonSize(s.Comment)
	return false, nil
}

// summary is what a list says of an aggregate. One that left the hot tier is not read for it.
func (p *Projector) summary(r *reading, a event.AggregateID) (Summary, error) {
	s := Summary{Type: a.Type, ID: a.ID}
	base, err := r.base(a)
	if err != nil {
		return s, err
	}
	if t := r.tierNow(a, base); t.archived() {
		s.Archived, s.Comment = timeText(t.since), t.comment
	}
	if base != nil && base.gone() && !base.partial() && len(r.tail.of(a)) == 0 {
		s.Version, s.Root, s.Deleted, s.Time = uint64(base.version), base.cold.root.String(), base.deleted(), timeText(base.time)
		return s, nil
	}
	c, found, err := r.lastOver(a, base)
	if err == nil && !found {
		err = noAggregate(a)
	}
	if err != nil {
		return s, err
	}
	newest := &c.Events[len(c.Events)-1]
	s.Version, s.Root, s.Time = uint64(c.Last()), c.Root.String(), timeText(c.Time)
	s.Deleted, err = p.schemas.deleting(a.Type, newest.Type, newest.SchemaDigest)
	return s, err
}

// end ends the page.
func (l *listing) end() (err error) {
	if l.order != nil {
		if err := l.ranked(); err != nil {
			return err
		}
	}
	if l.full {
		l.out.Cursor, err = l.p.cursors.seal(l.query, l.last)
	}
	return err
}

// ranked is an aggregate of a sorted list.
type ranked struct {
	listPlace
	version event.Version
}

// compare orders aggregates of a sorted list: by their keys, then by log, type and id.
func (l *listing) compare(a, b *listPlace) int {
	if c := l.order.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	if c := strings.Compare(a.Log, b.Log); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// rank keeps an aggregate if it belongs to the page: behind the cursor, and among the first that do. One more than the page holds is kept.
func (l *listing) rank(at listPlace, c *current, row *filter.Row) error {
	at.Key = l.order.Key(row)
	if c.err != nil {
		return c.err
	}
	if l.start.ID != "" && l.compare(&at, &l.start) <= 0 {
		return nil
	}
	if n := len(l.best); n > l.take && l.compare(&at, &l.best[n-1].listPlace) >= 0 {
		return nil
	}
	i, _ := slices.BinarySearchFunc(l.best, at, func(r ranked, at listPlace) int { return l.compare(&r.listPlace, &at) })
	l.best = slices.Insert(l.best, i, ranked{at, c.version})
	if len(l.best) > l.take+1 {
		l.best = l.best[:l.take+1]
	}
	return nil
}

// ranked makes the page of a sorted list.
func (l *listing) ranked() error {
	for i := range l.best {
		one := &l.best[i]
		x, err := l.p.find(event.AggregateID{Type: one.Type, ID: one.ID})
		if err != nil {
			return err
		}
		err = x.view(l.ctx, func(r *reading) (err error) {
			l.full, err = l.add(r, one.listPlace)
			return err
		})
		if err != nil || l.full {
			return err
		}
		l.last = one.listPlace
	}
	return nil
}

// listed gives the types of the index that a list shows, in ascending order.
func (x *index) listed(wanted []string) []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var out []string
	for t := range x.types {
		if slices.Contains(wanted, t) || len(wanted) == 0 && !event.IsReserved(t) {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return out
}
