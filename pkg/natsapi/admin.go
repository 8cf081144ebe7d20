package natsapi

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

const (
	actTimeout = time.Minute // a dry run of a migration reads whole logs
	beatEvery  = 2 * time.Second
)

type act func(*API, context.Context, request, headers) (any, *problem.Problem)

// acts are all administrative acts (docs/spec/commands.md, section 8). Each checks its own right.
var acts = map[string]act{
	streams.AdminSubject("schema", "draft"):      (*API).schemaDraft,
	streams.AdminSubject("schema", "migrate"):    (*API).schemaMigrate,
	streams.AdminSubject("schema", "discard"):    (*API).schemaDiscard,
	streams.AdminSubject("schema", "list"):       (*API).schemaList,
	streams.AdminSubject("schema", "show"):       (*API).schemaShow,
	streams.AdminSubject("key", "account"):       (*API).keyAccount,
	streams.AdminSubject("key", "add"):           (*API).keyAdd,
	streams.AdminSubject("key", "list"):          (*API).keyList,
	streams.AdminSubject("key", "revoke"):        (*API).keyRevoke,
	streams.AdminSubject("key", "show"):          (*API).keyShow,
	streams.AdminSubject("key", "update"):        (*API).keyUpdate,
	streams.AdminSubject("token", "issue"):       (*API).tokenIssue,
	streams.AdminSubject("token", "list"):        (*API).tokenList,
	streams.AdminSubject("token", "refresh"):     (*API).tokenRefresh,
	streams.AdminSubject("token", "revoke"):      (*API).tokenRevoke,
	streams.AdminSubject("token", "show"):        (*API).tokenShow,
	streams.AdminSubject("import", "done"):       (*API).importDone,
	streams.AdminSubject("import", "state"):      (*API).importState,
	streams.AdminSubject("server", "status"):     (*API).serverStatus,
	streams.AdminSubject("writer", "list"):       (*API).writerList,
	streams.AdminSubject("writer", "resign"):     (*API).writerResign,
	streams.AdminSubject("projector", "rebuild"): (*API).projectorRebuild,
	streams.AdminSubject("staged", "add"):        (*API).stagedAdd,
	streams.AdminSubject("staged", "list"):       (*API).stagedList,
	streams.AdminSubject("staged", "commit"):     (*API).stagedCommit,
	streams.AdminSubject("staged", "discard"):    (*API).stagedDiscard,
	streams.AdminSubject("data", "forget"):       (*API).dataForget,
	streams.AdminSubject("data", "rollback"):     (*API).dataRollback,
	streams.AdminSubject("aggregate", "archive"): (*API).aggregateArchive,
	streams.AdminSubject("aggregate", "restore"): (*API).aggregateRestore,
	streams.AdminSubject("inbox", "status"):      inboxAct(inboxStatus),
	streams.AdminSubject("inbox", "list"):        inboxAct(inboxList),
	streams.AdminSubject("inbox", "show"):        inboxAct(inboxShow),
	streams.AdminSubject("inbox", "retry"):       inboxAct(inboxRetry),
	streams.AdminSubject("inbox", "purge"):       inboxAct(inboxPurge),
	streams.AdminSubject("credential", "record"): (*API).credentialRecord,
	streams.AdminSubject("plugin", "config"):     pluginAct((*API).pluginConfig),
	streams.AdminSubject("plugin", "list"):       pluginAct((*API).pluginList),
	streams.AdminSubject("plugin", "show"):       pluginAct((*API).pluginShow),
	streams.AdminSubject("plugin", "enable"):     pluginAct((*API).pluginEnable),
	streams.AdminSubject("plugin", "disable"):    pluginAct((*API).pluginDisable),
	streams.AdminSubject("plugin", "remove"):     pluginAct((*API).pluginRemove),
	streams.AdminSubject("plugin", "replay"):     pluginAct((*API).pluginReplay),
	streams.AdminSubject("plugin", "test"):       pluginAct((*API).pluginTest),
	streams.AdminSubject("plugin", "parked"):     pluginAct((*API).pluginParked),
	streams.AdminSubject("plugin", "retry"):      pluginAct((*API).pluginRetry),
	streams.AdminSubject("plugin", "purge"):      pluginAct((*API).pluginPurge),
}

func (a *API) admin(ctx context.Context, r request) *problem.Problem {
	h, p := r.headers()
	if p != nil {
		return p
	}
	if query, ok := passed[r.Subject()]; ok {
		return a.passOn(r, query, "")
	}
	do := acts[r.Subject()]
	if do == nil {
		return problem.New(problem.NotFound, "there is no administrative act %.80q", r.Subject()).WithHint("docs/spec/commands.md, section 8, lists them")
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	answered, p := r.busy(h)
	if p != nil {
		return p
	}
	var answer any
	if p = a.cfg.Writer.Current(ctx); p == nil { // reading acts are answered by the log's writer too
		answer, p = do(a, ctx, r, h)
	}
	answered()
	if p == toldAlready {
		return nil
	}
	if p != nil {
		return p
	}
	r.answer(answer)
	return nil
}

// busy says every two seconds that the act is under way, to who asks for that, until the function that it gives is called: whoever hears nothing may ask
// another process, or again.
func (r request) busy(h headers) (end func(), p *problem.Problem) {
	asked, p := h.flag(streams.HeaderStream, "1")
	if p != nil || !asked {
		return func() {}, p
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		beat := time.NewTicker(beatEvery)
		defer beat.Stop()
		for {
			select {
			case <-stop:
				return
			case <-beat.C:
				r.more(struct{}{})
			}
		}
	}()
	return func() { close(stop); <-stopped }, nil
}

// who checks the token, and that it may administer every type if that is asked for.
func (a *API) who(h headers, admin bool) (*token.Claims, *problem.Problem) {
	c, err := a.tokens.Authenticate(h.get(streams.HeaderToken))
	if err != nil {
		return nil, problem.From(err)
	}
	if admin {
		return c, c.MayAdminister()
	}
	return c, nil
}

type done struct{}

func (a *API) schemaDraft(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		Definition json.RawMessage `json:"definition"`
	}
	c, p := a.who(h, true)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Writer.DraftSchema(ctx, c, body.Definition))
}

func answerOrProblem[T any](v T, p *problem.Problem) (any, *problem.Problem) { return v, p }

func (a *API) schemaMigrate(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		Type   string `json:"type"`
		DryRun bool   `json:"dry-run"`
	}
	c, p := a.who(h, true)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	var answer struct {
		Migrations []writer.Migration `json:"migrations"`
	}
	if body.DryRun {
		answer.Migrations, p = a.cfg.Writer.CheckMigration(ctx, body.Type)
	} else {
		answer.Migrations, p = a.cfg.Writer.Migrate(ctx, c, body.Type)
	}
	return answer, p
}

func (a *API) schemaDiscard(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body typeBody
	c, p := a.who(h, true)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	var answer struct {
		Types []string `json:"types"`
	}
	answer.Types, p = a.cfg.Writer.DiscardSchema(ctx, c, body.Type)
	return answer, p
}

type typeBody struct {
	Type string `json:"type"`
}

func (a *API) schemaList(_ context.Context, _ request, h headers) (any, *problem.Problem) {
	c, p := a.who(h, false)
	if p != nil {
		return nil, p
	}
	covered := slices.DeleteFunc(a.cfg.Writer.Schemas(), func(t writer.TypeInfo) bool { return !c.Covers(t.Type) })
	return map[string]any{"schemas": covered}, nil
}

func (a *API) schemaShow(_ context.Context, r request, h headers) (any, *problem.Problem) {
	var body typeBody
	c, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p == nil && !c.Covers(body.Type) {
		p = problem.New(problem.Forbidden, "the token of %s covers no aggregates of type %.80q", c.Actor(), body.Type).WithHint("use a token whose aggregates hold that type")
	}
	if p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Writer.Schema(body.Type))
}

func (a *API) importDone(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body writer.ImportState
	c, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	return done{}, a.cfg.Writer.RecordImport(ctx, c, body)
}

func (a *API) importState(_ context.Context, r request, h headers) (any, *problem.Problem) {
	var body struct {
		File      string `json:"file"`
		Aggregate string `json:"aggregate"`
	}
	c, p := a.who(h, false)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	return answerOrProblem(a.cfg.Writer.ImportOf(c, body.File, body.Aggregate))
}

func (a *API) serverStatus(ctx context.Context, _ request, _ headers) (any, *problem.Problem) {
	if a.cfg.Status == nil {
		return map[string]string{"site": a.cfg.Site, "version": a.cfg.Version}, nil
	}
	return a.cfg.Status(ctx), nil
}
