package writer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// barrier asks a log to decide under the system log as of a sequence, and to say so in a block.
type barrier struct {
	sequence uint64
}

// mayDecide reports whether the engine may decide a submission now. While another process may write the log it waits at the head of the queue; while the
// log is frozen commands wait aside.
func (e *engine) mayDecide(s *submission) bool {
	if l := e.lease; l != nil && !l.Held() {
		changed := l.Changed()
		if !l.Held() {
			e.held, e.lapsed = s, changed
			return false
		}
	}
	if e.frozen != nil && s.act == nil && s.barrier == nil && !e.frozen.over(e.under) {
		e.iced = append(e.iced, s)
		return false
	}
	return true
}

// pass answers a barrier when everything decided before is on disk and the log's newest block names the place asked for. An empty block does where
// nothing else is to be written: whoever takes the log over reads it.
func (e *engine) pass(s *submission) {
	b := e.newest()
	switch {
	case b == nil && e.named >= s.barrier.sequence:
		s.reply(&Answer{}, nil)
		return
	case e.open != nil && e.open.System.Sequence < s.barrier.sequence:
		e.held = s // that block goes first
		return
	case b == nil || b.System.Sequence < s.barrier.sequence:
		e.begin()
		b = e.open
	}
	b.waiting = append(b.waiting, waiter{then: func() { s.reply(&Answer{}, nil) }, reply: s.reply})
}

// barrierPatience is how long an act waits until every log is known to decide under it.
const barrierPatience = 10 * time.Second

// barrier returns when the active writer of every log decides under the present system log, whichever process that is. The error names the logs
// that are open.
func (w *Writer) barrier(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, barrierPatience)
	defer cancel()
	v := w.sys.now.Load()
	var (
		asked sync.WaitGroup
		mu    sync.Mutex // guards open
		open  []string
	)
	for _, log := range v.logs() {
		asked.Go(func() {
			if _, p := w.ask(ctx, log, verbBarrier, call{Sequence: v.position.Sequence}); p != nil && p.Code != problem.Damaged { // a damaged log decides nothing
				mu.Lock()
				defer mu.Unlock()
				open = append(open, fmt.Sprintf("%s (%s)", log, p.Detail))
			}
		})
	}
	asked.Wait()
	if len(open) > 0 {
		slices.Sort(open)
		return errors.New(strings.Join(open, ", "))
	}
	return nil
}

// logs are those of the types in force, by name.
func (v *view) logs() []string {
	var names []string
	for _, t := range v.schemas {
		if c := t.current(); c != nil && !slices.Contains(names, logOf(c)) {
			names = append(names, logOf(c))
		}
	}
	slices.Sort(names)
	return names
}

// typesIn are the types in force of a log, by name.
func (v *view) typesIn(log string) []string {
	var names []string
	for name, t := range v.schemas {
		if c := t.current(); c != nil && logOf(c) == log {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// passBarrier answers another engine's barrier for a log that is led here.
func (w *Writer) passBarrier(ctx context.Context, e *engine, c call) *problem.Problem {
	if err := w.sys.await(ctx, c.Sequence); err != nil {
		return problem.New(problem.Unavailable, "%v", err)
	}
	if w.keeper != nil {
		select {
		case <-w.doors.sync(): // requests for types that the view has now are let in
		case <-ctx.Done():
			return problem.New(problem.Unavailable, "log %s is not open for its types yet", e.name)
		}
	}
	_, p := w.put(ctx, e, &submission{barrier: &barrier{sequence: c.Sequence}})
	return p
}

// put hands a submission of EventfulDB itself to an engine and waits for its outcome.
func (w *Writer) put(ctx context.Context, e *engine, s *submission) (*Answer, *problem.Problem) {
	type outcome struct {
		a *Answer
		p *problem.Problem
	}
	done := make(chan outcome, 1)
	s.reply = func(a *Answer, p *problem.Problem) { done <- outcome{a, p} }
	e.submit(s)
	select {
	case o := <-done:
		return o.a, o.p
	case <-ctx.Done():
		return nil, problem.New(problem.UnknownOutcome, "the act was not answered in time: %v", ctx.Err()).WithHint("look at the present state before you repeat it")
	}
}
