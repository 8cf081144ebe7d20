package natsapi

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// writerList says which process writes which log, who follows it, and how far each is.
func (a *API) writerList(ctx context.Context, _ request, h headers) (any, *problem.Problem) {
	if _, p := a.who(h, true); p != nil {
		return nil, p
	}
	return a.cfg.Writer.Site(ctx), nil
}

// writerResign has the writer of a log hand it over to another process, and puts on record who wants that.
func (a *API) writerResign(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		Log string `json:"log"`
	}
	c, p := a.who(h, true)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	return done{}, a.cfg.Writer.AskResign(ctx, c, body.Log)
}
