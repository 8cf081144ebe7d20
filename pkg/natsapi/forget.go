package natsapi

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// forgettable is what forgetting would destroy (docs/spec/commands.md, section 12).
type forgettable struct {
	Aggregate     string `json:"aggregate"`
	KeyCommitment string `json:"key-commitment"` // empty: there is no key
	writer.Removed
}

func (a *API) dataForget(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		Type   string `json:"type"`
		ID     string `json:"id"`
		DryRun bool   `json:"dry-run"`
	}
	c, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	about, p := aggregateOf(body.Type, body.ID)
	if p != nil {
		return nil, p
	}
	if !c.AllowsAggregate(token.ActionAdmin, about) {
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow administering %s", c.Actor(), about).WithHint("use an auth key that allows it: EVENTFUL_AUTH_KEY_FILE, --auth-key-file, or `eventful token:auth`")
	}
	if !body.DryRun {
		return answerOrProblem(a.forget(ctx, c, about))
	}
	out := forgettable{Aggregate: about.String()}
	if out.KeyCommitment, p = a.cfg.Writer.Forgettable(ctx, about); p != nil {
		return nil, p
	}
	if out.KeyCommitment == "" && !a.cfg.Writer.Encrypts(about.Type) {
		return nil, a.cfg.Writer.NothingToForget(about)
	}
	out.Removed, p = a.remove(ctx, about, true)
	return out, p
}

// aggregateOf is the aggregate that an act is about.
func aggregateOf(aggregateType, id string) (event.AggregateID, *problem.Problem) {
	about := event.AggregateID{Type: aggregateType, ID: id}
	if err := about.Check(); err != nil {
		return about, problem.New(problem.Malformed, "%v", err).WithHint("name type and id of an aggregate")
	}
	return about, nil
}

// forget destroys the key of an aggregate. Where there is none, what was sent and not stored is removed all the same, if the type has encrypted fields, and recorded.
func (a *API) forget(ctx context.Context, c *token.Claims, about event.AggregateID) (*writer.Certificate, *problem.Problem) {
	remove := func(ctx context.Context) (writer.Removed, *problem.Problem) { return a.remove(ctx, about, false) }
	certificate, none := a.cfg.Writer.Forget(ctx, c, about, remove)
	if none == nil || none.Code != problem.NotFound || !a.cfg.Writer.Encrypts(about.Type) {
		return certificate, none
	}
	n, p := a.remove(ctx, about, true)
	if p != nil {
		return nil, p
	}
	if n == (writer.Removed{}) {
		return nil, none
	}
	return a.cfg.Writer.RemoveUnstored(ctx, c, about, n, remove)
}

// remove removes what is staged, refused or waiting for an aggregate; dry only counts it.
func (a *API) remove(ctx context.Context, about event.AggregateID, dry bool) (n writer.Removed, p *problem.Problem) {
	if a.cfg.Staging != nil {
		if n.Staged, p = a.cfg.Staging.Forget(ctx, about, dry); p != nil {
			return n, p
		}
	}
	if a.cfg.Snapshots != nil && !dry {
		info, p := a.cfg.Writer.Schema(about.Type)
		if p != nil {
			return n, p
		}
		if _, err := a.cfg.Snapshots.Remove(ctx, info.Log, about); err != nil {
			return n, problem.New(problem.Unavailable, "snapshots of %s could not be removed: %v", about, err).WithHint("run the same command again: it goes on where it was")
		}
	}
	if a.cfg.Inbox != nil {
		n.Refused, n.Letters, p = a.cfg.Inbox.Forget(ctx, about, dry)
	}
	return n, p
}
