package natsapi

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// credentialRecord needs no token: what is recorded is a user that the site's own keys signed, and only the local credential and administrators reach it.
func (a *API) credentialRecord(ctx context.Context, r request, _ headers) (any, *problem.Problem) {
	var body struct {
		User  string `json:"user"`  // JWT; worth nothing without its seed
		Proof string `json:"proof"` // JWT: who takes it
	}
	if p := r.body(&body); p != nil {
		return nil, p
	}
	if a.cfg.Credential == nil {
		return nil, problem.New(problem.Unavailable, "this process does not record credentials")
	}
	c, p := a.cfg.Credential(body.User, body.Proof)
	if p != nil {
		return nil, p
	}
	return done{}, a.cfg.Writer.RecordCredential(ctx, c)
}
