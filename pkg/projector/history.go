package projector

import (
	"context"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// History gives an aggregate's events from a version on (0 is 1), at most take of them (100 if it is less than 1, 1000 at most) and about
// 512 KiB; Cursor says where to go on. A version behind the newest gives an empty page. not_found if there is no such aggregate.
func (p *Projector) History(ctx context.Context, a event.AggregateID, from event.Version, take int) (History, error) {
	x, err := p.find(a)
	if err != nil {
		return History{}, err
	}
	page := historyPage{log: x.name, next: max(from, 1), take: clampTake(take), out: History{Events: []Event{}}}
	err = x.view(ctx, func(r *reading) error {
		if err := r.commits(ctx, a, page.next, page.add); err != nil {
			return err
		}
		if page.more {
			page.out.Cursor = strconv.FormatUint(uint64(page.next), 10)
		}
		if page.sealed != nil {
			var err error
			page.forgotten, err = r.forgotten(ctx, a)
			return err
		}
		if page.seen {
			return nil
		}
		return noAggregate(a)
	})
	if err == nil && page.sealed != nil {
		err = p.openPage(ctx, a, &page)
	}
	return page.out, err
}

// Backwards gives an aggregate's events, newest first, behind the newest skip of them, and before a version (0: from the newest); otherwise it is History. Cursor is the version before which it goes on.
func (p *Projector) Backwards(ctx context.Context, a event.AggregateID, before event.Version, skip uint64, take int) (History, error) {
	_, newest, _, err := p.Newest(ctx, a)
	if err != nil {
		return History{}, err
	}
	if before == 0 || before > newest+1 {
		before = newest + 1
	}
	out := History{Events: []Event{}}
	if skip >= uint64(before-1) {
		return out, nil
	}
	last := before - 1 - event.Version(skip)
	for take = min(clampTake(take), int(min(uint64(last), maxTake))); ; take = (take + 1) / 2 {
		first := last - event.Version(take) + 1
		if out, err = p.History(ctx, a, first, take); err != nil {
			return History{}, err
		}
		if n := len(out.Events); n == take || take == 1 { // else they are too large for one page: its beginning is not what is wanted
			slices.Reverse(out.Events)
			out.Cursor = ""
			if first > 1 {
				out.Cursor = strconv.FormatUint(uint64(first), 10)
			}
			return out, nil
		}
	}
}

type historyPage struct {
	log  string
	out  History
	next event.Version
	take int

	worst, size int // of the events in JSON: at most, and of the first sized of them about
	sized       int
	seen        bool // there is such an aggregate
	more        bool // there are events behind the page

	sealed    map[int]seal // of the page's events with sealed fields; nil: there are none
	forgotten map[event.Hash]bool
}

func (h *historyPage) add(c located) (bool, error) {
	h.seen = true
	for i := range c.Events {
		if c.First+event.Version(i) < h.next {
			continue
		}
		if h.more = len(h.out.Events) == h.take; h.more {
			return false, nil
		}
		e, err := toEvent(h.log, c, i)
		if err != nil {
			return false, err
		}
		if h.more = !h.fits(&e, len(c.Events[i].Payload)); h.more {
			return false, nil
		}
		if c.KeyCommitment != nil && e.sealed() {
			if h.sealed == nil {
				h.sealed = make(map[int]seal)
			}
			h.sealed[len(h.out.Events)] = sealOf(c)
		}
		h.out.Events = append(h.out.Events, e)
		h.next = c.First + event.Version(i) + 1
	}
	return true, nil
}

// fits reports whether an event has a place on the page, and counts it. As long as the page is small even at the worst, sizes are only estimated.
func (h *historyPage) fits(e *Event, payload int) bool {
	if h.worst += maxEventBytes + 6*payload; h.worst <= pageBytes {
		return true
	}
	for ; h.sized < len(h.out.Events); h.sized++ {
		h.size += h.out.Events[h.sized].size()
	}
	return len(h.out.Events) == 0 || h.size+e.size() <= pageBytes
}

// eventBytes is what an event takes in JSON besides its texts, maxEventBytes what it takes besides its fields at most.
const (
	eventBytes    = 500
	maxEventBytes = eventBytes + 6*(event.MaxActorLen+2*event.MaxTokenIDLen+event.MaxCommandIDLen)
)

// size is about the size of an event's JSON, not less.
func (e *Event) size() int {
	size := eventBytes + jsonSize(e.Actor) + jsonSize(e.Token) + jsonSize(e.Issuer) + jsonSize(e.Command)
	for _, f := range e.Fields {
		size += len(f.Name) + 8 + jsonSize(f.Value)
	}
	return size
}

// toEvent gives a commit's i-th event.
func toEvent(log string, c located, i int) (Event, error) {
	e := &c.Events[i]
	fields, err := event.DecodePayload(e.Payload)
	if err != nil {
		return Event{}, err
	}
	out := Event{Version: uint64(c.First) + uint64(i), Event: e.Type, Fields: fields, Actor: c.Actor, Token: c.TokenID, Issuer: c.Issuer,
		Command: c.CommandID, SchemaVersion: e.SchemaVersion}
	out.texts(log, c, i)
	return out, nil
}

// texts sets what is made from numbers and hashes; the texts share one string.
func (e *Event) texts(log string, c located, i int) {
	var room [320]byte
	b := (event.Position{Log: log, Sequence: c.at.Sequence, Index: c.at.Index, Block: c.at.Block}).AppendTo(room[:0])
	position := len(b)
	b = hex.AppendEncode(b, c.ID[:])
	id := len(b)
	b = c.leaves[i].AppendTo(b)
	hash := len(b)
	b = appendTime(b, c.Time)
	written := len(b)
	if occurred := c.Events[i].OccurredAt; occurred != nil {
		b = appendTime(b, *occurred)
	}
	all := string(b)
	e.Position, e.Commit, e.Hash, e.Time, e.OccurredAt = all[:position], all[position:id], all[id:hash], all[hash:written], all[written:]
}

func appendTime(b []byte, t event.Time) []byte {
	return time.Unix(0, int64(t)).UTC().AppendFormat(b, time.RFC3339Nano)
}
