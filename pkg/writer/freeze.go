package writer

import (
	"context"
	"fmt"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// A log is frozen by a record of its own, so that whoever takes it over is bound by it too.
const (
	typeFreeze  = schema.SystemFreeze
	eventFrozen = "log-frozen"
	eventThawed = "log-thawed"
)

// freeze is that a log decides no commands until the system log has an act, or can never have it.
type freeze struct {
	Epoch   uint64 `json:"epoch"`   // of the system log's writer who asked for it: no other one can store the act
	Type    string `json:"type"`    // whose migration is waited for …
	Version uint64 `json:"version"` // … to this schema version
}

// over reports whether the act is stored, or a later writer of the system log has taken its place: then it is void for ever.
func (f *freeze) over(v *view) bool {
	t := v.schemas[f.Type]
	return v.epoch > f.Epoch || t != nil && uint64(len(t.Versions)) >= f.Version
}

func (f *freeze) fields() map[string]string {
	return map[string]string{"epoch": decimal(f.Epoch), "type": f.Type, "version": decimal(f.Version)}
}

func freezeOf(f map[string]string) (*freeze, error) {
	epoch, err := strconv.ParseUint(f["epoch"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("epoch of a freeze: %w", err)
	}
	version, err := strconv.ParseUint(f["version"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("version of a freeze: %w", err)
	}
	return &freeze{Epoch: epoch, Type: f["type"], Version: version}, nil
}

func (e *engine) freezeID() event.AggregateID {
	return event.AggregateID{Type: typeFreeze, ID: e.name}
}

// loadFreeze reads from the log whether it is frozen.
func (e *engine) loadFreeze(ctx context.Context) error {
	e.frozen = nil
	if e.isSystem() {
		return nil
	}
	h, err := e.st.head(e.freezeID())
	if err != nil || h.version == 0 {
		return err
	}
	_, commits, err := e.readBlock(ctx, h.link.Sequence, h.link.Block)
	if err != nil {
		return fmt.Errorf("read whether the log is frozen: %w", err)
	}
	last := commits[h.link.Index].Events[len(commits[h.link.Index].Events)-1]
	if last.Type != eventFrozen {
		return nil
	}
	fields, err := fieldsOf(&last)
	if err != nil {
		return err
	}
	e.frozen, err = freezeOf(fields)
	return err
}

// thawing gives a frozen engine a channel that is closed when the system log goes on. Take it before looking.
func (e *engine) thawing() <-chan struct{} {
	if e.frozen == nil {
		return nil
	}
	return e.sys.changes()
}

// thaw lets commands go on, if the freeze is over.
func (e *engine) thaw() {
	if e.frozen == nil || !e.frozen.over(e.sys.now.Load()) {
		return
	}
	e.unfreeze()
}

func (e *engine) unfreeze() {
	e.frozen = nil
	e.ready, e.iced = append(e.iced, e.ready...), nil
}

// freezeLog records in a log that it is frozen; repeating it changes nothing.
func (w *Writer) freezeLog(ctx context.Context, e *engine, c *token.Claims, f freeze) *problem.Problem {
	_, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		switch {
		case f.over(e.under):
			return nil, problem.New(problem.Conflict, "the migration of %q was overtaken", f.Type).WithHint("look at it with `eventful schema:show %s` and migrate again", f.Type)
		case e.frozen != nil && *e.frozen == f:
			return nil, nil
		case e.frozen != nil && !e.frozen.over(e.under):
			return nil, problem.New(problem.Unavailable, "log %s is frozen for the migration of %q", e.name, e.frozen.Type)
		}
		e.frozen = &f
		return oneEvent(typeFreeze, e.name, eventFrozen, f.fields()), nil
	})
	return p
}

// thawLog ends a freeze whose act will not be stored; repeating it changes nothing.
func (w *Writer) thawLog(ctx context.Context, e *engine, c *token.Claims, f freeze) *problem.Problem {
	_, p := w.act(ctx, e, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		if e.frozen == nil || *e.frozen != f {
			return nil, nil
		}
		e.unfreeze()
		return oneEvent(typeFreeze, e.name, eventThawed, f.fields()), nil
	})
	return p
}
