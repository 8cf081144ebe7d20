package inbox

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// faults is how often a command that meets a fault of EventfulDB itself is tried before it is refused with it.
const faults = 5

// outcome is what came of sending an item.
type outcome int

const (
	settled outcome = 1 // stored, or refused and the refusal kept; and acknowledged
	later   outcome = 2 // it has to be tried again
	soon    outcome = 3 // so, and it may be stored already: its command id is remembered for a while only
)

// settle sends one item and acknowledges it when it is stored, or refused and the refusal kept.
func (i *Inbox) settle(ctx context.Context, it *item) outcome {
	if i.dropped(it) {
		if err := it.ack.Done(); err != nil {
			return soon
		}
		return settled
	}
	letter, err := i.letter(ctx, it)
	switch {
	case errors.Is(err, eventlog.ErrNotFound): // another delivery has settled it
		return settled
	case err != nil:
		return later
	}
	p := it.bad
	header := i.header(letter)
	if p == nil {
		_, p = i.cfg.Send(ctx, it.command, header, letter.Data)
	}
	if p != nil && p.Code == problem.UnknownOutcome {
		return soon
	}
	if p != nil && (ctx.Err() != nil || passing(p, it.tries)) {
		return later
	}
	if p != nil {
		if err := i.refuse(ctx, letter, header, p); err != nil {
			if it.tries > 0 { // it is in the log already
				return later
			}
			i.cfg.Log.Warn().Err(err).Uint64("letter", letter.Sequence).Msg("refused command could not be kept, and stays in the inbox")
			return later
		}
	}
	if err := it.ack.Done(); err != nil {
		return soon
	}
	return settled
}

// letter is the item's, read again if its body was dropped.
func (i *Inbox) letter(ctx context.Context, it *item) (*jetlog.Letter, error) {
	if it.letter != nil {
		return it.letter, nil
	}
	return i.cfg.Letters.Read(ctx, it.sequence)
}

// passing tells a problem that may be gone later from a refusal.
func passing(p *problem.Problem, tries int) bool {
	switch p.Code {
	case problem.Unavailable, problem.Damaged, problem.NoSpace:
		return true
	case problem.Internal:
		return tries+1 < faults
	}
	return false
}

// header is the letter's with a command id. Names count without regard to case, as at the door.
func (i *Inbox) header(l *jetlog.Letter) nats.Header {
	header := nats.Header{}
	maps.Copy(header, l.Header)
	if find(header, streams.HeaderCommandID) == "" {
		header[streams.HeaderCommandID] = []string{commandID(i.cfg.NameKey, i.cfg.Letters.ID(), l.Sequence)}
	}
	return header
}

// find gives the first value of a header.
func find(header nats.Header, name string) string {
	for _, key := range slices.Sorted(maps.Keys(header)) {
		if strings.EqualFold(key, name) && len(header[key]) > 0 {
			return header[key][0]
		}
	}
	return ""
}

// refuse keeps a refusal. One that is kept already, because an acknowledgement was lost, has the same id.
func (i *Inbox) refuse(ctx context.Context, l *jetlog.Letter, header nats.Header, p *problem.Problem) error {
	if p.Hint == "" {
		p = p.WithHint("send the command anew as docs/spec/commands.md says; nothing of this one was stored")
	}
	r := &Refusal{
		Version: refusalVersion, Letter: l.Sequence, Inbox: i.cfg.Letters.ID(), Sent: l.Time.UTC(), Refused: time.Now().UTC(), Subject: l.Subject,
		Header: map[string][]string{}, Command: find(header, streams.HeaderCommandID), Problem: p, Body: l.Data, Size: len(l.Data),
	}
	for name, values := range l.Header {
		if !strings.EqualFold(name, streams.HeaderToken) { // a secret
			r.Header[name] = values
		}
	}
	if claims, err := i.cfg.Claims(find(l.Header, streams.HeaderToken), l.Time); err == nil {
		r.Actor, r.Token, r.Issuer = claims.Actor(), claims.ID, claims.Issuer
	}
	for {
		sealed, err := i.seal(r)
		if err != nil {
			return err
		}
		err = i.cfg.Refused.Add(ctx, r.id(), sealed)
		if !errors.Is(err, eventlog.ErrRefused) || len(r.Body) == 0 {
			return err
		}
		r.Body = r.Body[:min(keptBody, len(r.Body)/2)] // larger than a message may be: the reason and the beginning must do
	}
}
