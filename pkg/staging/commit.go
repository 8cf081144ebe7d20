package staging

import (
	"context"
	"slices"
	"strconv"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// Committed is the answer to the command, and how many events were staged meanwhile and stay so.
type Committed struct {
	*writer.Answer
	Left int `json:"left"`
}

// Context goes with the commit as with any command.
type Context struct {
	Correlation, Causation, Traceparent string
	DryRun                              bool // check, and store nothing
}

// Commit stores everything that is staged as one transaction, with the token of the caller. If it fails, everything stays staged. A repeat of the same request
// gets the first answer, whatever was staged since; so does whoever finds a commit stored that was cut short, if nothing was staged since.
func (s *Staging) Commit(ctx context.Context, c Caller, x Context) (*Committed, *problem.Problem) {
	if p := c.mayWrite(); p != nil {
		return nil, p
	}
	found := false // a commit that was cut short was stored
	return retry(ctx, func() (*Committed, bool, *problem.Problem) {
		r, cleared, p := s.settled(ctx, c)
		found = found || cleared
		switch {
		case p != nil:
			return nil, false, p
		case r.Last != nil && (r.Last.Request == c.Request || found && len(r.Entries) == 0):
			return repeated(r), false, nil
		case len(r.Entries) == 0:
			return nil, false, nothingStaged(r)
		}
		return s.commit(ctx, c, x, r)
	})
}

func repeated(r *record) *Committed {
	first := *r.Last.Answer
	first.Repeated = true
	return &Committed{Answer: &first, Left: len(r.Entries)}
}

func nothingStaged(r *record) *problem.Problem {
	p := problem.New(problem.NotFound, "nothing is staged for %s", r.Actor)
	if r.Last != nil {
		return p.WithHint("the last commit was command %s; `eventful aggregate:apply` stages something new", r.Last.Answer.Command)
	}
	return p.WithHint("`eventful aggregate:apply` stages something")
}

// commit begins a commit of everything that is staged. again: somebody came in between, so look anew.
func (s *Staging) commit(ctx context.Context, c Caller, x Context, r *record) (answer *Committed, again bool, p *problem.Problem) {
	changes, p := r.changes(r.Next)
	if p != nil {
		return nil, false, p
	}
	now, p := s.dryRun(ctx, c, "", changes)
	switch {
	case p != nil:
		return nil, false, p
	case x.DryRun:
		now.Command = r.Command
		return &Committed{Answer: now}, false, nil
	}
	// The pins are taken. From here on an earlier attempt that is still under way spoils this one, or is spoilt by it.
	if done, _, p := s.examine(ctx, c, r); p != nil || done != nil {
		return nil, true, p
	}
	a := attempt{Request: c.Request, UpTo: r.Next}
	for i := range now.Commits {
		a.Pins = append(a.Pins, now.Commits[i].FirstVersion-1)
	}
	if again, p := s.note(ctx, r, a); again || p != nil {
		return nil, again, p
	}
	return s.execute(ctx, c, x, r, a)
}

// note stores the attempt, unless the same one is noted.
func (s *Staging) note(ctx context.Context, r *record, a attempt) (again bool, p *problem.Problem) {
	for _, other := range r.Attempts {
		if other.Request == a.Request && other.same(a) {
			return false, nil
		}
	}
	if len(r.Attempts) == maxAttempts {
		return false, problem.New(problem.Conflict, "%d commits of what is staged were begun and refused", maxAttempts).WithHint("`eventful aggregate:discard`, and stage it anew")
	}
	r.Attempts = append(r.Attempts, a)
	return s.save(ctx, r)
}

// execute sends the command of an attempt that was noted, and takes what was stored out of what is staged.
func (s *Staging) execute(ctx context.Context, c Caller, x Context, r *record, a attempt) (*Committed, bool, *problem.Problem) {
	changes, p := r.pinned(a)
	if p != nil {
		return nil, false, p
	}
	first, p := s.cfg.Execute(ctx, writer.Request{Token: c.Token, Command: aggregate.Command{
		ID: r.Command, Changes: changes, Correlation: x.Correlation, Causation: x.Causation, Traceparent: x.Traceparent,
	}})
	switch {
	case p == nil:
		left, p := s.clear(ctx, r, a, first)
		return &Committed{Answer: first, Left: left}, false, p
	case p.Code == problem.Conflict, p.Code == problem.CommandIDReused:
		return nil, true, nil // a version moved since the dry run, or another session was faster: the next round says which
	}
	return nil, false, p
}

// clear takes a stored commit out of what is staged, whatever was staged meanwhile. An error leaves it for the next caller: the command is stored.
func (s *Staging) clear(ctx context.Context, done *record, a attempt, answer *writer.Answer) (left int, p *problem.Problem) {
	n, p := retry(ctx, func() (*int, bool, *problem.Problem) {
		r, p := s.load(ctx, done.Actor)
		if p != nil {
			return nil, false, p
		}
		if r.Command != done.Command { // another session has cleared it
			return new(len(r.Entries)), false, nil
		}
		r.committed(a, answer)
		again, p := s.save(ctx, r)
		return new(len(r.Entries)), again, p
	})
	if p != nil {
		return 0, problem.New(problem.UnknownOutcome, "command %s is stored, and what was staged could not be cleared: %s", done.Command, p.Detail).
			WithHint("run the commit again: it stores nothing twice")
	}
	return *n, nil
}

// settled loads what an actor has staged, without what a commit that was begun before has stored.
func (s *Staging) settled(ctx context.Context, c Caller) (r *record, cleared bool, p *problem.Problem) {
	for range maxRounds {
		r, p = s.load(ctx, c.actor())
		if p != nil || len(r.Attempts) == 0 {
			return r, cleared, p
		}
		done, answer, p := s.examine(ctx, c, r)
		if p != nil || done == nil {
			return r, cleared, p
		}
		if _, p := s.clear(ctx, r, *done, answer); p != nil {
			return nil, cleared, p
		}
		cleared = true
	}
	return nil, cleared, problem.New(problem.Unavailable, "other sessions are committing what is staged").WithHint("send it again in a moment")
}

// examine looks for an attempt that is stored. It takes those out of the record of which none can be stored any more.
func (s *Staging) examine(ctx context.Context, c Caller, r *record) (done *attempt, answer *writer.Answer, p *problem.Problem) {
	used := false
	open := r.Attempts[:0:0]
	for _, a := range r.Attempts {
		changes, p := r.pinned(a)
		if p != nil {
			return nil, nil, p
		}
		answer, p := s.dryRun(ctx, c, r.Command, changes)
		switch {
		case p == nil && answer.Repeated:
			return &a, answer, nil
		case p == nil:
			open = append(open, a)
		case names(p, r.Command):
			return &a, r.answerOf(a, changes), nil
		case taken(p): // and versions never go back
		case moved(p):
			return nil, nil, cannotTell(p, r.Command)
		case p.Code == problem.CommandIDReused:
			used = true
			open = append(open, a)
		case tellsNothing(p):
			return nil, nil, p
		default:
			open = append(open, a)
		}
	}
	if used {
		return nil, nil, problem.New(problem.Conflict, "command %s, the commit of what is staged, was stored with other content than what is staged now", r.Command).
			WithHint("look for that command in the histories of the aggregates; then `eventful aggregate:discard`")
	}
	r.Attempts = open
	return nil, nil, nil
}

// tellsNothing: the writer refused before it looked for the command id.
func tellsNothing(p *problem.Problem) bool {
	return slices.Contains([]problem.Code{
		problem.Unavailable, problem.UnknownOutcome, problem.Damaged, problem.NoSpace, problem.Internal, problem.Unauthenticated, problem.Forbidden, problem.Malformed,
	}, p.Code)
}

// names reports whether a conflict says that a command came in between.
func names(p *problem.Problem, command string) bool {
	return slices.ContainsFunc(p.Between, func(b problem.Between) bool { return b.Command == command }) ||
		slices.ContainsFunc(p.Problems, func(one *problem.Problem) bool { return names(one, command) })
}

// taken reports whether a conflict names the event that lies where one of an attempt would: of another command, as names was asked before.
func taken(p *problem.Problem) bool {
	if expected, err := strconv.ParseUint(p.Expected, 10, 64); err == nil && len(p.Between) > 0 && p.Between[0].Version == expected+1 {
		return true
	}
	return slices.ContainsFunc(p.Problems, taken)
}

// cannotTell: the command id has left the window, and what a conflict names does not reach back to where the commit would lie. It may be stored, so it is not sent again.
func cannotTell(p *problem.Problem, command string) *problem.Problem {
	if !named(p) {
		return problem.New(problem.Unavailable, "whether command %s, an earlier commit of what is staged, was stored cannot be read now", command).WithHint("try again in a moment")
	}
	return problem.New(problem.Conflict, "whether command %s, an earlier commit of what is staged, was stored cannot be told any more: too much was stored since", command).
		WithHint("look for that command in the histories of the aggregates; then `eventful aggregate:discard`")
}

// named reports whether a conflict names any event.
func named(p *problem.Problem) bool {
	return len(p.Between) > 0 || slices.ContainsFunc(p.Problems, named)
}

// moved reports whether a version is not the expected one.
func moved(p *problem.Problem) bool {
	return p.Code == problem.Conflict && p.Expected != "" || slices.ContainsFunc(p.Problems, moved)
}

// answerOf words what is known of a commit whose first answer the log does not give any more.
func (r *record) answerOf(a attempt, changes []aggregate.Change) *writer.Answer {
	answer := &writer.Answer{Command: r.Command, Repeated: true, Time: r.Began}
	for i, c := range changes {
		first := a.Pins[i] + 1
		answer.Commits = append(answer.Commits, writer.CommitAnswer{
			Type: c.Aggregate.Type, ID: c.Aggregate.ID, FirstVersion: first, Version: first + event.Version(len(c.Events)) - 1,
		})
	}
	return answer
}

func (s *Staging) dryRun(ctx context.Context, c Caller, id string, changes []aggregate.Change) (*writer.Answer, *problem.Problem) {
	if id == "" {
		id = newCommandID()
	}
	return s.cfg.Execute(ctx, writer.Request{Token: c.Token, Command: aggregate.Command{ID: id, Changes: changes, DryRun: true}})
}
