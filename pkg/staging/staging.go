// Package staging keeps what somebody prepares for one commit, on the server and sealed, until he commits it.
//
// What an actor has staged is one value in a bucket, under a keyed hash of the actor, changed by compare-and-set alone; nothing is kept in memory, so any process
// with the bucket and the keys serves anybody, and sessions of one actor see the same. Staging checks like a dry run of everything that is staged by then.
//
// A commit is one transaction. Its side effects in order, and what a crash behind each leaves:
//
//  1. A dry run of everything that is staged: nothing.
//  2. The attempt is noted beside what is staged: the last entry that belongs to it, and the present version of each of its aggregates. The next caller finds
//     the note and asks whether the command was stored (a dry run of it, which gives the first answer again if it was).
//  3. The command itself, under the id that was fixed when the staging began, each aggregate expected at exactly the noted version: it is stored or not. It
//     cannot be stored twice: by the command id, and behind the window of command ids by the versions, which it has moved itself.
//  4. What was stored is taken out of what is staged, and a new command id is fixed. What was staged meanwhile stays.
//
// A Staging is safe for concurrent use.
package staging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// Bucket keeps one value for each key. Errors are those of package eventlog: ErrTaken (another revision), ErrRefused (too large), else it is not known
// whether a change was stored. It must be safe for concurrent use.
type Bucket interface {
	// Get gives the value and its revision; revision 0: there is none. It sees every change that was acknowledged before.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put changes the value of a key that has this revision, 0 meaning none.
	Put(ctx context.Context, key string, value []byte, revision uint64) error
	// Delete takes back a key that has this revision.
	Delete(ctx context.Context, key string, revision uint64) error
	// Keys lists the keys that may have a value.
	Keys(ctx context.Context) ([]string, error)
}

// Execute has a command decided by the writer of its log, as if it had come by NATS.
type Execute func(context.Context, writer.Request) (*writer.Answer, *problem.Problem)

// Config of a Staging; all fields but Now are required.
type Config struct {
	Site    string
	Bucket  Bucket
	Key     [32]byte // seals what is staged
	NameKey [32]byte // hides actors in the names of the bucket's keys
	Execute Execute
	Now     func() time.Time // default time.Now
}

// Staging serves staged commits.
type Staging struct{ cfg Config }

// New checks the configuration.
func New(cfg Config) (*Staging, error) {
	if err := event.CheckSite(cfg.Site); err != nil {
		return nil, fmt.Errorf("staging configuration: %w", err)
	}
	if cfg.Bucket == nil || cfg.Execute == nil {
		return nil, errors.New("staging configuration: bucket and execute are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Staging{cfg}, nil
}

// Caller is who asks: the claims of a token that was checked, the token itself, which goes with the commands, and the id of the request, by which a repeat of it
// is told.
type Caller struct {
	Claims  *token.Claims
	Token   string
	Request string
}

func (c Caller) actor() string { return c.Claims.Actor() }

// mayWrite is nil for a token that may write anything at all.
func (c Caller) mayWrite() *problem.Problem {
	if slices.Contains(c.Claims.Actions, token.ActionWrite) {
		return nil
	}
	return problem.New(problem.Forbidden, "the token of %s does not allow writing", c.actor()).WithHint("use an access token whose actions hold write")
}

// Summary says what an actor has staged, in numbers.
type Summary struct {
	Command    string    `json:"command"`    // id that the commit will have
	Aggregates int       `json:"aggregates"` // that are staged
	Events     int       `json:"events"`
	Began      time.Time `json:"began"`
	DryRun     bool      `json:"dry-run,omitempty"`
}

// Add stages changes behind what is staged already. Everything that is staged then must pass a dry run: token, schema, expected versions, limits, one log.
// An expected version is that of the stored aggregate, before everything that is staged. A dry run stages nothing.
func (s *Staging) Add(ctx context.Context, c Caller, changes []aggregate.Change, dry bool) (*Summary, *problem.Problem) {
	if p := c.mayWrite(); p != nil {
		return nil, p
	}
	return retry(ctx, func() (*Summary, bool, *problem.Problem) {
		r, _, p := s.settled(ctx, c)
		if p != nil {
			return nil, false, p
		}
		if r.knows(c.Request) {
			return r.summary(), false, nil
		}
		if p := r.add(changes, c.Claims.Issuer, c.Request, s.cfg.Now()); p != nil {
			return nil, false, p
		}
		whole, p := r.changes(r.Next)
		if p != nil {
			return nil, false, p
		}
		if _, p := s.dryRun(ctx, c, "", whole); p != nil {
			return nil, false, whileStaging(p)
		}
		answer := r.summary()
		if answer.DryRun = dry; dry {
			return answer, false, nil
		}
		again, p := s.save(ctx, r)
		return answer, again, p
	})
}

// whileStaging says what to do about a limit that everything together breaks.
func whileStaging(p *problem.Problem) *problem.Problem {
	if p.Code == problem.TooLarge && p.Hint == "" {
		p = p.WithHint("commit what is staged, or discard some of it; one transaction has at most %d aggregates and %d events", aggregate.MaxChanges, aggregate.MaxEvents)
	}
	return p
}

// Staged is one staged event.
type Staged struct {
	Number     uint64             `json:"number"` // counts what was staged since the staging began
	Type       string             `json:"type"`
	ID         string             `json:"id"`
	Expected   string             `json:"expected-version,omitempty"` // of the stored aggregate; empty: any
	Event      string             `json:"event"`
	OccurredAt *time.Time         `json:"occurred-at,omitempty"`
	Fields     map[string]*string `json:"fields"` // nil: unset
	Staged     time.Time          `json:"staged"`
}

// List is a page of what is staged, in the order in which it was staged.
type List struct {
	Command string   `json:"command,omitempty"` // id that the commit will have; empty: nothing is staged
	Events  []Staged `json:"events"`
	Hidden  int      `json:"hidden"`           // staged events of aggregates that the token may not write
	Cursor  uint64   `json:"cursor,omitempty"` // the next page begins behind this number; 0: nothing follows
}

// pageBytes is about how many bytes of values a page of List holds: an answer is one message.
const pageBytes = 128 << 10

// List lists up to take events behind the number after. It shows only aggregates that the token may write.
func (s *Staging) List(ctx context.Context, c Caller, after uint64, take int) (*List, *problem.Problem) {
	if p := c.mayWrite(); p != nil {
		return nil, p
	}
	return retry(ctx, func() (*List, bool, *problem.Problem) {
		r, _, p := s.settled(ctx, c)
		if p != nil && tellsNothing(p) { // of a commit that was cut short: what is staged can be shown all the same
			r, p = s.load(ctx, c.actor())
		}
		if p != nil {
			return nil, false, p
		}
		list, p := r.list(c.Claims, after, take)
		return list, false, p
	})
}

// Discarded says what was dropped.
type Discarded struct {
	Aggregates []string `json:"aggregates"` // type/id
	Events     int      `json:"events"`
	Left       int      `json:"left"` // events that stay staged
}

// Discard drops what is staged for one aggregate, or everything if it is nil. The token must allow writing what is dropped. What cannot be opened any more can
// still be dropped, with everything.
func (s *Staging) Discard(ctx context.Context, c Caller, only *event.AggregateID) (*Discarded, *problem.Problem) {
	if p := c.mayWrite(); p != nil {
		return nil, p
	}
	return retry(ctx, func() (*Discarded, bool, *problem.Problem) {
		if _, p := s.load(ctx, c.actor()); p != nil && p.Code == problem.Damaged && only == nil {
			again, p := s.drop(ctx, c.actor())
			return &Discarded{Aggregates: []string{}}, again, p
		}
		r, _, p := s.settled(ctx, c)
		if p != nil {
			return nil, false, p
		}
		answer, p := r.discard(c.Claims, only)
		if p != nil {
			return nil, false, p
		}
		again, p := s.save(ctx, r)
		return answer, again, p
	})
}

// maxRounds bounds how often one request begins again because another session changed what is staged.
const maxRounds = 100

// retry runs a round until it says that it is not to be run again.
func retry[T any](ctx context.Context, round func() (*T, bool, *problem.Problem)) (*T, *problem.Problem) {
	for range maxRounds {
		answer, again, p := round()
		if p != nil {
			return nil, p
		}
		if !again {
			return answer, nil
		}
		if err := ctx.Err(); err != nil {
			break
		}
	}
	return nil, problem.New(problem.Unavailable, "other sessions are changing what is staged").WithHint("send it again in a moment")
}
