package writer

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// AskCool has whoever writes a log record that the events of an aggregate up to version, its newest, leave the hot tier: every index gives them up then, and reads them from the log. It asks
// again until that is done or ctx ends. asker is the token of who wants it, which the writer checks. The record of an aggregate that is archived is empty: its events have left.
func AskCool(ctx context.Context, peers Peers, log, asker string, a event.AggregateID, version event.Version) (*TierRecord, error) {
	t := Tier{Type: a.Type, ID: a.ID, Version: uint64(version)}
	r, err := askArchive(ctx, peers, log, call{Format: callFormat, Asker: asker, Tier: &t})
	if err == nil && r.Tier == nil {
		err = fmt.Errorf("log %s: whoever writes it recorded nothing", log)
	}
	return r.Tier, err
}

// cool answers the call of an archiver. Side effects in order, and what a crash behind each leaves: (1) the record in the aggregate's log, which is what counts. (2) The act in the system log,
// for the audit: the same call again stores it.
func (w *Writer) cool(ctx context.Context, e *engine, c call) (r result) {
	if c.Asker == "" {
		return result{Problem: problem.New(problem.Malformed, "no policy lets single aggregates leave the hot tier by the log")}
	}
	by, p := w.archiveAs(c)
	if p == nil {
		r.Tier, p = w.coolHere(ctx, e, by, *c.Tier)
	}
	if p == nil && r.Tier.Hash != "" {
		_, p = w.ask(ctx, w.system.name, verbArchived, call{Token: by, Tier: c.Tier, Moved: r.Tier})
	}
	r.Problem = p
	return r
}

// coolHere records in a log that events leave the hot tier; repeating it changes nothing.
func (w *Writer) coolHere(ctx context.Context, e *engine, c *token.Claims, t Tier) (*TierRecord, *problem.Problem) {
	a := event.AggregateID{Type: t.Type, ID: t.ID}
	if err := a.Check(); err != nil || event.IsReserved(a.Type) {
		return nil, problem.New(problem.Malformed, "events of %.140q stay in the hot tier", a)
	}
	about := event.AggregateID{Type: typeTier, ID: schema.ForgottenID(a)}
	for {
		known, before, p := w.headsOf(ctx, e, c, a, about)
		switch {
		case p != nil:
			return nil, p
		case known.version == 0:
			return nil, problem.New(problem.NotFound, "there is no %s", a)
		case known.cold:
			return &TierRecord{Aggregate: a.String(), Archived: true}, nil
		case uint64(known.version) != t.Version:
			return nil, problem.New(problem.Conflict, "%s was written meanwhile: it is at version %d, and its events up to %d were archived; they stay in the hot tier", a, known.version, t.Version).WithHint("run the command again")
		}
		r, p := e.recordOf(ctx, before.link, func(*Record) bool { return true })
		if p != nil {
			return nil, p
		}
		if r != nil && r.fields["version"] == decimal(t.Version) {
			return &TierRecord{Aggregate: a.String(), Record: *r, Repeated: true}, nil
		}
		r, p = w.storeCooled(ctx, e, c, about, before, t)
		if p == nil {
			return &TierRecord{Aggregate: a.String(), Record: *r}, nil
		}
		if p.Code != problem.Conflict { // else something moved meanwhile: look what there is
			return nil, p
		}
	}
}

// headsOf reads two heads at one moment, by an act that stores nothing.
func (w *Writer) headsOf(ctx context.Context, e *engine, c *token.Claims, a, b event.AggregateID) (head, head, *problem.Problem) {
	var first, second head
	_, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		var err, err2 error
		first, err = e.head(a)
		second, err2 = e.head(b)
		if err != nil || err2 != nil {
			return nil, problem.New(problem.Unavailable, "log %s: what it holds of %s cannot be read", e.name, a)
		}
		return nil, nil
	})
	if p != nil {
		return head{}, head{}, p // the act may still be decided: what it writes is not ours to read
	}
	return first, second, nil
}

// storeCooled stores the record, if the one before it is the newest still. Indexes leave alone what was written since.
func (w *Writer) storeCooled(ctx context.Context, e *engine, c *token.Claims, about event.AggregateID, before head, t Tier) (*Record, *problem.Problem) {
	answer, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		changes := oneEvent(typeTier, about.ID, eventCool, map[string]string{"type": t.Type, "id": t.ID, "version": decimal(t.Version)})
		changes[0].Expected = aggregate.Exactly(before.version)
		return changes, nil
	})
	if p != nil {
		return nil, p
	}
	at, p := linkOf(answer, before.link)
	if p != nil {
		return nil, p
	}
	return e.recordOf(ctx, at, func(*Record) bool { return true })
}
