package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// WaitFor waits until the index holds a position, so that a reader sees what it wrote. not_found: there is no such log, or another block lies
// there, so the log has lost it; unavailable: ctx ended first, or the log's reader has stopped.
func (p *Projector) WaitFor(ctx context.Context, position event.Position) error {
	if err := p.mustExist(ctx, position.Log); err != nil {
		return err
	}
	x, err := p.waitIndex(ctx, position.Log, position.Sequence)
	if err != nil {
		return errors.Join(p.behindEnd(ctx, position), err)
	}
	return x.view(ctx, func(r *reading) error {
		id, found, err := r.block(position.Sequence)
		if err != nil {
			return fmt.Errorf("read index: %w", err)
		}
		if !found || id != position.Block {
			return problem.New(problem.NotFound, "position %s: that block is not in the log", position).
				WithHint("the log lost its tail after the position was given; read without it, and send what is missing again")
		}
		return nil
	})
}

// endPatience is how long the end of a log is looked for to say why waiting was in vain.
const endPatience = 200 * time.Millisecond

// behindEnd says that a position was waited for in vain which the log itself does not have; nil: it has, or it cannot be told.
func (p *Projector) behindEnd(ctx context.Context, position event.Position) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	source, err := p.source(ctx, position.Log)
	if err != nil {
		return nil //nolint:nilerr // it cannot be told
	}
	_, last, err := source.Bounds(ctx)
	if err != nil || last >= position.Sequence {
		return nil //nolint:nilerr // likewise
	}
	return problem.New(problem.Unavailable, "position %s lies behind the end of the log, which has %d messages", position, last).
		WithHint("check the position; if an answer to a command named it, the log lost its tail: read without it, and send what is missing again")
}

// WaitForLatest waits until the index of a log holds everything that the log holds when it is called; with an empty name, of every log.
// A log that does not exist needs no waiting. unavailable: ctx ended first, the log cannot be reached, or its reader has stopped.
func (p *Projector) WaitForLatest(ctx context.Context, log string) error {
	names, err := p.meant(ctx, log)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.waitForEnd(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// StandsAtLatest reports whether WaitForLatest would have nothing to wait for. unavailable: the log cannot be reached.
func (p *Projector) StandsAtLatest(ctx context.Context, log string) (bool, error) {
	names, err := p.meant(ctx, log)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if source, _, _, err := p.ahead(ctx, name); err != nil || source != nil {
			return false, err
		}
	}
	return true, nil
}

// meant are the logs that a name stands for: an empty one for all.
func (p *Projector) meant(ctx context.Context, log string) ([]string, error) {
	if log != "" {
		return []string{log}, nil
	}
	names, err := p.config.Store.List(ctx)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "the logs cannot be listed: %v", err)
	}
	return names, nil
}

// ahead gives a log and its bounds if it is ahead of its index; nil: it is not, or does not exist.
func (p *Projector) ahead(ctx context.Context, name string) (source eventlog.Log, first, last uint64, err error) {
	source, err = p.source(ctx, name)
	if errors.Is(err, eventlog.ErrNotFound) {
		return nil, 0, 0, nil
	}
	if err != nil {
		return nil, 0, 0, problem.New(problem.Unavailable, "log %s cannot be opened: %v", name, err)
	}
	if first, last, err = source.Bounds(ctx); err != nil {
		return nil, 0, 0, problem.New(problem.Unavailable, "the bounds of log %s cannot be read: %v", name, err)
	}
	if last == 0 || p.Stands(name, last) {
		return nil, 0, 0, nil
	}
	return source, first, last, nil
}

func (p *Projector) waitForEnd(ctx context.Context, name string) error {
	source, first, last, err := p.ahead(ctx, name)
	if err != nil || source == nil {
		return err
	}
	if last, err = readableEnd(ctx, source, first, last); err != nil {
		return problem.New(problem.Unavailable, "the end of log %s cannot be read: %v", name, err)
	}
	_, err = p.waitIndex(ctx, name, last)
	return err
}

// Stands reports whether a log's index stands at a sequence already.
func (p *Projector) Stands(name string, sequence uint64) bool {
	x, _, _ := p.indexOrGrowth(name)
	if x == nil {
		return false
	}
	at, _, stopped := x.progress.now()
	return stopped == nil && at.chain.Sequence >= sequence
}

// maxProbes bounds how many lost messages at the end of a log are looked for.
const maxProbes = 1000

// readableEnd is the highest sequence up to last that holds a message: a server can name a last message that its store has lost, and nobody may wait for it.
func readableEnd(ctx context.Context, source eventlog.Log, first, last uint64) (uint64, error) {
	for n := 0; last >= first && last > 0 && n < maxProbes; n++ {
		_, err := source.Get(ctx, last)
		if err == nil {
			return last, nil
		}
		if !errors.Is(err, eventlog.ErrNotFound) {
			return 0, err
		}
		last--
	}
	return last, nil
}

// mustExist refuses a log that has no index and is not in the store either: whoever has a position of it has it from a log that existed.
func (p *Projector) mustExist(ctx context.Context, log string) error {
	x, _, ended := p.indexOrGrowth(log)
	switch {
	case ended:
		return notRunning()
	case x != nil:
		return nil
	}
	if _, err := p.config.Store.Open(ctx, log); errors.Is(err, eventlog.ErrNotFound) {
		return problem.New(problem.NotFound, "there is no log %s", log).WithHint("check the position; it is one of this site's as an answer to a command names it")
	} else if err != nil {
		return problem.New(problem.Unavailable, "log %s cannot be opened: %v", log, err)
	}
	return nil
}

// source gives a log: the one that its follower has open, if there is one.
func (p *Projector) source(ctx context.Context, name string) (eventlog.Log, error) {
	if x, _, _ := p.indexOrGrowth(name); x != nil {
		if log := x.source(); log != nil {
			return log, nil
		}
	}
	return p.config.Store.Open(ctx, name)
}

// waitIndex waits until a log has an index that stands at a sequence or behind it.
func (p *Projector) waitIndex(ctx context.Context, log string, sequence uint64) (*index, error) {
	x, err := p.appear(ctx, log)
	if err != nil {
		return nil, err
	}
	x.awaited.Add(1)
	defer x.awaited.Add(-1)
	for {
		at, changed, stopped := x.progress.now()
		switch {
		case at.chain.Sequence >= sequence:
			return x, nil
		case stopped != nil:
			return nil, problem.New(problem.Unavailable, "the reader of log %s stopped at %d, before %d: %v", log, at.chain.Sequence, sequence, stopped)
		}
		x.hurry()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, problem.New(problem.Unavailable, "the index of log %s stands at %d, waiting for %d: %v", log, at.chain.Sequence, sequence, ctx.Err()).
				WithHint("it is behind, or is being built anew, and `eventful status` says how far it is: ask again, or read without waiting")
		}
	}
}

// appear waits for a log that was made a moment ago.
func (p *Projector) appear(ctx context.Context, log string) (*index, error) {
	for {
		x, grown, ended := p.indexOrGrowth(log)
		switch {
		case ended:
			return nil, notRunning()
		case x != nil:
			return x, nil
		}
		p.Notify()
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, problem.New(problem.Unavailable, "log %s is not known: %v", log, ctx.Err()).WithHint("check the position")
		}
	}
}
