package projector

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// EventsWanted says which events are asked for; the zero value: all but those of EventfulDB itself, from the first one on.
type EventsWanted struct {
	Types       []string                     // of aggregates of these types; none: of all but EventfulDB's own
	Aggregate   event.AggregateID            // of this one; the zero value: of any
	Event       string                       // of this event type; empty: of any
	Actor       string                       // by him; empty: by anybody
	Correlation string                       // that belong to this; empty: whatever
	Since       time.Time                    // stored not before; zero: from the first one
	Until       time.Time                    // stored before; zero: to the last one
	Only        []event.AggregateID          // if any, of these at most: who asks may read no others
	May         func(event.AggregateID) bool // whether who asks may see events of this one; nil: he may
	Cursor      string                       // of the page before
	Take        int                          // at most; 100 if it is less than 1, 1000 at most
}

// Events is one page of events. Cursor goes into the next call as it is; empty on the last page of a list, never empty while one follows.
type Events struct {
	Events []NamedEvent `json:"events"`
	Cursor string       `json:"cursor"`
}

// eventsRead is how many commits of a log one page looks at, at most: a page may be empty and have a cursor.
const eventsRead = 20_000

// fetchWeight is as how many commits a block counts that had to be read from the log.
const fetchWeight = 20

// Events gives events in the order in which they were stored: those of one log in its order, those of several by their time. malformed if the cursor is not one of this query. Actor,
// correlation, event type and times are looked up; the cost grows with the number of commits that are found so.
func (p *Projector) Events(ctx context.Context, want EventsWanted) (Events, error) {
	f, err := p.feed(want, "events")
	if err != nil {
		return Events{}, err
	}
	if err := f.page(ctx); err != nil {
		return Events{}, err
	}
	if f.rest {
		f.out.Cursor, err = p.cursors.seal(f.query, f.places)
	}
	return f.out, err
}

// feed is a page of events under way.
type feed struct {
	p      *Projector
	want   EventsWanted
	query  []byte
	places map[string]feedPlace // by log: what comes next
	hits   []hit
	limit  event.Time // behind it the page cannot know what comes
	rest   bool       // there may be more
	out    Events
}

// feedPlace is where a feed goes on in a log; Block is that of Sequence where the place lies in a block that was seen.
type feedPlace struct {
	Sequence uint64 `json:"s"`
	Index    uint32 `json:"i,omitempty"`
	Event    uint32 `json:"e,omitempty"`
	Block    string `json:"b,omitempty"` // of the block that ends before Sequence, or holds it
	Of       uint64 `json:"o,omitempty"` // its sequence
}

func (f feedPlace) spot() spot { return spot{f.Sequence, f.Index, f.Event} }

// hit is an event that was found, and where to go on behind it.
type hit struct {
	x     *index
	c     located
	event int
}

func (h *hit) spot() spot { return spot{h.c.at.Sequence, h.c.at.Index, uint32(h.event)} }

func (p *Projector) feed(want EventsWanted, kind string) (*feed, error) {
	if err := p.up(); err != nil {
		return nil, err
	}
	f := &feed{p: p, want: want, places: map[string]feedPlace{}, out: Events{Events: []NamedEvent{}},
		query: queryDigest(kind, strings.Join(want.Types, "\x00"), want.Aggregate.Type, want.Aggregate.ID, want.Event, want.Actor, want.Correlation)} // times may be given as "an hour ago"
	return f, p.cursors.open(f.query, want.Cursor, &f.places)
}

// page reads what comes next in each log, and gives on what is known to come first.
func (f *feed) page(ctx context.Context) error {
	f.hits, f.rest, f.limit = nil, false, 1<<63-1
	for _, x := range f.p.all() {
		if !f.concerns(x) {
			continue
		}
		if err := f.log(ctx, x); err != nil {
			return err
		}
	}
	slices.SortStableFunc(f.hits, func(a, b hit) int {
		switch {
		case a.x == b.x:
			return a.spot().compare(b.spot())
		case a.c.Time != b.c.Time:
			return compareTimes(a.c.Time, b.c.Time)
		}
		return strings.Compare(a.x.name, b.x.name)
	})
	return f.give(ctx)
}

func compareTimes(a, b event.Time) int {
	if a < b {
		return -1
	}
	return 1
}

func (f *feed) concerns(x *index) bool {
	if t := f.want.Aggregate.Type; t != "" {
		return x.has(t)
	}
	return len(x.listed(f.want.Types)) > 0
}

// log reads one log from its place on.
func (f *feed) log(ctx context.Context, x *index) error {
	if at := f.places[x.name]; at.Of > 0 { // another process, whose index is further, may have given the place
		if _, err := f.p.waitIndex(ctx, x.name, at.Of); err != nil {
			return err
		}
	}
	return x.view(ctx, func(r *reading) error {
		begin, err := f.begin(x, r)
		if err != nil {
			return err
		}
		before, err := r.end() // commits that come while the log is read may be given, or not
		if err != nil {
			return err
		}
		s := stretch{feed: f, ctx: ctx, x: x, r: r, next: feedPlace{Sequence: begin.sequence, Index: begin.index, Event: begin.event}}
		if before.Of >= begin.sequence {
			s.next = before
		}
		if only := f.only(); len(only) > 0 {
			err = r.walkOnly(ctx, only, begin, func(c located) (bool, error) {
				if c.at.Sequence > before.Of { // of some of them what came meanwhile was seen, of others not
					return false, nil
				}
				return s.take(c)
			})
		} else {
			err = r.walk(f.by(), begin, s.take)
		}
		if err != nil {
			return err
		}
		f.places[x.name] = s.next
		return nil
	})
}

// stretch is the part of a log that a page reads.
type stretch struct {
	*feed
	ctx         context.Context
	x           *index
	r           *reading
	read, found int
	next        feedPlace // where the next page goes on
}

func (s *stretch) take(c located) (bool, error) {
	if s.read%256 == 0 && s.ctx.Err() != nil {
		return false, problem.New(problem.Unavailable, "reading events was given up: %v", s.ctx.Err())
	}
	place := feedPlace{Sequence: c.at.Sequence, Index: c.at.Index, Block: c.at.Block.String(), Of: c.at.Sequence}
	switch {
	case !s.want.Until.IsZero() && !time.Unix(0, int64(c.Time)).Before(s.want.Until):
		s.next = place
		return false, nil
	case s.read+fetchWeight*s.r.fetches >= eventsRead || s.found > clampTake(s.want.Take):
		s.next, s.rest, s.limit = place, true, min(s.limit, c.Time)
		return false, nil
	}
	s.read++
	s.found += s.feed.take(s.x, c)
	if spotOf(c.at).compare(s.next.spot().commit()) >= 0 { // it came while the log was read
		place.Index++
		s.next = place
	}
	return true, nil
}

// begin is where reading a log begins.
func (f *feed) begin(x *index, r *reading) (spot, error) {
	at, ok := f.places[x.name]
	if !ok {
		return r.begin(spot{}, f.want.Since)
	}
	if at.Block == "" {
		return at.spot(), nil
	}
	id, found, err := r.block(at.Of)
	if err == nil && (!found || id.String() != at.Block) {
		err = problem.New(problem.Conflict, "the log %s does not hold the block any more up to which events were given: it lost its end", x.name).
			WithHint("what was given since is not in the log; begin anew where you know it is sound")
	}
	return at.spot(), err
}

// only are the aggregates that events are asked for, where they are few and known.
func (f *feed) only() []event.AggregateID {
	if f.want.Aggregate.ID != "" {
		return []event.AggregateID{f.want.Aggregate}
	}
	return f.want.Only
}

// by is what narrows the search most.
func (f *feed) by() posting {
	switch {
	case f.want.Correlation != "":
		return posting{byCorrelation, hash48(f.want.Correlation)}
	case f.want.Actor != "":
		return posting{byActor, hash48(f.want.Actor)}
	case f.want.Event != "":
		return posting{byEvent, hash48(f.want.Event)}
	}
	return posting{}
}

// take notes the events of a commit that are wanted, and says how many they are.
func (f *feed) take(x *index, c located) (n int) {
	w := &f.want
	switch of := c.Aggregate; {
	case w.Actor != "" && c.Actor != w.Actor, w.Correlation != "" && c.Correlation != w.Correlation, time.Unix(0, int64(c.Time)).Before(w.Since):
		return 0
	case w.Aggregate != (event.AggregateID{}) && of != w.Aggregate && (w.Aggregate.ID != "" || of.Type != w.Aggregate.Type):
		return 0
	case len(w.Types) > 0 && !slices.Contains(w.Types, of.Type), len(w.Types) == 0 && w.Aggregate.Type == "" && event.IsReserved(of.Type):
		return 0
	case w.May != nil && !w.May(of):
		return 0
	}
	from := f.places[x.name].spot()
	for i := range c.Events {
		h := hit{x, c, i}
		if (w.Event == "" || c.Events[i].Type == w.Event) && h.spot().compare(from) >= 0 {
			f.hits = append(f.hits, h)
			n++
		}
	}
	return n
}

// give puts events on the page while it is known that no other comes before them, and there is room.
func (f *feed) give(ctx context.Context) error {
	take, size := clampTake(f.want.Take), 0
	for i := range f.hits {
		h := &f.hits[i]
		size += eventText + 2*len(h.c.Events[h.event].Payload)
		if h.c.Time >= f.limit && !f.alone(h) || len(f.out.Events) == take || i > 0 && size > pageBytes {
			f.hold(f.hits[i:])
			break
		}
		e, err := f.p.named(ctx, h)
		if err != nil {
			return err
		}
		f.out.Events = append(f.out.Events, e)
	}
	return nil
}

// alone reports whether an event lies before the place where its own log was left, in the same block.
func (f *feed) alone(h *hit) bool {
	return h.spot().compare(f.places[h.x.name].spot()) < 0 && h.c.Time == f.limit
}

// hold has the next page begin with the first of some events in each log.
func (f *feed) hold(rest []hit) {
	f.rest = true
	seen := map[string]bool{}
	for i := range rest {
		if h := &rest[i]; !seen[h.x.name] {
			seen[h.x.name] = true
			at := h.spot()
			f.places[h.x.name] = feedPlace{Sequence: at.sequence, Index: at.index, Event: at.event, Block: h.c.at.Block.String(), Of: at.sequence}
		}
	}
}

// named gives an event with its sealed fields opened.
func (p *Projector) named(ctx context.Context, h *hit) (NamedEvent, error) {
	out := NamedEvent{Type: h.c.Aggregate.Type, ID: h.c.Aggregate.ID, Correlation: h.c.Correlation, Causation: h.c.Causation}
	e, err := toEvent(h.x.name, h.c, h.event)
	if err != nil {
		return out, err
	}
	out.Event = e
	if !e.sealed() {
		return out, nil
	}
	var forgotten map[event.Hash]bool
	err = h.x.view(ctx, func(r *reading) (err error) {
		forgotten, err = r.forgotten(ctx, h.c.Aggregate)
		return err
	})
	if err == nil {
		err = p.openEvent(ctx, h.c.Aggregate, &out.Event, sealOf(h.c), forgotten)
	}
	return out, err
}
