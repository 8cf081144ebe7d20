package inbox

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// forgetPause is the time between two looks at whether letters are gone.
const forgetPause = 20 * time.Millisecond

// Forget removes the refused commands about an aggregate, and those of the waiting ones that came before, and says how many there were; dry only counts them. It
// comes back when they are gone, and may be repeated. Waiting commands are dropped by the process that empties the inbox, which this one must be. A transaction goes as a whole. The caller has checked
// who asks.
func (i *Inbox) Forget(ctx context.Context, a event.AggregateID, dry bool) (refused, letters int, p *problem.Problem) {
	if letters, p = i.forgetLetters(ctx, a, dry); p != nil { // first: what is refused meanwhile is found then
		return 0, 0, p
	}
	for after := uint64(0); ; {
		at, r, p := i.next(ctx, after+1)
		if p != nil || at == 0 {
			return refused, letters, p
		}
		if after = at; !r.mayBeAbout(a) {
			continue
		}
		if refused++; dry {
			continue
		}
		if err := i.cfg.Refused.Remove(ctx, at); err != nil {
			return refused, letters, notNow(err)
		}
	}
}

// mayBeAbout reports whether a refusal holds a command about an aggregate, or one of which nobody can tell any more.
func (r *Refusal) mayBeAbout(a event.AggregateID) bool {
	if r.Version == 0 {
		return false // it cannot be opened: nobody reads it
	}
	command, _ := streams.OfInbox(r.Subject)
	if of, _, err := streams.ParseCommandSubject(command); err == nil {
		return of == a
	}
	if all, err := aggregate.DecodeTransaction(r.Body); err == nil {
		return slices.ContainsFunc(all, func(c aggregate.Change) bool { return c.Aggregate == a })
	}
	return len(r.Body) != r.Size || bytes.Contains(r.Body, []byte(a.ID)) || bytes.Contains([]byte(r.Subject), []byte(a.ID))
}

// forgetLetters drops the waiting commands about an aggregate.
func (i *Inbox) forgetLetters(ctx context.Context, a event.AggregateID, dry bool) (int, *problem.Problem) {
	last, err := i.cfg.Letters.Last(ctx)
	if err != nil {
		return 0, notNow(err)
	}
	n, err := i.lettersAbout(ctx, a, last)
	if err != nil {
		return 0, notNow(err)
	}
	if n == 0 || dry {
		return n, nil
	}
	defer i.drop(a, 0)
	for left := n; left > 0; {
		i.drop(a, last)
		select {
		case i.poke <- struct{}{}:
		default:
		}
		pause(ctx, forgetPause)
		if left, err = i.lettersAbout(ctx, a, last); err != nil || ctx.Err() != nil {
			return 0, notNow(errors.Join(err, ctx.Err()))
		}
	}
	return n, nil
}

// drop has letters about an aggregate up to a sequence dropped; 0: none any more.
func (i *Inbox) drop(a event.AggregateID, upTo uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if upTo == 0 {
		delete(i.forgotten, a)
	} else {
		i.forgotten[a] = max(i.forgotten[a], upTo)
	}
}

// forgetting are the aggregates whose letters are to be dropped.
func (i *Inbox) forgetting() []event.AggregateID {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Collect(maps.Keys(i.forgotten))
}

// dropped reports whether a letter is to be dropped.
func (i *Inbox) dropped(it *item) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.forgotten) == 0 {
		return false
	}
	return slices.ContainsFunc(it.about, func(a event.AggregateID) bool { return it.sequence <= i.forgotten[a] })
}

// lettersAbout counts the waiting commands about an aggregate up to a sequence.
func (i *Inbox) lettersAbout(ctx context.Context, a event.AggregateID, last uint64) (n int, err error) {
	commands, transactions, err := streams.InboxSubjectsAbout(a)
	if err != nil {
		return 0, err
	}
	for _, subject := range []string{commands, transactions} {
		for from := uint64(1); from <= last; {
			letter, err := i.cfg.Letters.Next(ctx, subject, from)
			if errors.Is(err, eventlog.ErrNotFound) || err == nil && letter.Sequence > last {
				break
			}
			if err != nil {
				return 0, err
			}
			from = letter.Sequence + 1
			it := &item{}
			if it.address(letter); slices.Contains(it.about, a) {
				n++
			}
		}
	}
	return n, nil
}
