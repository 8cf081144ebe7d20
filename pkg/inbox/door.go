package inbox

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// Caller is who asks: the claims of a token that was checked, and the token itself, which goes with what is tried again.
type Caller struct {
	Claims *token.Claims
	Token  string
}

func (c Caller) admin() bool { return c.Claims.AllowsAll(token.ActionAdmin) }

func (c Caller) check() *problem.Problem {
	if c.admin() || slices.Contains(c.Claims.Actions, token.ActionWrite) {
		return nil
	}
	if slices.Contains(c.Claims.Actions, token.ActionAdmin) {
		return c.Claims.MayAdminister()
	}
	return problem.New(problem.Forbidden, "the token of %s allows neither writing nor administering", c.Claims.Actor()).WithHint("use the token that the commands were sent with, or an auth key")
}

// Record enters an act into the system log before it is done.
type Record func(ctx context.Context, by *token.Claims, id, eventType string, fields map[string]string) *problem.Problem

// Events of acts on refused commands (docs/spec/commands.md, section 9).
const (
	actPurged  = "refused-purged"
	actRetried = "refused-retried"
)

// Status is how the inbox stands.
type Status struct {
	Waiting uint64     `json:"waiting"`          // commands that are neither stored nor refused
	Oldest  *time.Time `json:"oldest,omitempty"` // when the first of them was sent
	Refused uint64     `json:"refused"`
}

// Status says how many commands wait, since when, and how many were refused.
func (i *Inbox) Status(ctx context.Context, c Caller) (*Status, *problem.Problem) {
	if p := c.check(); p != nil {
		return nil, p
	}
	n, oldest, err := i.cfg.Letters.Waiting(ctx)
	if err != nil {
		return nil, notNow(err)
	}
	s := &Status{Waiting: n}
	if n > 0 {
		s.Oldest = new(oldest.UTC())
	}
	if s.Refused, err = i.cfg.Refused.Count(ctx); err != nil {
		return nil, notNow(err)
	}
	return s, nil
}

// Entry is one refused command without its content.
type Entry struct {
	Number  uint64           `json:"number"`
	Sent    time.Time        `json:"sent"`
	Refused time.Time        `json:"refused"`
	Type    string           `json:"type,omitempty"`
	ID      string           `json:"id,omitempty"`    // empty for a transaction
	Event   string           `json:"event,omitempty"` // as id
	Subject string           `json:"subject"`
	Actor   string           `json:"actor,omitempty"`
	Command string           `json:"command"`
	Problem *problem.Problem `json:"problem"`
}

// Letter is one refused command with its content.
type Letter struct {
	Entry
	Inbox    string              `json:"inbox"`  // name of the inbox
	Position uint64              `json:"letter"` // its number there
	Token    string              `json:"token,omitempty"`
	Issuer   string              `json:"issuer,omitempty"`
	Header   map[string][]string `json:"header"`         // without the token
	Body     string              `json:"body,omitempty"` // as it was sent, if it is UTF-8 …
	Base64   []byte              `json:"body-base64,omitempty"`
	Size     int                 `json:"size"` // of the body as it was sent; of a very large one the beginning is kept
}

// Page is a part of the refused commands, oldest first.
type Page struct {
	Refused []Entry `json:"refused"`
	Cursor  uint64  `json:"cursor,omitempty"` // the next page begins behind this number; 0: nothing follows
}

// maxRead bounds how many refusals one page looks at, of whomever they are.
const maxRead = 1000

// List lists up to take refusals behind the number after: every one to an administrator, to anybody else those that sees allows.
func (i *Inbox) List(ctx context.Context, c Caller, after uint64, take int) (*Page, *problem.Problem) {
	if p := c.check(); p != nil {
		return nil, p
	}
	page := &Page{Refused: []Entry{}}
	for range maxRead {
		number, r, p := i.next(ctx, after+1)
		switch {
		case p != nil:
			return nil, p
		case number == 0:
			return page, nil
		case len(page.Refused) == take:
			page.Cursor = after
			return page, nil
		}
		if after = number; c.sees(r) {
			page.Refused = append(page.Refused, r.entry(number))
		}
	}
	page.Cursor = after
	return page, nil
}

// next reads the first refusal at a number or behind it; 0: there is none. One that cannot be opened comes with that as its problem.
func (i *Inbox) next(ctx context.Context, at uint64) (number uint64, r *Refusal, p *problem.Problem) {
	number, id, sealed, err := i.cfg.Refused.Next(ctx, at)
	if errors.Is(err, eventlog.ErrNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, notNow(err)
	}
	if r, err = i.open(id, sealed); err != nil {
		broken := problem.New(problem.Damaged, "this refused command cannot be opened: %v", err).WithHint("bring back the key file that belongs to this store, or drop it with `eventful inbox:purge %d`", number)
		r = &Refusal{Problem: broken, Command: id}
	}
	return number, r, nil
}

func (r *Refusal) entry(number uint64) Entry {
	e := Entry{Number: number, Sent: r.Sent, Refused: r.Refused, Subject: r.Subject, Actor: r.Actor, Command: r.Command, Problem: r.Problem}
	command, _ := streams.OfInbox(r.Subject)
	if a, kind, err := streams.ParseCommandSubject(command); err == nil {
		e.Type, e.ID, e.Event = a.Type, a.ID, kind
	} else if kind, err := streams.ParseTransactionSubject(command); err == nil {
		e.Type = kind
	}
	return e
}

// one reads a refusal that the caller may see.
func (i *Inbox) one(ctx context.Context, c Caller, number uint64) (*Refusal, *problem.Problem) {
	if p := c.check(); p != nil {
		return nil, p
	}
	at, r, p := i.next(ctx, number)
	if p == nil && (at == 0 || at != number || !c.sees(r)) {
		p = problem.New(problem.NotFound, "there is no refused command %d that the token of %s may see", number, c.Claims.Actor()).WithHint("`eventful inbox:refused` lists them")
	}
	return r, p
}

// Show gives one refusal with its content.
func (i *Inbox) Show(ctx context.Context, c Caller, number uint64) (*Letter, *problem.Problem) {
	r, p := i.one(ctx, c, number)
	if p != nil {
		return nil, p
	}
	l := &Letter{Entry: r.entry(number), Inbox: r.Inbox, Position: r.Letter, Token: r.Token, Issuer: r.Issuer, Header: r.Header, Size: r.Size}
	if utf8.Valid(r.Body) {
		l.Body = string(r.Body)
	} else {
		l.Base64 = r.Body
	}
	return l, nil
}

// Retried says where a command waits again.
type Retried struct {
	Letter  uint64 `json:"letter"` // its number in the inbox
	Command string `json:"command"`
}

// Retry puts one of the caller's own refused commands back into the inbox, with the caller's token and under its first command id, and drops the refusal. A crash
// in between leaves both: retried again it is stored once.
func (i *Inbox) Retry(ctx context.Context, c Caller, number uint64) (*Retried, *problem.Problem) {
	end, p := i.alone(ctx)
	if p != nil {
		return nil, p
	}
	defer end()
	r, p := i.one(ctx, c, number)
	switch {
	case p != nil:
		return nil, p
	case r.Actor == "" || r.Actor != c.Claims.Actor():
		return nil, problem.New(problem.Forbidden, "refused command %d was not sent by %s", number, c.Claims.Actor()).
			WithHint("whoever sent it retries it with an access token; if its token was not valid, send it anew: `eventful inbox:refused %d` shows it", number)
	case len(r.Body) != r.Size:
		return nil, problem.New(problem.TooLarge, "refused command %d had %d bytes, of which %d were kept", number, r.Size, len(r.Body)).WithHint("send it anew, in smaller parts")
	}
	command, ok := streams.OfInbox(r.Subject)
	if !ok {
		return nil, problem.New(problem.Malformed, "refused command %d has no subject that it could be sent to", number).WithHint("drop it with `eventful inbox:purge %d`", number)
	}
	if p := i.cfg.Record(ctx, c.Claims, r.id(), actRetried, r.act(number)); p != nil {
		return nil, p
	}
	header := r.again(c.Token)
	letter, err := i.cfg.Letters.Put(ctx, command, header, r.Body)
	if errors.Is(err, jetlog.ErrFull) {
		return nil, problem.New(problem.NoSpace, "the inbox is full").WithHint("try again when fewer commands wait: `eventful inbox:status`")
	}
	if err != nil {
		return nil, notNow(err)
	}
	if err := i.cfg.Refused.Remove(ctx, number); err != nil {
		return nil, problem.New(problem.UnknownOutcome, "command %s waits in the inbox again, and could not be taken out of the refused ones: %v", r.Command, err)
	}
	return &Retried{Letter: letter, Command: r.Command}, nil
}

// again is the header of a command that is tried again with a token.
func (r *Refusal) again(jwt string) nats.Header {
	header := nats.Header{}
	for name, values := range r.Header {
		header[name] = values
	}
	if find(header, streams.HeaderCommandID) == "" {
		header[streams.HeaderCommandID] = []string{r.Command}
	}
	header[streams.HeaderToken] = []string{jwt}
	return header
}

// act is what the audit says of a refusal that somebody purges or retries.
func (r *Refusal) act(number uint64) map[string]string {
	return map[string]string{"number": strconv.FormatUint(number, 10), "subject": r.Subject, "sender": r.Actor}
}

// Purged says how many refusals were dropped.
type Purged struct {
	Purged int  `json:"purged"`
	More   bool `json:"more,omitempty"` // of those that were to be dropped: time was up
}

// nobody is what stands for the actor of commands whose tokens were not valid.
const nobody = "-"

// Purge drops one refusal, or with number 0 every one, of one actor if one is named, that the caller may see and that was there when it began. Each is on record before
// it is dropped; a crash in between leaves it there, to be purged again. What is gone is not recorded, also where several purge at once in this process.
// After PurgeTime it comes back and says that there may be more.
func (i *Inbox) Purge(ctx context.Context, c Caller, number uint64, actor string) (*Purged, *problem.Problem) {
	if number != 0 {
		if p := i.purgeOne(ctx, c, number); p != nil {
			return nil, p
		}
		return &Purged{Purged: 1}, nil
	}
	if p := c.check(); p != nil {
		return nil, p
	}
	begun := time.Now()
	done := &Purged{}
	for after := uint64(0); ; {
		at, r, p := i.next(ctx, after+1)
		if p != nil || at == 0 || r.Refused.After(begun) {
			return done, p
		}
		if after = at; !c.sees(r) || actor != "" && cmp.Or(r.Actor, nobody) != actor {
			continue
		}
		p = i.purgeOne(ctx, c, at)
		switch {
		case p == nil:
			done.Purged++
			if done.More = time.Since(begun) > i.cfg.PurgeTime; done.More {
				return done, nil
			}
		case p.Code != problem.NotFound: // else somebody dropped it meanwhile
			return nil, p
		}
	}
}

// purgeOne reads, records and drops one refusal, while nobody else of this process acts on any.
func (i *Inbox) purgeOne(ctx context.Context, c Caller, number uint64) *problem.Problem {
	end, p := i.alone(ctx)
	if p != nil {
		return p
	}
	defer end()
	r, p := i.one(ctx, c, number)
	if p != nil {
		return p
	}
	return i.purge(ctx, c, number, r)
}

// alone waits until nobody else of this process acts on a refusal.
func (i *Inbox) alone(ctx context.Context) (end func(), p *problem.Problem) {
	select {
	case i.acting <- struct{}{}:
		return func() { <-i.acting }, nil
	case <-ctx.Done():
		return nil, notNow(ctx.Err())
	}
}

func (i *Inbox) purge(ctx context.Context, c Caller, number uint64, r *Refusal) *problem.Problem {
	id := r.Command // of one that cannot be opened: that is all there is
	if r.Version != 0 {
		id = r.id()
	}
	if p := i.cfg.Record(ctx, c.Claims, id, actPurged, r.act(number)); p != nil {
		return p
	}
	if err := i.cfg.Refused.Remove(ctx, number); err != nil {
		return notNow(err)
	}
	return nil
}

func notNow(err error) *problem.Problem {
	return problem.New(problem.Unavailable, "the inbox cannot be reached: %v", err).WithHint("try again in a moment")
}
