package natsapi

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
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
	// Cool records that the events of an aggregate, up to its newest version, leave the hot tier.
	Cool(ctx context.Context, asker, log string, a event.AggregateID, upTo event.Version) (*writer.TierRecord, *problem.Problem)
}

// Archived is how far a log is archived.
type Archived struct {
	Log      string  `json:"log"`
	UpTo     uint64  `json:"up-to"`    // was asked for
	Archived uint64  `json:"archived"` // the archive holds all up to here
	First    uint64  `json:"first"`    // of the stream: what is before it was purged
	Last     uint64  `json:"last"`     // of the log
	Done     bool    `json:"done"`     // false: ask again with the same up-to
	Waiting  string  `json:"waiting,omitempty"`
	Cooled   *Cooled `json:"cooled,omitempty"` // once it is done, if an aggregate was named
}

// Cooled says whose events leave the hot tier.
type Cooled struct {
	Version uint64 `json:"version"` // up to here
	*writer.TierRecord
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
	asker := k.headers.get(streams.HeaderToken)
	if body.Type != "" {
		return answerOrProblem(a.archiveOne(ctx, asker, event.AggregateID{Type: body.Type, ID: body.ID}))
	}
	return answerOrProblem(a.cfg.Archiver.Archive(ctx, asker, body.Log, body.UpTo))
}

// archiveOne archives the log of an aggregate up to its newest event, and lets its events leave the hot tier. Asked again, it goes on; what was written meanwhile is archived too.
func (a *API) archiveOne(ctx context.Context, asker string, about event.AggregateID) (out Archived, p *problem.Problem) {
	if err := about.Check(); err != nil {
		return out, problem.New(problem.Malformed, "the body: %v", err)
	}
	if err := a.cfg.Projector.WaitForLatest(ctx, ""); err != nil {
		return out, problem.From(err)
	}
	newest, version, _, err := a.cfg.Projector.Newest(ctx, about)
	if err != nil {
		return out, problem.From(err)
	}
	if out, p = a.cfg.Archiver.Archive(ctx, asker, newest.Log, newest.Sequence); p != nil || !out.Done || event.IsReserved(about.Type) {
		return out, p // what EventfulDB itself records stays in the hot tier
	}
	r, p := a.cfg.Archiver.Cool(ctx, asker, newest.Log, about, version)
	if p == nil && !r.Archived {
		out.Cooled = &Cooled{uint64(version), r}
	}
	return out, p
}
