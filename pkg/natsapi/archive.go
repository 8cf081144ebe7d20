package natsapi

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// The archiver runs beside the projector. Who administers may publish acts only: the writer of the system log passes archiveAct on.
const (
	archiveQuery = "qry._.archive"
	archiveAct   = "adm.archive.run"
)

// archivePatience bounds one call; whoever asks calls again until the log is done.
const archivePatience = 2 * time.Minute

// Archiver moves the oldest messages of a log to the archive.
type Archiver interface {
	// Archive works for some seconds, and says how far it is. asker is the token of who asks, which was checked. upTo 0: up to the end of the log.
	Archive(ctx context.Context, asker, log string, upTo uint64) (Archived, *problem.Problem)
}

// Archived is how far a log is archived.
type Archived struct {
	Log      string `json:"log"`
	UpTo     uint64 `json:"up-to"`    // was asked for
	Archived uint64 `json:"archived"` // the archive holds all up to here
	First    uint64 `json:"first"`    // of the stream: what is before it was purged
	Last     uint64 `json:"last"`     // of the log
	Done     bool   `json:"done"`     // false: ask again with the same up-to
	Waiting  string `json:"waiting,omitempty"`
}

func (a *API) archive(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Log  string `json:"log"`
		Type string `json:"type"` // with id: up to the newest event of that aggregate
		ID   string `json:"id"`
		UpTo uint64 `json:"up-to"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if p := k.claims.MayAdminister(); p != nil {
		return nil, p
	}
	if a.cfg.Archiver == nil {
		return nil, problem.New(problem.Invalid, "this site has no archive").WithHint("name one: `eventful config --archive=FOLDER`, then `eventful restart`; docs/archive.md says more")
	}
	if body.Log == "" && body.Type == "" {
		logs := []string{}
		for _, one := range a.cfg.Projector.Status() {
			logs = append(logs, one.Log)
		}
		return map[string]any{"logs": logs}, nil
	}
	if body.Type != "" {
		newest, p := a.newestOf(ctx, event.AggregateID{Type: body.Type, ID: body.ID})
		if p != nil {
			return nil, p
		}
		body.Log, body.UpTo = newest.Log, newest.Sequence
	}
	return answerOrProblem(a.cfg.Archiver.Archive(ctx, k.headers.get(streams.HeaderToken), body.Log, body.UpTo))
}

func (a *API) newestOf(ctx context.Context, about event.AggregateID) (event.Position, *problem.Problem) {
	if err := about.Check(); err != nil {
		return event.Position{}, problem.New(problem.Malformed, "the body: %v", err)
	}
	if err := a.cfg.Projector.WaitForLatest(ctx, ""); err != nil {
		return event.Position{}, problem.From(err)
	}
	newest, _, _, err := a.cfg.Projector.Newest(ctx, about)
	if err != nil {
		return newest, problem.From(err)
	}
	return newest, nil
}
