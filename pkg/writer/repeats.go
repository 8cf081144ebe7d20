package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// repeatReaders is how many blocks are read at once to answer repeated commands.
const repeatReaders = 4

// repeats are the repeated commands that wait for the block with their first answer. However many they are, a block is read once for all that wait for it, and few
// blocks at once: an import that is resumed repeats thousands of commands in one moment. The zero value is ready; it is safe for concurrent use.
type repeats struct {
	mu      sync.Mutex               // guards what follows
	waiting map[uint64][]*submission // by the block's sequence
	turns   []uint64                 // sequences that nobody reads yet, in the order in which they were asked for
	readers int
}

// add enters a command; true: the caller starts another reader.
func (r *repeats) add(s *submission, sequence uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = make(map[uint64][]*submission)
	}
	all, asked := r.waiting[sequence]
	r.waiting[sequence] = append(all, s)
	if asked {
		return false
	}
	r.turns = append(r.turns, sequence)
	if r.readers == repeatReaders {
		return false
	}
	r.readers++
	return true
}

// turn gives the block to read next; false: there is none, and the reader ends.
func (r *repeats) turn() (sequence uint64, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.turns) == 0 {
		r.readers--
		return 0, false
	}
	sequence, r.turns = r.turns[0], r.turns[1:]
	return sequence, true
}

// take gives all that wait for a block that was read, those too that came meanwhile.
func (r *repeats) take(sequence uint64) []*submission {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.waiting[sequence]
	delete(r.waiting, sequence)
	return all
}

// rest gives all that wait for blocks that nobody reads yet.
func (r *repeats) rest() (all []*submission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sequence := range r.turns {
		all = append(all, r.waiting[sequence]...)
		delete(r.waiting, sequence)
	}
	r.turns = nil
	return all
}

// answerRepeats answers from the log until nothing waits. While the log cannot be read, all are told so at once and none waits for a time-out of each block.
func (e *engine) answerRepeats(ctx context.Context) {
	for {
		sequence, more := e.repeats.turn()
		if !more {
			return
		}
		b, err := e.readAnswers(ctx, sequence)
		all := e.repeats.take(sequence)
		if errors.Is(err, eventlog.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			all = append(all, e.repeats.rest()...)
		}
		for _, s := range all {
			e.repeatStored(s, b, err)
		}
	}
}

// storedAnswers is a block that was read again to answer from it.
type storedAnswers struct {
	sequence uint64
	block    *event.Block
	commits  []*event.Commit
	of       map[string][]int // which commits a command has
}

func (e *engine) readAnswers(ctx context.Context, sequence uint64) (*storedAnswers, error) {
	ctx, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	m, err := e.log.Get(ctx, sequence)
	if err != nil {
		return nil, fmt.Errorf("read sequence %d: %w", sequence, err)
	}
	b, commits, err := event.DecodeBlock(m.Data, sequence)
	if err != nil {
		return nil, fmt.Errorf("read sequence %d: %w", sequence, err)
	}
	of := make(map[string][]int, len(commits))
	for i, c := range commits {
		of[c.CommandID] = append(of[c.CommandID], i)
	}
	return &storedAnswers{sequence: sequence, block: b, commits: commits, of: of}, nil
}

// repeatStored answers a command from its block, or says why that could not be read.
func (e *engine) repeatStored(s *submission, b *storedAnswers, err error) {
	var answer *Answer
	var digest event.Hash
	if err == nil {
		answer, digest, err = b.answer(e.name, s.command.ID)
	}
	switch {
	case errors.Is(err, statestore.ErrDoubted):
		select {
		case e.doubted <- err:
		default: // somebody else found it, too
		}
		fallthrough
	case err != nil:
		s.reply(nil, problem.New(problem.Unavailable, "command %s was stored before, but its answer cannot be read now: %v", s.command.ID, err))
	case digest != s.digest:
		e.metrics.refused.WithLabelValues(string(problem.CommandIDReused)).Inc()
		s.reply(nil, reused(s))
	default:
		s.reply(answer, nil)
	}
}

// answer words the answer of a stored command again, and gives its digest.
func (b *storedAnswers) answer(log, commandID string) (*Answer, event.Hash, error) {
	var digest event.Hash
	var answers []CommitAnswer
	for _, i := range b.of[commandID] {
		c := b.commits[i]
		digest = c.CommandDigest
		answers = append(answers, commitAnswer(c, c.Leaves(), event.Position{Log: log, Sequence: b.sequence, Index: uint32(i), Block: b.block.ID}))
	}
	if len(answers) == 0 {
		return nil, digest, fmt.Errorf("sequence %d does not hold command %s, which the state says it holds: %w", b.sequence, commandID, statestore.ErrDoubted)
	}
	answer := answerOf(commandID, b.block.Time, answers)
	answer.Repeated = true
	return answer, digest, nil
}
