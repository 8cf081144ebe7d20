package projector

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// List gives aggregates by log, type and id in ascending byte order: of the given types, or of all but EventfulDB's own if there are none. At most
// take of them (100 if it is less than 1, 1000 at most) and about 512 KiB; the cursor of one page (empty: from the start) begins the next one.
// malformed if the cursor is not one that a List gave. A type that nobody has is no error.
func (p *Projector) List(ctx context.Context, types []string, cursor string, take int) (List, error) {
	if err := p.up(); err != nil {
		return List{}, err
	}
	from, err := parseCursor(cursor)
	if err != nil {
		return List{}, err
	}
	var page listPage
	err = p.withSchemas(ctx, func() error {
		page = listPage{take: clampTake(take), out: List{Aggregates: []Summary{}}}
		for _, x := range p.all() {
			if x.name < from.log || page.full {
				continue
			}
			if err := p.listLog(x, types, from, &page); err != nil {
				return err
			}
		}
		return nil
	})
	return page.out, err
}

// listLog adds the aggregates of one log to a page.
func (p *Projector) listLog(x *index, types []string, from listCursor, page *listPage) error {
	return x.view(func(r *reading) error {
		for _, t := range x.listed(types) {
			after := ""
			switch {
			case x.name == from.log && t < from.aggregate.Type:
				continue
			case x.name == from.log && t == from.aggregate.Type:
				after = from.aggregate.ID
			}
			ids, err := r.ids(t, after, page.take+1-len(page.out.Aggregates))
			if err != nil {
				return fmt.Errorf("list %s: %w", t, err)
			}
			for _, id := range ids {
				a := event.AggregateID{Type: t, ID: id}
				c, err := r.newest(a)
				if err == nil {
					err = page.add(p.schemas, x.name, a, c.Commit)
				}
				if err != nil || page.full {
					return err
				}
			}
		}
		return nil
	})
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

type listPage struct {
	out  List
	last listCursor
	take int
	size int
	full bool // there is more
}

// summaryText is what an aggregate takes in JSON besides its id.
const summaryText = 250

func (l *listPage) add(schemas *schemas, log string, a event.AggregateID, c *event.Commit) error {
	size := summaryText + jsonSize(a.ID)
	if len(l.out.Aggregates) == l.take || len(l.out.Aggregates) > 0 && l.size+size > pageBytes {
		l.full, l.out.Cursor = true, l.last.String()
		return nil
	}
	newest := &c.Events[len(c.Events)-1]
	deleted, err := schemas.deleting(a.Type, newest.Type, newest.SchemaDigest)
	if err != nil {
		return err
	}
	l.out.Aggregates = append(l.out.Aggregates, Summary{Type: a.Type, ID: a.ID, Version: uint64(c.Last()), Root: c.Root.String(), Deleted: deleted, Time: timeText(c.Time)})
	l.size += size
	l.last = listCursor{log, a}
	return nil
}

// listCursor names the last aggregate of a page. The zero value stands before the first.
type listCursor struct {
	log       string
	aggregate event.AggregateID
}

// String gives the opaque form.
func (c listCursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte(c.log + "\x00" + c.aggregate.Type + "\x00" + c.aggregate.ID))
}

func parseCursor(s string) (listCursor, error) {
	if s == "" {
		return listCursor{}, nil
	}
	bad := problem.New(problem.Malformed, "the cursor %.40q is not one that a list gave", s).WithHint("take the cursor of the page before as it is, or none to begin")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	parts := strings.Split(string(raw), "\x00")
	if err != nil || len(parts) != 3 {
		return listCursor{}, bad
	}
	c := listCursor{log: parts[0], aggregate: event.AggregateID{Type: parts[1], ID: parts[2]}}
	if event.CheckLog(c.log) != nil || c.aggregate.Check() != nil {
		return listCursor{}, bad
	}
	return c, nil
}
