package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// pasts reads the pasts of many aggregates side by side, along the links between the commits of each, which lead backwards. Whatever waits furthest back in the log
// waits until the others have come as far, so a block is read once for all that have a commit in it. No past is kept: each is folded backwards.
type pasts struct {
	name    string // of the log
	seen    *seen
	waiting map[uint64][]*past // by the sequence of the block that is wanted next
	order   []uint64           // the keys of waiting in ascending order
	found   func(event.AggregateID, kept)
	log     zerolog.Logger
}

// past is that of one aggregate in front of a commit, read down to a version.
type past struct {
	aggregate event.AggregateID
	behind    event.Link // the state behind this commit is wanted
	next      event.Link // the commit that is read next
	first     event.Version
	base      kept // where it may end; its folded is nil if there is none
	events    aggregate.Backward
	seals     map[string]seal
}

// tellEvery is how many blocks are read between two lines of the log, some 10 s.
const tellEvery = 1 << 15

func (p *pasts) wait(one *past) {
	sequence := one.next.Sequence
	if _, known := p.waiting[sequence]; !known {
		at, _ := slices.BinarySearch(p.order, sequence)
		p.order = slices.Insert(p.order, at, sequence)
	}
	p.waiting[sequence] = append(p.waiting[sequence], one)
}

// read reads until no past waits.
func (p *pasts) read(ctx context.Context, source eventlog.Log) error {
	if len(p.order) == 0 {
		return nil
	}
	blocks := newBlocks(ctx, source)
	defer blocks.close()
	for n := 1; len(p.order) > 0; n++ {
		for _, sequence := range slices.Backward(p.order[max(len(p.order)-sideBySide, 0):]) {
			blocks.want(sequence)
		}
		last := len(p.order) - 1
		sequence := p.order[last]
		of := p.waiting[sequence]
		delete(p.waiting, sequence)
		p.order = p.order[:last]
		b := blocks.take(sequence)
		for _, one := range of {
			if err := p.pass(one, b); err != nil {
				return fmt.Errorf("fold %s: %w", one.aggregate, err)
			}
		}
		if n%tellEvery == 0 {
			p.log.Info().Str("log", p.name).Int("blocks", n).Uint64("sequence", sequence).Msg("pasts of aggregates were read, more are")
		}
	}
	return nil
}

// pass takes the commits that a past has in a block.
func (p *pasts) pass(one *past, b *readBlock) error {
	for sequence := one.next.Sequence; one.next.Sequence == sequence; {
		if done, err := p.step(one, b); done || err != nil {
			return err
		}
	}
	p.wait(one)
	return nil
}

// step takes one commit of a past. done: its state is found.
func (p *pasts) step(one *past, b *readBlock) (done bool, err error) {
	c, prev, err := b.commit(p.name, one.next)
	if err != nil {
		return false, err
	}
	if c.Aggregate != one.aggregate || c.Last()+1 != one.first {
		return false, fmt.Errorf("the commit before version %d is not where it should be: %w", one.first, errMismatch)
	}
	more := true
	for i := len(c.Events) - 1; i >= 0 && more; i-- {
		if more, err = one.add(p.seen, c, i); err != nil {
			return false, err
		}
	}
	one.next, one.first = prev, c.First
	switch {
	case !more || one.first == 1:
		p.found(one.aggregate, one.state(&folded{}))
	case one.base.folded != nil && one.next == one.base.behind:
		p.found(one.aggregate, one.state(one.base.folded))
	default:
		return false, nil
	}
	return true, nil
}

func (one *past) add(seen *seen, c *event.Commit, i int) (more bool, err error) {
	e := &c.Events[i]
	fields, err := event.DecodePayload(e.Payload)
	if err != nil {
		return false, err
	}
	for _, f := range fields {
		if _, later := one.seals[f.Name]; f.Sealed && !later {
			if one.seals == nil {
				one.seals = map[string]seal{}
			}
			one.seals[f.Name] = sealOf(c)
		}
	}
	return one.events.Add(c.First+event.Version(i), e, fields, seen.ends(e)), nil
}

// state is what the past comes to behind a base.
func (one *past) state(base *folded) kept {
	s := &folded{State: one.events.Behind(base.State)}
	for name, version := range s.Sealed {
		if s.seals == nil {
			s.seals = map[string]seal{}
		}
		if s.seals[name] = base.seals[name]; version > base.Version {
			s.seals[name] = one.seals[name]
		}
	}
	return kept{s, one.behind}
}

// sideBySide is how many blocks are asked for at a time.
const sideBySide = 8

// blocks reads blocks of a log by their sequences, several at a time. It is for one goroutine.
type blocks struct {
	ctx     context.Context
	cancel  context.CancelFunc
	source  eventlog.Log
	asked   map[uint64]chan *readBlock
	reading sync.WaitGroup
}

func newBlocks(ctx context.Context, source eventlog.Log) *blocks {
	b := &blocks{source: source, asked: map[uint64]chan *readBlock{}}
	b.ctx, b.cancel = context.WithCancel(ctx)
	return b
}

func (b *blocks) close() {
	b.cancel()
	b.reading.Wait()
}

// want begins to read a block, unless that was begun.
func (b *blocks) want(sequence uint64) {
	if b.asked[sequence] != nil {
		return
	}
	answer := make(chan *readBlock, 1)
	b.asked[sequence] = answer
	b.reading.Go(func() { answer <- getBlock(b.ctx, b.source, sequence) })
}

// take waits for a block, and forgets it.
func (b *blocks) take(sequence uint64) *readBlock {
	b.want(sequence)
	read := <-b.asked[sequence]
	delete(b.asked, sequence)
	return read
}

// readBlock is a block with its commits, or why it could not be read: errMismatch if there is none.
type readBlock struct {
	*event.Block
	commits []*event.Commit
	err     error
}

func getBlock(ctx context.Context, source eventlog.Log, sequence uint64) *readBlock {
	m, err := source.Get(ctx, sequence)
	if errors.Is(err, eventlog.ErrNotFound) {
		err = fmt.Errorf("%w: %w", errMismatch, err)
	}
	if err != nil {
		return &readBlock{err: err}
	}
	b, commits, err := event.DecodeBlock(m.Data, m.Sequence)
	if err != nil {
		err = fmt.Errorf("%w: %w", errMismatch, err)
	}
	return &readBlock{b, commits, err}
}

// commit gives a commit of the block with its link: errMismatch if another one, or none, lies there.
func (b *readBlock) commit(log string, at event.Link) (*event.Commit, event.Link, error) {
	err := b.err
	if err == nil && (b.ID != at.Block || int(at.Index) >= len(b.commits)) {
		err = fmt.Errorf("another block, or none, is there: %w", errMismatch)
	}
	if err != nil {
		return nil, event.Link{}, fmt.Errorf("position %s: %w", event.Position{Log: log, Sequence: at.Sequence, Index: at.Index, Block: at.Block}, err)
	}
	return b.commits[at.Index], b.Records[at.Index].Prev, nil
}
