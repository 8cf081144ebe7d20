package natsapi

import (
	"context"
	"errors"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// rebuiltLog is an index that was built anew.
type rebuiltLog struct {
	Log     string  `json:"log"`
	Seconds float64 `json:"seconds"`
}

const (
	rebuildQuery = "qry._.rebuild"
	// rebuildPatience is how old the record may be of who has indexes built anew. Processes' clocks are a second apart at most (doctor).
	rebuildPatience = time.Minute
)

// rebuildBody names a log; empty: all.
type rebuildBody struct {
	Log string `json:"log"`
}

// projectorRebuild puts on record who has indexes built anew, and hands the request with the place of the record to whatever process answers queries.
func (a *API) projectorRebuild(ctx context.Context, r request, h headers) (any, *problem.Problem) {
	var body rebuildBody
	c, p := a.who(h, true)
	if p == nil {
		p = r.body(&body)
	}
	if p != nil {
		return nil, p
	}
	act, p := a.cfg.Writer.AskRebuild(ctx, c, body.Log)
	if p == nil {
		p = a.passOn(r, rebuildQuery, act)
	}
	if p != nil {
		return nil, p
	}
	return nil, toldAlready
}

// onRecord holds that it is on record who asks. The system log itself is read, not its index, which may be what is to be built anew.
func (a *API) onRecord(ctx context.Context, k asked, log string) *problem.Problem {
	unrecorded := problem.New(problem.Forbidden, "it is not on record that %s has the index built anew", k.claims.Actor()).WithHint("ask it as an act: `eventful projector:rebuild`; the writer must be of this version")
	at, err := event.ParsePosition(k.headers.get(streams.HeaderAct))
	if err != nil || at.Log != event.Reserved {
		return unrecorded
	}
	system, err := a.cfg.Store.Open(ctx, event.Reserved)
	if err != nil {
		return problem.New(problem.Unavailable, "the system log cannot be read: %v", err)
	}
	m, err := system.Get(ctx, at.Sequence)
	if errors.Is(err, eventlog.ErrNotFound) {
		return unrecorded
	}
	if err != nil {
		return problem.New(problem.Unavailable, "the system log cannot be read: %v", err)
	}
	b, commits, err := event.DecodeBlock(m.Data, m.Sequence)
	if err != nil || b.ID != at.Block || int(at.Index) >= len(commits) || !writer.IsRebuild(commits[at.Index], k.claims, log) ||
		time.Since(time.Unix(0, int64(b.Time))) > rebuildPatience {
		return unrecorded
	}
	return nil
}

// rebuild builds indexes of this process anew: of one log, or of all.
func (a *API) rebuild(ctx context.Context, k asked) (any, *problem.Problem) {
	var body rebuildBody
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if p := k.claims.MayAdminister(); p != nil {
		return nil, p
	}
	if p := a.onRecord(ctx, k, body.Log); p != nil {
		return nil, p
	}
	streaming, p := k.headers.flag(streams.HeaderStream, "1")
	if p != nil {
		return nil, p
	}
	logs := []string{body.Log}
	if body.Log == "" {
		logs = nil
		for _, s := range a.cfg.Projector.Status() {
			logs = append(logs, s.Log)
		}
	}
	answer := struct {
		Logs []rebuiltLog `json:"logs"`
	}{Logs: []rebuiltLog{}}
	for _, log := range logs {
		began := time.Now()
		err := a.cfg.Projector.Rebuild(ctx, log, func(done, total uint64) {
			if streaming {
				k.more(map[string]uint64{"done": done, "total": total})
			}
		})
		if err != nil {
			return nil, problem.From(err)
		}
		answer.Logs = append(answer.Logs, rebuiltLog{log, time.Since(began).Seconds()})
	}
	return answer, nil
}
