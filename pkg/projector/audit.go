package projector

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// ActsWanted says which administrative acts are asked for; the zero value: all, from the first one on.
type ActsWanted struct {
	Actor  string                       // who did them; empty: anybody
	About  event.AggregateID            // what they are about, itself or by its name as an id; without an id everything of the type, without a type anything
	Since  time.Time                    // not before; zero: from the first one
	Until  time.Time                    // before; zero: to the last one
	Units  bool                         // grants and hand-backs of write budgets too, which writers record by themselves
	May    func(event.AggregateID) bool // whether who asks may see acts on this one; nil: he may
	Cursor string                       // of the page before
	Take   int                          // at most; 100 if it is less than 1, 1000 at most
}

// Acts is one page of administrative acts in the order in which they were stored. Cursor goes into the next call as it is; empty on the last page.
type Acts struct {
	Acts   []NamedEvent `json:"acts"`
	Cursor string       `json:"cursor"`
}

// actsRead is how many commits one page looks at, at most: a page may be empty and have a cursor.
const actsRead = 10_000

// Acts gives the events of the system log that are acts of people, each with the hash that proves it. malformed if the cursor is not one that Acts gave. Its
// cost depends on the page, not on the log.
func (p *Projector) Acts(ctx context.Context, want ActsWanted) (Acts, error) {
	out := Acts{Acts: []NamedEvent{}}
	from, err := actPlaceOf(want)
	if err != nil {
		return out, err
	}
	if err := p.up(); err != nil {
		return out, err
	}
	x, _, _ := p.indexOrGrowth(event.Reserved)
	if x == nil {
		return out, nil
	}
	page := actsPage{want: want, log: x.name, take: clampTake(want.Take), out: out}
	err = x.view(func(r *reading) error {
		return r.acts(from, func(c located) (bool, error) {
			if err := ctx.Err(); err != nil {
				return false, problem.New(problem.Unavailable, "reading the acts was given up: %v", err)
			}
			return page.add(c)
		})
	})
	return page.out, err
}

type actsPage struct {
	want ActsWanted
	log  string
	take int
	read int
	size int
	out  Acts
}

// add takes what is wanted of a commit; false: the page ends before it.
func (p *actsPage) add(c located) (more bool, err error) {
	if !p.want.Until.IsZero() && !time.Unix(0, int64(c.Time)).Before(p.want.Until) {
		return false, nil
	}
	if p.read++; p.read > actsRead || len(p.out.Acts) >= p.take || p.size > pageBytes {
		p.out.Cursor = base64.RawURLEncoding.EncodeToString(actKey(c)[1:])
		return false, nil
	}
	if !p.want.wants(c) {
		return true, nil
	}
	for i := range c.Events {
		if unitsOnly(c.Events[i].Type) && !p.want.Units {
			continue
		}
		e, err := toEvent(p.log, c, i)
		if err != nil {
			return false, err
		}
		p.out.Acts = append(p.out.Acts, NamedEvent{Type: c.Aggregate.Type, ID: c.Aggregate.ID, Event: e})
		p.size += eventText + len(c.Events[i].Payload)
	}
	return true, nil
}

// eventText is what an event takes in JSON besides its fields, about.
const eventText = 700

// unitsOnly reports whether an event of the system log is what writers record of a token's budget (docs/spec/commands.md, section 9).
func unitsOnly(eventType string) bool {
	return eventType == "budget-granted" || eventType == "budget-taken-back"
}

func (w *ActsWanted) wants(c located) bool {
	if w.Actor != "" && c.Actor != w.Actor || w.May != nil && !w.May(c.Aggregate) {
		return false
	}
	of := w.About
	switch {
	case of == event.AggregateID{}:
		return true
	case c.Aggregate.Type == schema.SystemRollback && of.Type != schema.SystemRollback:
		return rollsBack(c, of)
	case of.ID == "":
		return c.Aggregate.Type == of.Type || c.Aggregate.ID == of.Type
	}
	return c.Aggregate == of || c.Aggregate.ID == of.String() || c.Aggregate.Type == schema.SystemCertificate && c.Aggregate.ID == schema.ForgottenID(of)
}

// rollsBack reports whether a record of a rollback is about a type, or an aggregate.
func rollsBack(c located, of event.AggregateID) bool {
	fields, err := event.DecodePayload(c.Events[0].Payload)
	if err != nil {
		return false
	}
	var about event.AggregateID
	for _, f := range fields {
		switch f.Name {
		case "type":
			about.Type = f.Value
		case "id":
			about.ID = f.Value
		}
	}
	return (about.Type == "" || about.Type == of.Type) && (about.ID == "" || of.ID == "" || about.ID == of.ID)
}

// actKey orders the commits of the system log by time, which rises from block to block, and their place in the block.
func actKey(c located) []byte {
	return binary.BigEndian.AppendUint32(actTime(c.Time), c.at.Index)
}

func actTime(t event.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyAct}, uint64(t)^1<<63)
}

// actPlaceOf is the key from which on a page reads.
func actPlaceOf(want ActsWanted) ([]byte, error) {
	if want.Cursor != "" {
		rest, err := base64.RawURLEncoding.Strict().DecodeString(want.Cursor)
		if err != nil || len(rest) != 8+4 {
			return nil, problem.New(problem.Malformed, "the cursor %.40q is not one that a list gave", want.Cursor).WithHint("take the cursor of the page before as it is, or none to begin")
		}
		return append([]byte{keyAct}, rest...), nil
	}
	if want.Since.IsZero() || want.Since.Unix() < 0 {
		return []byte{keyAct}, nil
	}
	return actTime(event.Time(want.Since.UnixNano())), nil
}

// acts gives commits in the order of the log, from a key on, until fn gives false or an error.
func (r *reading) acts(from []byte, fn func(located) (bool, error)) error {
	var last event.Link // of what was given out of the store
	more, recent := true, r.tail.inOrder()
	var failure error
	err := r.store.Scan([]byte{keyAct}, from, func(key, value []byte) bool {
		var c located
		if c, failure = r.act(key, value); failure != nil {
			return false
		}
		if len(recent) > 0 && !before(c.at, recent[0].at) {
			return false // flushed meanwhile
		}
		last = c.at
		more, failure = fn(c)
		return more && failure == nil
	})
	if err := errors.Join(failure, err); err != nil || !more {
		return err
	}
	for _, raw := range recent {
		if !before(last, raw.at) {
			continue
		}
		c, err := r.decodeRecent(raw)
		if err != nil {
			return err
		}
		if string(actKey(c)) < string(from) {
			continue
		}
		if more, err := fn(c); err != nil || !more {
			return err
		}
	}
	return nil
}

// act reads the commit that an entry of an act leads to.
func (r *reading) act(key, value []byte) (located, error) {
	first, n := binary.Uvarint(value)
	if n <= 0 {
		return located{}, fmt.Errorf("index entry of an act: %w", errContent)
	}
	at, err := locationOf(value[n:])
	if err != nil {
		return located{}, err
	}
	commits, err := r.raw(at)
	if err != nil {
		return located{}, err
	}
	for i := range commits {
		if commits[i].first != event.Version(first) {
			continue
		}
		c, err := decodeOne(commits[i])
		if err == nil && string(actKey(c)) == string(key) {
			return c, nil
		}
		if err != nil {
			return located{}, err
		}
	}
	return located{}, fmt.Errorf("index entry of an act leads to a record without its commit: %w", errContent)
}
