package natsapi

import (
	"context"
	"regexp"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// rollbackBody is docs/spec/commands.md, section 13.
type rollbackBody struct {
	Type     string         `json:"type"`
	ID       string         `json:"id"`
	To       *event.Version `json:"to"`
	Before   string         `json:"before"`
	Position string         `json:"position"`
	DryRun   bool           `json:"dry-run"`
}

var wholeHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (a *API) dataRollback(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body rollbackBody
	c, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p == nil {
		p = mayRollBack(c, body)
	}
	if p != nil {
		return nil, p
	}
	want := writer.RollbackWanted{Command: h.get(streams.HeaderCommandID), Scope: writer.Scope{Type: body.Type, ID: body.ID}, DryRun: body.DryRun, Asked: body.Before, Position: body.Position}
	if p := body.target(&want, time.Now()); p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Writer.Rollback(ctx, c, want))
}

// mayRollBack checks what the rollback is about, and that the token may administer all of it.
func mayRollBack(c *token.Claims, b rollbackBody) *problem.Problem {
	about, allowed := event.AggregateID{Type: b.Type, ID: b.ID}, false
	var err error
	switch {
	case b.Type == "" && b.ID != "":
		return problem.New(problem.Malformed, "an id without a type").WithHint("name the type too")
	case b.Type == "":
		allowed = c.AllowsAll(token.ActionAdmin)
	case b.ID == "":
		err = event.CheckType(b.Type)
		allowed = c.Allows(token.ActionAdmin, b.Type) && len(c.AggregateIDs) == 0
	default:
		err = about.Check()
		allowed = c.AllowsAggregate(token.ActionAdmin, about)
	}
	if err != nil {
		return problem.New(problem.Malformed, "%v", err)
	}
	if event.IsReserved(b.Type) {
		return problem.New(problem.Forbidden, "%q belongs to EventfulDB and is not rolled back", b.Type)
	}
	if !allowed {
		return problem.New(problem.Forbidden, "the token of %s does not allow administering %s", c.Actor(), writer.Scope{Type: b.Type, ID: b.ID}).
			WithHint("use an auth key that allows it: EVENTFUL_AUTH_KEY_FILE, --auth-key-file, or `eventful token:auth`")
	}
	return nil
}

// target reads to which state.
func (b *rollbackBody) target(want *writer.RollbackWanted, now time.Time) *problem.Problem {
	if (b.To == nil) == (b.Before == "") {
		return problem.New(problem.Malformed, "a rollback has either `to`, a version, or `before`, a time or an event's hash")
	}
	if b.To != nil {
		if want.To = *b.To; want.To == 0 || want.To > event.MaxVersion {
			return problem.New(problem.Malformed, "version %d is none", want.To).WithHint("versions are 1, 2, 3 …")
		}
		if b.ID == "" {
			return problem.New(problem.Malformed, "a version is that of one aggregate").WithHint("name type and id, or give `before`")
		}
		return nil
	}
	if wholeHash.MatchString(b.Before) {
		want.Hash = b.Before
		return nil
	}
	if b.Position != "" {
		return problem.New(problem.Malformed, "a position is that of an event, whose hash stands in `before`")
	}
	at, err := time.Parse(time.RFC3339Nano, b.Before)
	if err != nil || at.Year() < 1678 {
		return problem.New(problem.Malformed, "%.80q is neither a time nor the hash of an event", b.Before).WithHint("give an RFC 3339 time, for example 2026-01-31T08:00:00Z, or 64 hexadecimal digits")
	}
	if at.After(now) {
		return problem.New(problem.Invalid, "the time %s is in the future: nothing was stored behind it", at.UTC().Format(time.RFC3339Nano)).WithHint("give a time in the past")
	}
	want.Before = at
	return nil
}
