package natsapi

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// Acts on auth keys and tokens have three steps: (1) the record; (2) the barrier: every log is decided under it; (3) the servers' account APP. A crash behind the first
// is mended by whoever writes the system log next, which brings the account to what is recorded; repeating the act does the same.

// keyAccount and keyAdd need no token: only the operator's signature puts a key into force, and only the local credential and administrators reach them.
func (a *API) keyAccount(ctx context.Context, _ request, _ headers) (any, *problem.Problem) {
	if a.cfg.Account == nil {
		return nil, problem.New(problem.Unavailable, "this process does not manage accounts")
	}
	jwt, err := a.cfg.Account(ctx)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "the account cannot be read: %v", err)
	}
	return map[string]string{"account": jwt}, nil
}

func (a *API) keyAdd(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		Account       string         `json:"account"`
		Key           string         `json:"key"`
		Name          string         `json:"name"`
		Aggregates    []string       `json:"aggregates"`
		Actions       []token.Action `json:"actions"`
		MaxLimit      uint64         `json:"max-limit"`
		MaxExpiration uint64         `json:"max-expiration"`
	}
	if p := r.body(&body); p != nil {
		return nil, p
	}
	present, p := a.keyAccount(ctx, r, h)
	if p != nil {
		return nil, p
	}
	k := token.Key{ID: body.Key, Name: body.Name, Aggregates: body.Aggregates, Actions: body.Actions, MaxLimit: body.MaxLimit}
	const longest = uint64(1<<63-1) / uint64(time.Second)
	k.MaxExpiration = time.Duration(min(body.MaxExpiration, longest)) * time.Second
	if p := k.Check(); p != nil {
		return nil, p
	}
	if p := knownTypes(k.Aggregates...); p != nil {
		return nil, p
	}
	if err := token.CheckAppUpdate(present.(map[string]string)["account"], body.Account, a.cfg.Operators...); err != nil {
		return nil, notTaken(err)
	}
	if err := token.CheckAuthKey(body.Account, k); err != nil {
		return nil, problem.New(problem.Forbidden, "the key is not in the account as it says: %v", err)
	}
	if p := a.cfg.Writer.AddKey(ctx, a.cfg.Operators[0], k); p != nil {
		return nil, p
	}
	if err := a.cfg.Bring(ctx); err != nil {
		return nil, problem.New(problem.Unavailable, "the key is recorded, but the server did not take the account: %v", err).WithHint("make another key")
	}
	return done{}, a.cfg.Writer.Confirm(ctx, "the key")
}

// notTaken says why an account was not taken: a conflict when it was changed meanwhile, so that whoever made it begins anew.
func notTaken(err error) *problem.Problem {
	code := problem.Forbidden
	if problem.From(err).Code == problem.Conflict {
		code = problem.Conflict
	}
	return problem.New(code, "the account is not taken: %v", err).WithHint("make the key with the master key of this site")
}

// authority is who asks: the holder of the token in the header, or the operator if there is an order, which must be of this very act.
func (a *API) authority(h headers, order, act, id string) (*token.Claims, token.Order, *problem.Problem) {
	if order == "" {
		c, p := a.who(h, false)
		return c, token.Order{}, p
	}
	if len(a.cfg.Operators) == 0 {
		return nil, token.Order{}, problem.New(problem.Unavailable, "this process knows no operator")
	}
	o, err := token.ReadOrder(order, a.cfg.Operators[0], a.cfg.AccountID, time.Now())
	if err != nil {
		return nil, o, problem.From(err)
	}
	if o.Act != act || o.ID != id {
		return nil, o, problem.New(problem.Forbidden, "the order is %.40q of %.80q, not %q of %.80q", o.Act, o.ID, act, id)
	}
	return writer.Operator(a.cfg.Operators[0]), o, nil
}

// ended does what follows the record: barrier and account.
func (a *API) ended(ctx context.Context, what string) *problem.Problem {
	if p := a.cfg.Writer.Confirm(ctx, "that "+what+" is revoked"); p != nil {
		return p
	}
	return a.bring(ctx, what)
}

func (a *API) bring(ctx context.Context, what string) *problem.Problem {
	if a.cfg.Bring == nil {
		return problem.New(problem.Unavailable, "%s is refused from now on, but this process does not manage accounts: open connections stay", what)
	}
	if err := a.cfg.Bring(ctx); err != nil {
		return problem.New(problem.Unavailable, "%s is refused from now on, but the server did not take the account, so open connections stay: %v", what, err).
			WithHint("do it again; it is done anyway when a writer starts")
	}
	return nil
}

func (a *API) keyRevoke(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		ID    string `json:"id"`
		Order string `json:"order"`
	}
	if p := r.body(&body); p != nil {
		return nil, p
	}
	by, _, p := a.authority(h, body.Order, token.OrderRevokeKey, body.ID)
	if p != nil {
		return nil, p
	}
	answer, p := a.cfg.Writer.RevokeKey(ctx, by, body.ID)
	if p != nil {
		return nil, p
	}
	what := "auth key " + body.ID
	if by.Issuer != body.ID {
		return answer, a.ended(ctx, what)
	}
	// The key ends itself: the answer goes out before its connection is cut.
	if p := a.cfg.Writer.Confirm(ctx, "that "+what+" is revoked"); p != nil {
		return nil, p
	}
	r.answer(answer)
	if err := a.cfg.App.FlushWithContext(ctx); err != nil {
		a.cfg.Log.Warn().Err(err).Msg("answer to whoever revoked an auth key could not be flushed")
	}
	if p := a.bring(ctx, what); p != nil {
		a.cfg.Log.Error().Str("problem", p.Detail).Msg("account APP could not be changed")
	}
	return nil, toldAlready
}

// toldAlready is what an act comes to that has sent its answer itself.
var toldAlready = &problem.Problem{}

func (a *API) keyShow(ctx context.Context, r request, _ headers) (any, *problem.Problem) {
	var body struct {
		ID string `json:"id"`
	}
	if p := r.body(&body); p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Writer.KeyInfo(ctx, body.ID))
}

func (a *API) keyList(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	f, p := a.filter(r, h)
	if p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Writer.ListKeys(ctx, f))
}

// keyUpdate needs no token: the order holds everything.
func (a *API) keyUpdate(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		ID    string `json:"id"`
		Order string `json:"order"`
	}
	if p := r.body(&body); p != nil {
		return nil, p
	}
	if body.Order == "" {
		return nil, problem.New(problem.Unauthenticated, "an auth key is changed by the operator's order alone").WithHint("use the master key: `eventful token:update`")
	}
	_, order, p := a.authority(h, body.Order, token.OrderUpdateKey, body.ID)
	if p == nil {
		p = order.Key.Check()
	}
	if p == nil {
		p = knownTypes(order.Key.Aggregates...)
	}
	if p == nil {
		p = a.cfg.Writer.UpdateKey(ctx, a.cfg.Operators[0], *order.Key, order.Version)
	}
	if p == nil {
		p = a.cfg.Writer.Confirm(ctx, "the change of auth key "+body.ID)
	}
	if p == nil {
		p = a.bring(ctx, "what goes beyond the new rights")
	}
	return done{}, p
}
