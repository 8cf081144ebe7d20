package natsapi

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// rebuiltLog is an index that was built anew.
type rebuiltLog struct {
	Log     string  `json:"log"`
	Seconds float64 `json:"seconds"`
}

// rebuild builds indexes of this process anew: of one log, or of all.
func (a *API) rebuild(ctx context.Context, k asked) (any, *problem.Problem) {
	var body struct {
		Log string `json:"log"`
	}
	if p := k.body(&body); p != nil {
		return nil, p
	}
	if p := k.claims.MayAdminister(); p != nil {
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
