package natsapi

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// passed are acts that a projector answers, as a query. Who administers may publish acts only: the writer of the system log passes them on.
var passed = map[string]string{"adm.audit.list": "qry._.audit", archiveAct: archiveQuery}

// passOn hands the request to whatever process answers queries; its answer goes to the sender. act is the position of the record that is made of it, empty if there is none.
func (a *API) passOn(r request, query, act string) *problem.Problem {
	m := &nats.Msg{Subject: query, Reply: r.Reply(), Header: nats.Header{}, Data: r.Data()}
	for name, values := range r.Headers() {
		if !strings.EqualFold(name, streams.HeaderAct) {
			m.Header[name] = values
		}
	}
	if act != "" {
		m.Header.Set(streams.HeaderAct, act)
	}
	if err := a.cfg.App.PublishMsg(m); err != nil {
		return problem.New(problem.Unavailable, "the query could not be passed on: %v", err)
	}
	return nil
}

func (a *API) audit(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Actor  string `json:"actor"`
		About  string `json:"about"`
		Since  string `json:"since"`
		Until  string `json:"until"`
		Units  bool   `json:"units"`
		Take   int    `json:"take"`
		Cursor string `json:"cursor"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	want := projector.ActsWanted{Actor: body.Actor, Units: body.Units, Take: body.Take, Cursor: body.Cursor}
	if p := moment("since", body.Since, &want.Since); p != nil {
		return nil, p
	}
	if p := moment("until", body.Until, &want.Until); p != nil {
		return nil, p
	}
	var p *problem.Problem
	if want.About, p = aboutOf(body.About); p != nil {
		return nil, p
	}
	if !want.Since.IsZero() && !want.Until.IsZero() && !want.Since.Before(want.Until) {
		return nil, problem.New(problem.Malformed, "the body: until is not later than since")
	}
	if p := knownTypes(want.About.Type); p != nil {
		return nil, p
	}
	if !k.claims.AllowsAll(token.ActionAdmin) {
		if want.May, p = k.mayAudit(want.About); p != nil {
			return nil, p
		}
	}
	return answered(a.cfg.Projector.Acts(ctx, want))
}

// aboutOf reads `type`, `type/id`, or nothing.
func aboutOf(text string) (event.AggregateID, *problem.Problem) {
	if text == "" {
		return event.AggregateID{}, nil
	}
	a, err := streams.ParseAggregate(text)
	if err != nil && event.CheckType(text) == nil {
		return event.AggregateID{Type: text}, nil
	}
	if err != nil {
		return a, problem.New(problem.Malformed, "the body: about is %.80q, which is neither a type nor type/id", text).WithHint("for example patient, patient/A or eventful-token/ID")
	}
	return a, nil
}

// knownTypes refuses names that are EventfulDB's own and that no act has.
func knownTypes(types ...string) *problem.Problem {
	for _, t := range types {
		if event.IsReserved(t) && schema.System(t) == nil {
			return problem.New(problem.Malformed, "EventfulDB has no type %.80q", t).WithHint("docs/spec/commands.md, section 9, lists its types, for example eventful-schema, eventful-key, eventful-token")
		}
	}
	return nil
}

// mayAudit is which acts a token sees: those on aggregates of the system log that it may read, or administer, by name. It is refused if it asks about a type, or an aggregate, of which it sees none.
func (k asked) mayAudit(about event.AggregateID) (func(event.AggregateID) bool, *problem.Problem) {
	if event.IsReserved(about.Type) && !k.auditsType(about) {
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow reading the acts of %.80s", k.claims.Actor(), about.Type).
			WithHint("use a token that names the type: --aggregates=%s --actions=read", about.Type)
	}
	for _, t := range k.claims.Aggregates {
		for _, action := range []token.Action{token.ActionRead, token.ActionAdmin} {
			if event.IsReserved(t) && k.claims.Allows(action, t) {
				return func(a event.AggregateID) bool { return k.claims.AllowsAggregate(action, a) }, nil
			}
		}
	}
	return nil, problem.New(problem.Forbidden, "the token of %s reads no administrative acts", k.claims.Actor()).
		WithHint("use an auth key that may administer every type, or a token that names the acts' types: --aggregates=eventful-schema,eventful-token --actions=read")
}

// auditsType reports whether the token may see acts of a type, or of one aggregate, by name.
func (k asked) auditsType(about event.AggregateID) bool {
	for _, action := range []token.Action{token.ActionRead, token.ActionAdmin} {
		if about.ID == "" && k.claims.Allows(action, about.Type) || about.ID != "" && k.claims.AllowsAggregate(action, about) {
			return true
		}
	}
	return false
}
