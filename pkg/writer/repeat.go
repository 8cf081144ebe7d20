package writer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const (
	asideTimeout = 5 * time.Second // for reading the log to word an answer
	tellTimeout  = 2 * time.Second // the same for what came between: senders wait 5 s for the answer, which without it is a conflict too
	maxBetween   = 20              // events that a conflict names
	maxTellers   = 16              // conflicts for which the log is read at once
	maxKept      = 8               // blocks that are kept while the conflicts of one command are told
)

// repeated deals with a command id that is in the window: with the first answer, or with an error if the content differs.
func (e *engine) repeated(s *submission) bool {
	s.hash = e.st.hasher.hash(s.command.ID)
	now := e.blockTime(e.chain)
	if p, ok := e.over.commands[s.command.ID]; ok {
		if !e.st.window.young(p.block.Time, now) {
			return false
		}
		e.repeatPlaced(s, p)
		return true
	}
	sequence, found := e.ids.find(s.hash, e.ordinal, now)
	if found && e.repeats.add(s, sequence) {
		e.aside(e.answerRepeats)
	}
	return found
}

func reused(s *submission) *problem.Problem {
	return problem.New(problem.CommandIDReused, "command id %q was used before by this log for other content or another actor", s.command.ID).WithHint("make a new command id for every new command; repeat one only with the same content")
}

// repeatPlaced answers from a block that may still be under way: together with it, or at once if it is on disk.
func (e *engine) repeatPlaced(s *submission, p place) {
	if p.digest != s.digest {
		e.refuse(s, reused(s))
		return
	}
	w := waiter{from: p.from, to: p.to, repeated: true, reply: s.reply}
	if p.block == e.open || slices.Contains(e.inFlight, p.block) {
		p.block.waiting = append(p.block.waiting, w)
		return
	}
	s.reply(p.block.answerTo(e.name, w), nil)
}

func (e *engine) readBlock(ctx context.Context, sequence uint64, id event.ID16) (*event.Block, []*event.Commit, error) {
	m, err := e.log.Get(ctx, sequence)
	if err != nil {
		return nil, nil, fmt.Errorf("read sequence %d: %w", sequence, err)
	}
	b, commits, err := event.DecodeBlock(m.Data, sequence)
	if err == nil && b.ID != id {
		err = fmt.Errorf("sequence %d holds block %s, not %s", sequence, b.ID, id)
	}
	return b, commits, err
}

// refuse answers with a problem. One that rests on what the log holds leaves only when all of that is on disk: with the newest block under way,
// or at once if there is none. A conflict is told with what was committed in between.
func (e *engine) refuse(s *submission, p *problem.Problem) {
	e.metrics.refused.WithLabelValues(string(p.Code)).Inc()
	tell := func() { e.tell(s, p) }
	if b := e.newest(); b != nil && restsOnLog(p) {
		b.waiting = append(b.waiting, waiter{then: tell, reply: s.reply})
		return
	}
	tell()
}

// newest is the newest block that is not acknowledged, or nil.
func (e *engine) newest() *openBlock {
	if e.open != nil {
		return e.open
	}
	if n := len(e.inFlight); n > 0 {
		return e.inFlight[n-1]
	}
	return nil
}

func restsOnLog(p *problem.Problem) bool {
	switch p.Code {
	case problem.Conflict, problem.CommandIDReused, problem.BudgetSpent:
		return true
	}
	return slices.ContainsFunc(p.Problems, restsOnLog)
}

func (e *engine) tell(s *submission, p *problem.Problem) {
	if len(s.conflicts) == 0 {
		s.reply(nil, p)
		return
	}
	e.aside(func(ctx context.Context) {
		e.nameBetween(ctx, s.conflicts)
		s.reply(nil, p)
	})
}

// nameBetween fills in what came between. The log is read for few conflicts at once; what cannot be read in time, the turn waited for included, is left out.
func (e *engine) nameBetween(ctx context.Context, conflicts []conflict) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	select {
	case e.tellers <- struct{}{}:
		defer func() { <-e.tellers }()
	case <-ctx.Done():
		return
	}
	kept := make(blocks)
	for _, c := range conflicts {
		c.problem.Between = e.between(ctx, kept, c.problem.Expected, c.newest)
	}
}

// blocks are those that were read last, by sequence: what a transaction wrote lies together, so the next one about the same aggregates meets the same blocks.
type blocks map[uint64]struct {
	*event.Block
	commits []*event.Commit
}

func (k blocks) read(ctx context.Context, e *engine, at event.Link) (*event.Block, []*event.Commit, error) {
	if b, ok := k[at.Sequence]; ok && b.ID == at.Block {
		return b.Block, b.commits, nil
	}
	b, commits, err := e.readBlock(ctx, at.Sequence, at.Block)
	if err != nil {
		return nil, nil, err
	}
	if len(k) == maxKept {
		clear(k)
	}
	one := k[at.Sequence]
	one.Block, one.commits = b, commits
	k[at.Sequence] = one
	return b, commits, nil
}

// between names the newest events behind the expected version, oldest first. It stops quietly where a block is not on disk yet.
func (e *engine) between(ctx context.Context, kept blocks, expected string, newest event.Link) []problem.Between {
	want, err := strconv.ParseUint(expected, 10, 63)
	if err != nil {
		return nil
	}
	var out []problem.Between
	for link := newest; link.Sequence > 0 && len(out) < maxBetween; {
		b, commits, err := kept.read(ctx, e, link)
		if err != nil || int(link.Index) >= len(commits) {
			break
		}
		c := commits[link.Index]
		for i := len(c.Events) - 1; i >= 0 && len(out) < maxBetween; i-- {
			if v := uint64(c.First) + uint64(i); v > want {
				out = append(out, problem.Between{Version: v, Event: c.Events[i].Type, Actor: c.Actor, Hash: c.Leaf(i).String(), Command: c.CommandID})
			}
		}
		if uint64(c.First) <= want+1 {
			break
		}
		link = b.Records[link.Index].Prev
	}
	slices.Reverse(out)
	return out
}
