package writer

import (
	"context"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Acts on engines: what somebody has them do that changes no log.
const (
	engineWriter  = "writer"
	eventResign   = "resign-asked"
	rebuiltEngine = "projector"
	eventRebuild  = "rebuild-asked"
)

// AskResign records who has a log handed over, and does so as Resign. A crash between the two leaves the record, and the log where it is. What cannot be is not recorded: a log that does not
// exist, a writer that is alone.
func (w *Writer) AskResign(ctx context.Context, by *token.Claims, log string) *problem.Problem {
	if p := w.knowsLog(log); p != nil {
		return p
	}
	if others, sure := w.Others(); !others && sure {
		return noSuccessor(log)
	}
	if _, p := w.recordAsked(ctx, by, engineWriter, eventResign, log); p != nil {
		return p
	}
	return w.Resign(ctx, log)
}

// AskRebuild records who has the index of a log built anew, or of all for an empty name, and gives the place of the record (IsRebuild), with which a projector is asked.
func (w *Writer) AskRebuild(ctx context.Context, by *token.Claims, log string) (position string, p *problem.Problem) {
	if log != "" {
		if p := w.knowsLog(log); p != nil {
			return "", p
		}
	}
	return w.recordAsked(ctx, by, rebuiltEngine, eventRebuild, log)
}

// IsRebuild tells whether a commit of the system log is the record that the holder of a token has the index of that log built anew, or of all for an empty name.
func IsRebuild(c *event.Commit, by *token.Claims, log string) bool {
	if c.Aggregate != (event.AggregateID{Type: schema.SystemEngine, ID: rebuiltEngine}) || c.TokenID != by.ID || c.Issuer != by.Issuer || c.Actor != by.Actor() || len(c.Events) != 1 || c.Events[0].Type != eventRebuild {
		return false
	}
	fields, err := fieldsOf(&c.Events[0])
	return err == nil && fields["log"] == log
}

func (w *Writer) recordAsked(ctx context.Context, by *token.Claims, engine, eventType, log string) (position string, p *problem.Problem) {
	answer, p := w.act(ctx, w.system, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		if p := by.Recheck(w.sys); p != nil {
			return nil, p
		}
		return oneEvent(schema.SystemEngine, engine, eventType, map[string]string{"log": log}), nil
	})
	if p != nil {
		return "", p
	}
	return answer.Commits[0].Position, nil
}

func (w *Writer) knowsLog(log string) *problem.Problem {
	if w.engine(log) == nil {
		return problem.New(problem.NotFound, "there is no log %.80q", log).WithHint("`eventful writer:list` shows the logs")
	}
	return nil
}
