package natsapi

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// maxComment is how long a comment may be, in bytes.
const maxComment = 1000

func (a *API) aggregateArchive(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	return a.moveTier(ctx, r, h, true)
}

func (a *API) aggregateRestore(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	return a.moveTier(ctx, r, h, false)
}

func (a *API) moveTier(ctx context.Context, r request, h headers, archive bool) (any, *problem.Problem) {
	var body struct {
		Type    string `json:"type"`
		ID      string `json:"id"`
		Comment string `json:"comment"`
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
	if len(body.Comment) > maxComment {
		return nil, problem.New(problem.TooLarge, "the comment has %d bytes, at most %d are allowed", len(body.Comment), maxComment)
	}
	if !c.AllowsAggregate(token.ActionAdmin, about) && !c.AllowsAggregate(token.ActionArchive, about) {
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow archiving %s", c.Actor(), about).WithHint("use an auth key that allows it: EVENTFUL_AUTH_KEY_FILE, --auth-key-file, or `eventful token:auth`")
	}
	return answerOrProblem(a.cfg.Writer.MoveTier(ctx, c, writer.Tier{Type: body.Type, ID: body.ID, Archive: archive, Comment: body.Comment}))
}
