package writer

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Steps of a rollback in one log.
const (
	rollLocate = "locate" // find the cut; changes nothing
	rollCheck  = "check"  // say what would change, and what speaks against it; changes nothing
	rollApply  = "apply"  // bring back, framed by rollback-begin and rollback-end
)

// rollCall asks a log for a step.
type rollCall struct {
	ID       string        `json:"id"`
	Step     string        `json:"step"`
	Scope    Scope         `json:"scope"`
	Asked    string        `json:"asked,omitempty"`    // the time or hash as it was given
	Before   event.Time    `json:"before,omitempty"`   // to locate
	Position string        `json:"position,omitempty"` // to locate, instead
	Hash     string        `json:"hash,omitempty"`     // leaf of the event there
	To       event.Version `json:"to,omitempty"`
	Cut      *cut          `json:"cut,omitempty"`
}

// rolled is what a step found or did.
type rolled struct {
	Cut        *cut               `json:"cut,omitempty"`  // nil: nothing of the log is behind it
	Time       event.Time         `json:"time,omitempty"` // of the block at Cut
	Aggregates uint64             `json:"aggregates"`
	Ended      uint64             `json:"ended"` // of these
	Events     uint64             `json:"events"`
	Changes    []RollbackChange   `json:"changes,omitempty"`
	Refused    []*problem.Problem `json:"refused,omitempty"`
	Begin      *Record            `json:"begin,omitempty"`
	End        *Record            `json:"end,omitempty"`
}

// RollbackChange is what a rollback does to one aggregate.
type RollbackChange struct {
	Aggregate string        `json:"aggregate"`
	Version   event.Version `json:"version"`          // now
	Becomes   event.Version `json:"becomes"`          // the version whose state comes back; 0: it did not exist
	Ends      bool          `json:"ends"`             // it had ended by then, or did not exist
	Fields    []string      `json:"fields,omitempty"` // that change, at most 20
	Lost      []string      `json:"lost,omitempty"`   // whose value cannot come back, as its key was forgotten
}

const (
	maxChanges    = 200  // that a step names
	maxNamed      = 20   // fields of each
	maxLookedAt   = 1024 // aggregates that are looked at together
	maxRestored   = 256  // aggregates in one block of a rollback …
	restoredBytes = 64 << 10
)

// rollJob is a step at work, on a goroutine of its own.
type rollJob struct {
	w    *Writer
	e    *engine
	call rollCall
	by   *token.Claims
	walk pastWalk
	out  rolled
	uniq rollUnique

	done    chan struct{}
	problem *problem.Problem // read after done
}

// rollStep takes part in a step: it begins it, or waits for what was begun. Who asks, asks again.
func (w *Writer) rollStep(ctx context.Context, e *engine, c call) result {
	if c.Roll.Cut == nil && c.Roll.Step != rollLocate {
		return result{Problem: problem.New(problem.Malformed, "step %.40q of a rollback has no cut", c.Roll.Step)}
	}
	key := e.name + "/" + c.Roll.ID + "/" + c.Roll.Step
	w.checking.Lock()
	j := w.rolls[key]
	if j == nil {
		j = &rollJob{w: w, e: e, call: *c.Roll, by: c.Token, walk: pastWalk{log: e.log, deletes: w.sys.deletes}, done: make(chan struct{})}
		if !w.beside(func(ctx context.Context) { defer close(j.done); j.problem = j.run(ctx) }) {
			w.checking.Unlock()
			return result{Again: true}
		}
		maps.DeleteFunc(w.rolls, func(_ string, old *rollJob) bool { return len(w.rolls) >= maxRolls && old.ended() })
		w.rolls[key] = j
	}
	w.checking.Unlock()
	if !doneInTime(ctx, j.done) {
		return result{Again: true}
	}
	w.checking.Lock()
	defer w.checking.Unlock()
	if w.rolls[key] == j {
		delete(w.rolls, key)
	}
	if p := j.problem; p != nil {
		if p == Lost || p == Moved || p.Code == problem.Unavailable || p.Code == problem.UnknownOutcome || p.Code == problem.NoSpace {
			return result{Again: true}
		}
		return result{Problem: p}
	}
	return result{Rolled: &j.out}
}

// maxRolls is how many outcomes that nobody asked for any more are kept.
const maxRolls = 64

func (j *rollJob) ended() bool {
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

func (j *rollJob) run(ctx context.Context) *problem.Problem {
	var p *problem.Problem
	switch j.call.Step {
	case rollLocate:
		p = j.locate(ctx)
	case rollCheck:
		p = j.check(ctx)
	case rollApply:
		p = j.apply(ctx)
	default:
		p = problem.New(problem.Malformed, "step %.40q of a rollback cannot be read", j.call.Step)
	}
	return p
}

// failed words an error of reading the log.
func (j *rollJob) failed(err error) *problem.Problem {
	code := problem.Unavailable
	if errors.Is(err, ErrDamaged) || errors.Is(err, eventlog.ErrNotFound) || errors.Is(err, event.ErrDecode) {
		code = problem.Damaged
	}
	return problem.New(code, "log %s cannot be rolled back: %v", j.e.name, err).WithHint("`eventful aggregate:verify --all` names what is wrong and where")
}

// check goes through everything that would be brought back.
func (j *rollJob) check(ctx context.Context) *problem.Problem {
	for {
		until, p := j.rest(ctx)
		if p != nil {
			return p
		}
		j.out = rolled{}
		j.uniq.begin()
		if p := j.each(ctx, until, j.checkSome); p != nil {
			return p
		}
		if j.uniq.passed() {
			return nil
		}
	}
}

// checkSome says what becomes of some aggregates.
func (j *rollJob) checkSome(ctx context.Context, all []*walked) *problem.Problem {
	restores, p := j.restores(ctx, all, false)
	if p != nil {
		return p
	}
	for i := range restores {
		r := &restores[i]
		j.count(r)
		if len(j.out.Changes) < maxChanges && j.uniq.first() {
			j.out.Changes = append(j.out.Changes, r.change)
		}
		if n := r.size(); n > j.e.cfg.MaxBlock {
			j.refuse(problem.New(problem.TooLarge, "%s: its earlier state needs about %d bytes in one block, at most %d are allowed", r.aggregate, n, j.e.cfg.MaxBlock))
		}
	}
	if p := j.checkCold(ctx, restores); p != nil {
		return p
	}
	return j.checkUnique(ctx, restores)
}

// checkCold refuses aggregates that are archived: nothing is stored of them. None is archived while a rollback is under way (tier.go).
func (j *rollJob) checkCold(ctx context.Context, restores []restored) *problem.Problem {
	var cold []event.AggregateID
	_, p := j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
		for i := range restores {
			h, err := j.e.head(restores[i].aggregate)
			if err != nil {
				return nil, problem.New(problem.Unavailable, "log %s: its state cannot be read", j.e.name)
			}
			if h.cold {
				cold = append(cold, restores[i].aggregate)
			}
		}
		return nil, nil
	})
	if p != nil {
		return p // the act may still be decided: what it writes is not ours to read
	}
	if j.uniq.first() {
		for _, a := range cold {
			j.refuse(coldProblem(a))
		}
	}
	return nil
}

func (j *rollJob) count(r *restored) {
	j.out.Aggregates++
	j.out.Events += uint64(len(r.events))
	if r.ends {
		j.out.Ended++
	}
}

func (j *rollJob) refuse(p *problem.Problem) {
	if len(j.out.Refused) < maxDuplicates {
		j.out.Refused = append(j.out.Refused, p)
	}
}

// rest waits until nothing is in flight and gives the sequence of the log's newest block.
func (j *rollJob) rest(ctx context.Context) (uint64, *problem.Problem) {
	until := uint64(0)
	_, p := j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
		until = j.e.chain.At
		return nil, nil
	})
	if p != nil {
		return 0, p // the engine may come to it yet, so until is its own
	}
	return until, nil
}

// act is Writer.act with the rollback's id as correlation.
func (j *rollJob) act(ctx context.Context, decide func(*submission) ([]aggregate.Change, *problem.Problem)) (*Answer, *problem.Problem) {
	return j.w.put(ctx, j.e, &submission{command: aggregate.Command{ID: "act-" + randomHex(), Correlation: j.call.ID}, claims: j.by, act: decide})
}

// each finds the aggregates that have events to be undone in the log up to a sequence, and hands them over some at a time. An aggregate is found at its newest
// commit: one that was brought back has a newer one, so that a rollback which was cut short goes on where it was.
func (j *rollJob) each(ctx context.Context, until uint64, take func(context.Context, []*walked) *problem.Problem) *problem.Problem {
	if j.call.Scope.ID != "" {
		return j.one(ctx, until, take)
	}
	from, err := chainBefore(ctx, j.e.log, *j.call.Cut)
	if err != nil {
		return j.failed(err)
	}
	reader, err := eventlog.Read(ctx, j.e.log, from)
	if err != nil {
		return j.failed(err)
	}
	defer reader.Stop()
	found := make(map[event.AggregateID]event.Link)
	for reader.Chain().Sequence < until {
		f, err := reader.Next(ctx)
		if err == nil && (f.Missing || f.Standing == event.Damaged) {
			err = fmt.Errorf("sequence %d: %w", f.Sequence, ErrDamaged)
		}
		if err != nil {
			return j.failed(err)
		}
		if f.Standing != event.Counts {
			continue
		}
		for i, c := range f.Commits {
			at := event.Link{Sequence: f.Sequence, Index: uint32(i), Block: f.Block.ID}
			if c.Branch == 0 && j.call.Cut.undoes(at) && j.call.Scope.Has(c.Aggregate) {
				found[c.Aggregate] = at
			}
		}
		if len(found) >= maxLookedAt {
			if p := j.look(ctx, found, take); p != nil {
				return p
			}
			clear(found)
		}
	}
	return j.look(ctx, found, take)
}

// one is each for a rollback of one aggregate.
func (j *rollJob) one(ctx context.Context, until uint64, take func(context.Context, []*walked) *problem.Problem) *problem.Problem {
	a := event.AggregateID{Type: j.call.Scope.Type, ID: j.call.Scope.ID}
	found, p := j.heads(ctx, []event.AggregateID{a})
	if p != nil {
		return p
	}
	h := found[0].head
	switch {
	case h.version == 0:
		return problem.New(problem.NotFound, "aggregate %s does not exist", a)
	case j.call.To > h.version:
		return problem.New(problem.NotFound, "aggregate %s has no version %d", a, j.call.To).WithHint("its newest version is %d", h.version)
	case h.link.Sequence > until, j.call.To == h.version, j.call.To == 0 && !j.call.Cut.undoes(h.link):
		return nil
	}
	return take(ctx, found)
}

// look drops the aggregates that have newer commits than those found, and hands the others over.
func (j *rollJob) look(ctx context.Context, found map[event.AggregateID]event.Link, take func(context.Context, []*walked) *problem.Problem) *problem.Problem {
	if len(found) == 0 {
		return nil
	}
	names := make([]event.AggregateID, 0, len(found))
	for a := range found {
		names = append(names, a)
	}
	all, p := j.heads(ctx, names)
	if p != nil {
		return p
	}
	newest := all[:0]
	for _, a := range all {
		if a.head.link == found[a.aggregate] {
			newest = append(newest, a)
		}
	}
	if len(newest) == 0 {
		return nil
	}
	return take(ctx, newest)
}

// heads looks at aggregates when nothing is in flight.
func (j *rollJob) heads(ctx context.Context, names []event.AggregateID) ([]*walked, *problem.Problem) {
	all := make([]*walked, len(names))
	_, p := j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
		for i, a := range names {
			h, err := j.e.head(a)
			w := &walked{aggregate: a, head: h, undone: j.undone}
			if t := j.e.under.schemas[a.Type]; err == nil && t != nil && len(t.encrypted) > 0 {
				if _, err = j.e.isForgotten(a, event.Hash{}); err == nil {
					w.forgotten, _ = j.e.over.forgotten.get(a)
				}
			}
			if err != nil {
				return nil, problem.New(problem.Unavailable, "log %s: its state cannot be read: %v", j.e.name, err)
			}
			all[i] = w
		}
		return nil, nil
	})
	return all, p
}

// undone reports whether an event is behind the cut.
func (j *rollJob) undone(at event.Link, v event.Version) bool {
	if j.call.To > 0 {
		return v > j.call.To
	}
	return j.call.Cut.undoes(at)
}
