package natsapi

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

func (a *API) tokenIssue(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		Token       string `json:"token"`
		Predecessor string `json:"predecessor"`
	}
	by, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	issued, err := a.tokens.Authenticate(body.Token)
	if err != nil {
		return nil, problem.From(err)
	}
	return done{}, a.cfg.Writer.RecordToken(ctx, by, issued, body.Predecessor)
}

// revocation is the body of adm.token.revoke and adm.key.revoke.
type revocation struct {
	ID    string `json:"id"`
	Token string `json:"token"`
	Order string `json:"order"`
}

func (a *API) tokenRevoke(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body revocation
	if p := r.body(&body); p != nil {
		return nil, p
	}
	shown, p := a.named(&body.ID, body.Token)
	if p != nil {
		return nil, p
	}
	by, _, p := a.authority(h, body.Order, token.OrderRevokeToken, body.ID)
	if p != nil {
		return nil, p
	}
	answer, p := a.cfg.Writer.RevokeToken(ctx, by, body.ID, shown)
	if p == nil {
		p = a.ended(ctx, "token "+body.ID)
	}
	return answer, p
}

// named reads the token that an act is about: it is shown, and id becomes its id, or there is an id alone.
func (a *API) named(id *string, text string) (shown *token.Claims, p *problem.Problem) {
	if (*id == "") == (text == "") {
		return nil, problem.New(problem.Malformed, "one of id and token is wanted")
	}
	if text == "" {
		return nil, nil
	}
	shown, err := token.Shown(text, a.cfg.Writer)
	if err != nil {
		return nil, problem.From(err)
	}
	*id = shown.ID
	return shown, nil
}

// successor is what a token is to be signed as that takes another's place.
type successor struct {
	ID             string         `json:"id"` // of the old token
	IdentifierType string         `json:"identifier-type"`
	IdentifierID   string         `json:"identifier-id"`
	Aggregates     []string       `json:"aggregates"`
	Actions        []token.Action `json:"actions"`
	AggregateIDs   []string       `json:"aggregate-ids,omitempty"`
	Expires        time.Time      `json:"expires"`
	Limit          uint64         `json:"limit"`
	Left           uint64         `json:"left"` // of the old budget; it is part of Limit
}

func (a *API) tokenRefresh(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		ID         string `json:"id"`
		Token      string `json:"token"`
		Expiration uint64 `json:"expiration"` // seconds
		Limit      uint64 `json:"limit"`
	}
	by, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	const longest = 100 * 365 * 24 * 3600
	if body.Expiration > longest {
		return nil, problem.New(problem.Malformed, "an expiration of %d seconds more is over %d", body.Expiration, uint64(longest))
	}
	shown, p := a.named(&body.ID, body.Token)
	if p != nil {
		return nil, p
	}
	next, p := a.cfg.Writer.RefreshToken(ctx, by, body.ID, shown, writer.Refresh{Expiration: time.Duration(body.Expiration) * time.Second, Limit: body.Limit})
	if p == nil {
		p = a.bring(ctx, "token "+body.ID)
	}
	if p != nil {
		return nil, p
	}
	c := next.Claims
	s := successor{ID: body.ID, IdentifierType: c.IdentifierType, IdentifierID: c.IdentifierID, Aggregates: c.Aggregates, Actions: c.Actions, Expires: c.Expires, Limit: c.Limit, Left: next.Left}
	for _, one := range c.AggregateIDs {
		s.AggregateIDs = append(s.AggregateIDs, one.Type+"/"+one.ID)
	}
	return s, nil
}

func (a *API) tokenShow(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		ID string `json:"id"`
	}
	by, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	t, p := a.cfg.Writer.Token(ctx, body.ID)
	if p == nil && !by.AllowsAll(token.ActionAdmin) && t.Issuer != ownKey(by) {
		p = problem.New(problem.NotFound, "no token %.80q of auth key %s is recorded", body.ID, by.Issuer)
	}
	if p != nil {
		return nil, p
	}
	return t, nil
}

func (a *API) tokenList(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	f, p := a.filter(r, h)
	if p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Writer.Tokens(ctx, f))
}

const maxListed = 1000

// filter reads the body of adm.token.list and adm.key.list. Who may not administer every type sees what is of the own auth key.
func (a *API) filter(r request, h headers) (f writer.TokenFilter, p *problem.Problem) {
	body := struct {
		AuthKey string `json:"auth-key"`
		Active  *bool  `json:"active"`
		Take    int    `json:"take"`
		Cursor  string `json:"cursor"`
	}{Take: 100}
	by, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return f, p
	}
	f = writer.TokenFilter{Issuer: body.AuthKey, Active: body.Active, Take: min(max(body.Take, 1), maxListed), Cursor: body.Cursor}
	switch own := ownKey(by); {
	case by.AllowsAll(token.ActionAdmin):
	case own == "" || body.AuthKey != "" && body.AuthKey != own:
		return f, problem.New(problem.Forbidden, "the token of %s does not allow administering auth key %.80q", by.Actor(), body.AuthKey).
			WithHint("use that auth key, or one that may administer every type")
	default:
		f.Issuer = own
	}
	return f, nil
}

// ownKey is the auth key that signed the token for itself; empty: it is somebody's else.
func ownKey(c *token.Claims) string {
	if c.IdentifierType != token.AuthKeyType {
		return ""
	}
	return c.Issuer
}
