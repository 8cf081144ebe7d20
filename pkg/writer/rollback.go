package writer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// RollbackWanted is a rollback that somebody asks for: of what, and to which state. One of To, Before and Position is given.
type RollbackWanted struct {
	Command  string // id of the request: a repeat waits for the same rollback; empty: one is made
	Scope    Scope
	To       event.Version // of one aggregate
	Before   time.Time     // what was stored then or later is undone
	Position string        // of the event with Hash: it and what was stored behind it is undone
	Hash     string
	Asked    string // Before or Hash as it was given
	DryRun   bool
}

// Rollback is what became of it (docs/spec/commands.md, section 13).
type Rollback struct {
	ID         string        `json:"rollback,omitempty"` // empty: nothing was stored
	Done       bool          `json:"done"`               // false: it goes on, ask again
	DryRun     bool          `json:"dry-run"`
	Aggregates uint64        `json:"aggregates"` // that changed, or would
	Events     uint64        `json:"events"`
	Logs       []RollbackLog `json:"logs"`
}

// RollbackLog is what became of one log.
type RollbackLog struct {
	Log        string           `json:"log"`
	Cut        string           `json:"cut,omitempty"` // sequence and index of the first commit that is undone
	Aggregates uint64           `json:"aggregates"`
	Events     uint64           `json:"events"`
	Ended      uint64           `json:"ended,omitempty"` // of a dry run: aggregates that had ended by then, or did not exist
	Changes    []RollbackChange `json:"changes,omitempty"`
	Begin      *Record          `json:"begin,omitempty"`
	End        *Record          `json:"end,omitempty"`
}

// rollbackPoll is how often somebody who waits for a rollback looks whether it is done.
const rollbackPoll = 20 * time.Millisecond

// Rollback brings aggregates back to an earlier state by further events; nothing is removed. c may administer the scope; the caller has checked that. It comes back when the rollback is
// done or ctx is about to end; then it goes on, and the same request waits for it again.
//
// Side effects in order, and what a crash behind each leaves: (1) the system log records what was asked and where each log is cut: from then on no command
// about the scope is decided, and whoever writes the system log goes on. (2) Each log is brought back (rollJob.apply). (3) The system log records that it is done.
func (w *Writer) Rollback(ctx context.Context, c *token.Claims, want RollbackWanted) (*Rollback, *problem.Problem) {
	id := randomHex()
	if want.Command != "" {
		id = want.id(c.Actor())
		if known, p := w.knownRollback(ctx, id); known || p != nil {
			return w.awaitRollback(ctx, id, p)
		}
	}
	r := &rolling{ID: id, Scope: want.Scope, Before: want.Asked, To: want.To}
	if want.Scope.Type != "" && w.sys.schemaOf(want.Scope.Type) == nil {
		return nil, w.unknownType(want.Scope.Type)
	}
	out, p := w.firstLook(ctx, c, r, want)
	if p != nil || out == nil {
		return &Rollback{Logs: []RollbackLog{}}, p
	}
	if out.DryRun = want.DryRun; want.DryRun || out.Aggregates == 0 {
		out.Done = true
		return out, nil
	}
	p = w.actBy(ctx, c, func(s *submission) ([]aggregate.Change, *problem.Problem) {
		if p := w.sys.now.Load().noRollback("another rollback"); p != nil {
			return nil, p
		}
		fields := map[string]string{"type": r.Scope.Type, "id": r.Scope.ID, "before": r.Before, "cuts": cutsText(r.Cuts)}
		if r.To > 0 {
			fields["to"] = decimal(uint64(r.To))
		}
		return oneEvent(typeRollback, id, eventAsked, fields), nil
	})
	return w.awaitRollback(ctx, id, p)
}

// id is that of the rollback of a request: a repeat has the same, another request of the same command id has not.
func (r *RollbackWanted) id(actor string) string {
	var b []byte
	for _, s := range []string{actor, r.Command, r.Scope.Type, r.Scope.ID, r.Asked, r.Hash, decimal(uint64(r.To)), r.Before.UTC().Format(time.RFC3339Nano), fmt.Sprint(r.DryRun)} {
		b = appendText(b, s)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// lookPatience is how long a request waits until it is known what a rollback would change. The look goes on, and a repeat of the request waits for it again.
const lookPatience = 15 * time.Second

// firstLook finds the cuts and says what would change, before anything is stored; nil: it takes longer.
func (w *Writer) firstLook(ctx context.Context, c *token.Claims, r *rolling, want RollbackWanted) (*Rollback, *problem.Problem) {
	looking, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	p := w.locate(looking, c, r, want)
	var out *Rollback
	if p == nil {
		out, p = w.checkRollback(looking, c, r, r.ID+"-first")
	}
	if p != nil && p.Code == problem.UnknownOutcome && looking.Err() != nil && ctx.Err() == nil {
		return nil, nil
	}
	return out, p
}

// locate finds the cut of every log that the rollback is about. That of an event in one log cuts the others at the time of its block.
func (w *Writer) locate(ctx context.Context, c *token.Claims, r *rolling, want RollbackWanted) *problem.Problem {
	logs := r.logs(w.sys.now.Load())
	if r.To > 0 {
		r.Cuts = map[string]cut{logs[0]: {}}
		return nil
	}
	r.Cuts = make(map[string]cut)
	before, of := event.Time(want.Before.UnixNano()), ""
	if want.Hash != "" {
		var p *problem.Problem
		if of, before, p = w.locateEvent(ctx, c, r, want, logs); p != nil {
			return p
		}
	}
	for _, log := range logs {
		if log == of {
			continue
		}
		found, p := w.rollStepOf(ctx, c, log, rollCall{ID: r.ID, Step: rollLocate, Before: before})
		if p != nil {
			return p
		}
		if found.Cut != nil {
			r.Cuts[log] = *found.Cut
		}
	}
	if !slices.Contains(logs, of) {
		delete(r.Cuts, of)
	}
	return nil
}

// locateEvent finds the cut of the log that holds an event, and the time of its block.
func (w *Writer) locateEvent(ctx context.Context, c *token.Claims, r *rolling, want RollbackWanted, logs []string) (log string, at event.Time, p *problem.Problem) {
	step := rollCall{ID: r.ID + "-event", Step: rollLocate, Position: want.Position, Hash: want.Hash}
	if want.Position != "" {
		position, err := event.ParsePosition(want.Position)
		if err != nil {
			return "", 0, problem.New(problem.Malformed, "%v", err)
		}
		logs = []string{position.Log}
	}
	for _, log := range logs {
		found, p := w.rollStepOf(ctx, c, log, step)
		if p != nil {
			return "", 0, p
		}
		if found.Cut != nil {
			r.Cuts[log] = *found.Cut
			return log, found.Time, nil
		}
	}
	return "", 0, noSuchEvent(step)
}

// rollStepOf has a log take a step.
func (w *Writer) rollStepOf(ctx context.Context, c *token.Claims, log string, step rollCall) (*rolled, *problem.Problem) {
	r, p := w.ask(ctx, log, verbRollback, call{Token: c, Sequence: w.sys.now.Load().position.Sequence, Roll: &step})
	if p != nil {
		return nil, p
	}
	if r.Rolled == nil {
		return nil, problem.New(problem.Internal, "log %s gave no answer to a step of a rollback", log)
	}
	return r.Rolled, nil
}

func (r *rolling) step(id, name, log string) rollCall {
	at := r.Cuts[log]
	return rollCall{ID: id, Step: name, Scope: r.Scope, Asked: r.Before, To: r.To, Cut: &at}
}

func (r *rolling) cutLogs() []string {
	var logs []string
	for log := range r.Cuts {
		logs = append(logs, log)
	}
	slices.Sort(logs)
	return logs
}

// checkRollback says what would change in every log, or why it cannot be.
func (w *Writer) checkRollback(ctx context.Context, c *token.Claims, r *rolling, id string) (*Rollback, *problem.Problem) {
	out := &Rollback{Logs: []RollbackLog{}}
	var refused []*problem.Problem
	for _, log := range r.cutLogs() {
		found, p := w.rollStepOf(ctx, c, log, r.step(id, rollCheck, log))
		if p != nil {
			return nil, p
		}
		refused = append(refused, found.Refused...)
		out.add(log, r, found)
	}
	return out, problem.Join(refused)
}

func (o *Rollback) add(log string, r *rolling, found *rolled) {
	l := RollbackLog{Log: log, Aggregates: found.Aggregates, Events: found.Events, Ended: found.Ended, Changes: found.Changes, Begin: found.Begin, End: found.End}
	if r.To == 0 {
		l.Cut = r.Cuts[log].String()
	}
	o.Logs = append(o.Logs, l)
	o.Aggregates += found.Aggregates
	o.Events += found.Events
}

// knownRollback reports whether a rollback was asked for before.
func (w *Writer) knownRollback(ctx context.Context, id string) (bool, *problem.Problem) {
	known := false
	_, p := w.act(ctx, w.system, &token.Claims{}, func(*submission) ([]aggregate.Change, *problem.Problem) {
		h, err := w.system.head(event.AggregateID{Type: typeRollback, ID: id})
		if err != nil {
			return nil, problem.New(problem.Unavailable, "the system log cannot be read: %v", err)
		}
		known = h.version > 0
		return nil, nil
	})
	if p != nil {
		return false, p // the engine may come to it yet, so known is its own
	}
	return known, nil
}

// awaitRollback waits until a rollback is done, or ctx is about to end, and says what became of it.
func (w *Writer) awaitRollback(ctx context.Context, id string, p *problem.Problem) (*Rollback, *problem.Problem) {
	if p != nil {
		return nil, p
	}
	waiting, cancel := context.WithTimeout(ctx, rollbackPatience)
	defer cancel()
	for w.sys.now.Load().rollback(id) != nil {
		if pause(waiting, rollbackPoll) != nil {
			return &Rollback{ID: id, Logs: []RollbackLog{}}, nil
		}
	}
	return w.doneRollback(ctx, id)
}

// rollbackPatience is how long a request waits for a rollback.
const rollbackPatience = 3 * time.Second

func (v *view) rollback(id string) *rolling {
	for _, r := range v.rollbacks {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// doneRollback words what the system log holds of a rollback that is done.
func (w *Writer) doneRollback(ctx context.Context, id string) (*Rollback, *problem.Problem) {
	h, p := w.headInSystem(ctx, &token.Claims{}, event.AggregateID{Type: typeRollback, ID: id})
	if p != nil {
		return nil, p
	}
	r, p := w.system.recordOf(ctx, h.link, func(*Record) bool { return true })
	if p != nil {
		return nil, p
	}
	if r == nil {
		return nil, problem.New(problem.NotFound, "there is no rollback %s", id)
	}
	if refused := r.fields["refused"]; refused != "" {
		p := &problem.Problem{}
		if err := json.Unmarshal([]byte(refused), p); err != nil {
			return nil, problem.New(problem.Internal, "the record of rollback %s cannot be read: %v", id, err)
		}
		return nil, p
	}
	out := &Rollback{}
	if err := json.Unmarshal([]byte(r.fields["logs"]), &out.Logs); err != nil {
		return nil, problem.New(problem.Internal, "the record of rollback %s cannot be read: %v", id, err)
	}
	out.ID, out.Done = id, true
	out.Aggregates, _ = parseUnits(r.fields["aggregates"]) // the schema holds that these are numbers
	out.Events, _ = parseUnits(r.fields["events"])
	return out, nil
}

// driveRollbacks goes on with rollbacks that were asked for, while this process writes the system log.
func (w *Writer) driveRollbacks(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		changed := w.sys.changes()
		var due <-chan time.Time
		if v := w.sys.now.Load(); len(v.rollbacks) > 0 {
			due = tick.C
			if w.sys.led.Load() {
				w.driveRollback(ctx, v.rollbacks[0])
				if w.sys.now.Load() != v {
					continue
				}
			}
		}
		select {
		case <-changed:
		case <-due:
		case <-ctx.Done():
			return
		}
	}
}

// driveRollback takes a rollback to its end. What fails is tried again by the caller.
func (w *Writer) driveRollback(ctx context.Context, r *rolling) {
	err := w.finishRollback(ctx, r)
	if err != nil && ctx.Err() == nil {
		w.cfg.Log.Warn().Err(err).Str("rollback", r.ID).Msg("rollback goes on in a moment")
	}
}

func (w *Writer) finishRollback(ctx context.Context, r *rolling) error {
	if err := w.barrier(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, drivePatience)
	defer cancel()
	out := &Rollback{Logs: []RollbackLog{}}
	_, p := w.checkRollback(ctx, &r.By, r, r.ID)
	for _, log := range r.cutLogs() {
		if p != nil {
			break
		}
		var found *rolled
		if found, p = w.rollStepOf(ctx, &r.By, log, r.step(r.ID, rollApply, log)); p == nil {
			out.add(log, r, found)
		}
	}
	if p != nil && retryable(p) {
		return errors.New(p.Detail)
	}
	fields := map[string]string{"type": r.Scope.Type, "id": r.Scope.ID, "aggregates": decimal(out.Aggregates), "events": decimal(out.Events)}
	if p != nil {
		refused, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("word why a rollback was refused: %w", err)
		}
		fields["refused"] = string(refused)
	}
	logs, err := json.Marshal(out.Logs)
	if err != nil {
		return fmt.Errorf("word a rollback: %w", err)
	}
	fields["logs"] = string(logs)
	_, p = w.act(ctx, w.system, &r.By, func(*submission) ([]aggregate.Change, *problem.Problem) {
		if w.sys.now.Load().rollback(r.ID) == nil {
			return nil, nil // somebody has recorded it
		}
		return oneEvent(typeRollback, r.ID, eventRolledBack, fields), nil
	})
	if p != nil {
		return errors.New(p.Detail)
	}
	return nil
}

// drivePatience bounds one try; the next one goes on where it was.
const drivePatience = 10 * time.Minute

func retryable(p *problem.Problem) bool {
	switch p.Code {
	case problem.Unavailable, problem.UnknownOutcome, problem.NoSpace, problem.Damaged, problem.Internal:
		return true
	}
	return false
}
