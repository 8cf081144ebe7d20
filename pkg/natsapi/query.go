package natsapi

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

const (
	queryTimeout  = 9 * time.Second // less than the 10 s that senders wait unless told otherwise, so that they are told what took so long
	waitTimeout   = 4 * time.Second // a read waits for the index: less than its sender waits for an answer, so that he is told how far the index is, and asks again
	verifyTimeout = 6 * time.Hour   // reading whole logs, to prove them or to build an index; whoever asked has gone long before
)

// asked is a query with the claims of who asks.
type asked struct {
	request
	headers headers
	claims  *token.Claims
	about   event.AggregateID
}

type query struct {
	action token.Action
	answer func(*API, context.Context, asked) (any, *problem.Problem)
	some   bool          // about a type, it gives those who may read some of its aggregates these
	limit  time.Duration // 0: queryTimeout to read, else verifyTimeout
}

// The queries by what they are about and verb (docs/spec/commands.md, section 7).
var (
	ofAggregate = map[string]query{
		"get": {action: token.ActionRead, answer: (*API).get}, "history": {action: token.ActionRead, answer: (*API).history},
		"diff": {action: token.ActionRead, answer: (*API).diff}, "replay": {action: token.ActionRead, answer: (*API).replay},
		"export": {action: token.ActionRead, answer: (*API).export}, "verify": {action: token.ActionVerify, answer: (*API).verifyOne},
		"snapshot": {action: token.ActionRead, answer: (*API).takeSnapshot}, "snapshots": {action: token.ActionRead, answer: (*API).snapshots},
	}
	ofType = map[string]query{
		"list": {action: token.ActionRead, answer: (*API).list, some: true}, "events": {action: token.ActionRead, answer: (*API).events, some: true}, "tail": {action: token.ActionRead, answer: (*API).tail, some: true},
		"verify": {action: token.ActionVerify, answer: (*API).verifyLogs},
	}
	ofAll = map[string]query{
		"list": {action: token.ActionRead, answer: (*API).list}, "verify": {action: token.ActionVerify, answer: (*API).verifyLogs},
		"events": {action: token.ActionRead, answer: (*API).events}, "tail": {action: token.ActionRead, answer: (*API).tail},
		"event": {action: token.ActionRead, answer: (*API).event}, "trace": {action: token.ActionRead, answer: (*API).trace},
		"resolve": {action: token.ActionRead, answer: (*API).resolve}, "audit": {action: token.ActionRead, answer: (*API).audit},
		"archive": {action: token.ActionAdmin, answer: (*API).archive, limit: archivePatience}, "rebuild": {action: token.ActionAdmin, answer: (*API).rebuild},
		"checkpoint": {action: token.ActionVerify, answer: (*API).checkpoint}, "prove": {action: token.ActionVerify, answer: (*API).prove},
		"entries": {action: token.ActionVerify, answer: (*API).entries},
	}
)

func (a *API) query(ctx context.Context, r request) *problem.Problem {
	q, ask, p := a.read(r)
	if p != nil {
		return p
	}
	limit := q.limit
	switch {
	case limit != 0:
	case q.action == token.ActionRead:
		limit = queryTimeout
	default:
		limit = verifyTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if p := a.waitFor(ctx, ask, q.action == token.ActionRead || ask.about.ID != ""); p != nil {
		return p
	}
	var told atomic.Bool // why it takes long
	if ask.about.ID != "" && q.action == token.ActionRead {
		defer ask.tellLate(&told).Stop()
	}
	answer, p := q.answer(a, ctx, ask)
	switch {
	case !told.CompareAndSwap(false, true):
		return nil
	case p != nil:
		return p
	}
	r.answer(answer)
	return nil
}

// tellLate tells who asks about one aggregate why he waits, before he gives up: its events left the hot tier, and the archive is slow. That is his answer then; what is read meanwhile is kept in memory, and found by his
// next try.
func (k asked) tellLate(told *atomic.Bool) *time.Timer {
	return time.AfterFunc(waitTimeout, func() {
		if told.CompareAndSwap(false, true) {
			k.refuse(problem.New(problem.Unavailable, "reading %s takes long: what left the hot tier is read from the log and its archive, which may be slow", k.about).
				WithHint("ask again, with more patience (--timeout); `eventful doctor` says whether the archive is there"))
		}
	})
}

// read finds the query and checks who asks. Whoever may not read a type is told so before it is said whether anything exists.
func (a *API) read(r request) (query, asked, *problem.Problem) {
	h, p := r.headers()
	if p != nil {
		return query{}, asked{}, p
	}
	about, verb, err := streams.ParseQuerySubject(r.Subject())
	if err != nil {
		return query{}, asked{}, problem.New(problem.Malformed, "%v", err).WithHint("docs/spec/subjects.md lists the subjects of queries")
	}
	table := ofAggregate
	switch {
	case about.Type == "":
		table = ofAll
	case about.ID == "":
		table = ofType
	}
	q, ok := table[verb]
	if !ok {
		return query{}, asked{}, problem.New(problem.NotFound, "there is no query %.80q", r.Subject()).WithHint("docs/spec/subjects.md lists the subjects of queries")
	}
	known := a.keysKnown() // before it is looked for
	claims, err := a.tokens.Authenticate(h.get(streams.HeaderToken))
	if err != nil && !known {
		return query{}, asked{}, problem.New(problem.Unavailable, "this process starts and has not read all auth keys yet: %v", err).WithHint("try again in a moment")
	}
	if err != nil {
		return query{}, asked{}, problem.From(err)
	}
	ask := asked{request: r, headers: h, claims: claims, about: about}
	return q, ask, ask.allowed(q)
}

// keysKnown reports whether auth keys and ended tokens are known. Queries come while the writer beside the projector still reads its logs.
func (a *API) keysKnown() bool {
	if a.cfg.Writer == nil {
		return true // they are in the index, which is asked
	}
	select {
	case <-a.cfg.Writer.Ready():
		return true
	default:
		return false
	}
}

func (k asked) allowed(q query) *problem.Problem {
	ok, action := true, q.action
	switch {
	case k.about.ID != "":
		ok = k.claims.AllowsAggregate(action, k.about)
	case k.about.Type != "":
		ok = k.claims.Allows(action, k.about.Type) && (q.some || len(k.claims.AggregateIDs) == 0)
	}
	if ok {
		return nil
	}
	what, hint := k.about.Type, "use a token whose aggregates and actions cover it"
	if k.about.ID != "" {
		what = k.about.String()
	}
	if k.claims.Allows(action, k.about.Type) {
		hint = "the token is confined to single aggregates: ask about one of them, or use a token that is not confined"
	}
	return problem.New(problem.Forbidden, "the token of %s does not allow to %s %s", k.claims.Actor(), action, what).WithHint("%s", hint)
}

// waitFor holds the query until the index includes what it asks for.
func (a *API) waitFor(ctx context.Context, k asked, reads bool) *problem.Problem {
	if reads {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, waitTimeout)
		defer cancel()
	}
	switch want := k.headers.get(streams.HeaderWaitFor); want {
	case "":
		return nil
	case "latest":
		return a.waitForLatest(ctx, k)
	default:
		position, err := event.ParsePosition(want)
		if err != nil {
			return problem.New(problem.Malformed, "header %s: %v", streams.HeaderWaitFor, err).WithHint("give `latest`, or a position as an answer to a command names it")
		}
		return a.held(k, a.cfg.Projector.Stands(position.Log, position.Sequence), func() error { return a.cfg.Projector.WaitFor(ctx, position) })
	}
}

func (a *API) waitForLatest(ctx context.Context, k asked) *problem.Problem {
	log := ""
	if k.about.Type != "" {
		log, _ = a.cfg.Projector.LogOf(k.about.Type) // of a type that was made a moment ago: wait for the system log, and all others
	}
	stands, err := a.cfg.Projector.StandsAtLatest(ctx, log)
	switch {
	case err != nil:
		return problem.From(err)
	case stands:
		return nil
	}
	return a.held(k, false, func() error { return a.cfg.Projector.WaitForLatest(ctx, log) })
}

// held waits in a place for queries that wait, unless there is nothing to wait for.
func (a *API) held(k asked, stands bool, wait func() error) *problem.Problem {
	if !stands {
		actor := k.claims.Actor()
		if !a.places.take(actor) {
			return problem.New(problem.Unavailable, "too many queries wait for the index already").WithHint("send it again in a moment, or read without waiting")
		}
		defer a.places.leave(actor)
	}
	if err := wait(); err != nil {
		return problem.From(err)
	}
	return nil
}

// answered turns an engine's outcome into an answer.
func answered[T any](v T, err error) (any, *problem.Problem) {
	if err != nil {
		return nil, problem.From(err)
	}
	return v, nil
}

func (a *API) get(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Version *event.Version `json:"version"`
		At      string         `json:"at"`
	}
	if _, version, ok := numbers(k.Data(), "version", "version"); ok {
		body.Version = (*event.Version)(&version)
	} else if p := k.body(&body); p != nil {
		return nil, p
	}
	var when projector.When
	if body.Version != nil {
		if when.Version = *body.Version; when.Version == 0 {
			return nil, problem.New(problem.Malformed, "the body: version is 0, and the first one is 1").WithHint("leave version out for the newest")
		}
	}
	if p := moment("at", body.At, &when.At); p != nil {
		return nil, p
	}
	return answered(a.cfg.Projector.Get(ctx, k.about, when))
}

func (a *API) history(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		From   event.Version `json:"from"`
		Take   int           `json:"take"`
		Skip   uint64        `json:"skip"`
		Newest bool          `json:"newest-first"`
	}
	if from, take, ok := numbers(k.Data(), "from", "take"); ok {
		body.From, body.Take = event.Version(from), int(take)
	} else if p := k.body(&body); p != nil {
		return nil, p
	}
	if body.Newest {
		return answered(a.cfg.Projector.Backwards(ctx, k.about, body.From, body.Skip, body.Take))
	}
	from := max(body.From, 1)
	if body.Skip > uint64(math.MaxInt64)-uint64(min(from, math.MaxInt64)) {
		return nil, problem.New(problem.Malformed, "the body: skip is %d, which is behind every event", body.Skip)
	}
	return answered(a.cfg.Projector.History(ctx, k.about, from+event.Version(body.Skip), body.Take))
}

func (a *API) export(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		From event.Version `json:"from"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	return answered(a.cfg.Projector.Export(ctx, k.about, max(body.From, 1)))
}

func (a *API) list(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Take     int    `json:"take"`
		Cursor   string `json:"cursor"`
		Filter   string `json:"filter"`
		Sort     string `json:"sort"`
		Archived bool   `json:"archived"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if k.about.Type == "" && body.Filter+body.Sort != "" {
		return nil, problem.New(problem.Malformed, "a list of several types has no fields to filter or sort by").WithHint("ask on the subject of a type: qry.<type>.list")
	}
	types, p := k.types()
	if p != nil {
		return nil, p
	}
	want := projector.Wanted{Types: types, Filter: body.Filter, Order: body.Sort, Archived: body.Archived, Cursor: body.Cursor, Take: body.Take}
	if len(k.claims.AggregateIDs) > 0 {
		want.Only = k.claims.AggregateIDs
	}
	return answered(a.cfg.Projector.List(ctx, want))
}

// anyType stands for a type that no token names.
const anyType = "any"

// types are those that the query is about: the one it names, or those that the token names; none means all.
func (k asked) types() ([]string, *problem.Problem) {
	if k.about.Type != "" {
		return []string{k.about.Type}, nil
	}
	if slices.Contains(k.claims.Aggregates, token.All) && k.claims.Allows(token.ActionRead, anyType) {
		return nil, nil
	}
	var types []string
	for _, t := range k.claims.Aggregates {
		if k.claims.Allows(token.ActionRead, t) {
			types = append(types, t)
		}
	}
	if len(types) == 0 {
		return nil, problem.New(problem.Forbidden, "the token of %s does not allow reading", k.claims.Actor())
	}
	return types, nil
}

func (a *API) event(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Hash string `json:"hash"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	return answered(a.cfg.Projector.EventByHash(ctx, body.Hash, k.may()))
}

func (a *API) resolve(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		ID string `json:"id"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	c, err := a.cfg.Projector.Resolve(ctx, body.ID)
	readable := c.Candidates[:0]
	for _, s := range c.Candidates {
		if id, err := streams.ParseAggregate(s); err == nil && k.claims.AllowsAggregate(token.ActionRead, id) {
			readable = append(readable, s)
		}
	}
	c.Candidates = readable
	return answered(c, err)
}
