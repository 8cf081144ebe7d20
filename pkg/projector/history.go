package projector

import (
	"context"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// History gives an aggregate's events from a version on (0 is 1), at most take of them (100 if it is less than 1, 1000 at most) and about
// 512 KiB; Cursor says where to go on. A version behind the newest gives an empty page. not_found if there is no such aggregate.
func (p *Projector) History(ctx context.Context, a event.AggregateID, from event.Version, take int) (History, error) {
	x, err := p.find(a)
	if err != nil {
		return History{}, err
	}
	page := historyPage{next: max(from, 1), take: clampTake(take), out: History{Events: []Event{}}}
	err = x.view(func(store *statestore.Store) error {
		newest, err := readSummary(store, a)
		if err != nil {
			return err
		}
		if err := p.commits(ctx, store, x.name, a, page.next, page.add); err != nil {
			return err
		}
		if page.next <= newest.version {
			page.out.Cursor = strconv.FormatUint(uint64(page.next), 10)
		}
		return nil
	})
	return page.out, err
}

type historyPage struct {
	out  History
	next event.Version
	take int
	size int
}

func (h *historyPage) add(at event.Position, c *event.Commit) (bool, error) {
	for i := range c.Events {
		if c.First+event.Version(i) < h.next {
			continue
		}
		e, size, err := toEvent(at, c, i)
		if err != nil {
			return false, err
		}
		if len(h.out.Events) > 0 && h.size+size > pageBytes {
			return false, nil
		}
		h.out.Events = append(h.out.Events, e)
		h.size += size
		h.next = c.First + event.Version(i) + 1
		if len(h.out.Events) == h.take {
			return false, nil
		}
	}
	return true, nil
}

// eventBytes is what an event takes in JSON besides its texts.
const eventBytes = 500

// toEvent gives a commit's i-th event, and the size of its JSON.
func toEvent(at event.Position, c *event.Commit, i int) (Event, int, error) {
	e := &c.Events[i]
	fields, err := event.DecodePayload(e.Payload)
	if err != nil {
		return Event{}, 0, err
	}
	out := Event{Version: uint64(c.First) + uint64(i), Event: e.Type, Fields: make(map[string]*string, len(fields)), Actor: c.Actor, Token: c.TokenID, Issuer: c.Issuer,
		OccurredAt: optionalTimeText(e.OccurredAt), Time: timeText(c.Time), Hash: c.Leaf(i).String(), Position: at.String(), Commit: c.ID.String(),
		Command: c.CommandID, SchemaVersion: e.SchemaVersion}
	size := eventBytes + jsonSize(c.Actor) + jsonSize(c.TokenID) + jsonSize(c.Issuer) + jsonSize(c.CommandID)
	for _, f := range fields {
		size += len(f.Name) + 8
		if !f.Set {
			out.Fields[f.Name] = nil
			continue
		}
		out.Fields[f.Name] = &f.Value
		size += jsonSize(f.Value)
	}
	return out, size, nil
}
