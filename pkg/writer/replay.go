package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// replay reads blocks into the state. It recomputes every hash on its way, so a log that does not match itself is never written on.
type replay struct {
	e     *engine
	c     *changes
	heads recent[event.AggregateID, head]
}

func newReplay(e *engine) *replay {
	return &replay{e: e, c: e.st.changes(), heads: newRecent[event.AggregateID, head](e.cfg.CachedHeads, &e.applied)}
}

// met is a message of the log that was read ahead, on a goroutine of its own: decoded, judged and hashed.
type met struct {
	eventlog.Found
	chain  event.Chain    // behind it
	leaves [][]event.Hash // of each commit
	ids    []idHash       // of each commit's command
	err    error          // the last one has it
}

// hashed works out what the replay needs of a message besides its content.
func (m *met) hashed(hash hasher) {
	m.leaves, m.ids = make([][]event.Hash, len(m.Commits)), make([]idHash, len(m.Commits))
	for i, c := range m.Commits {
		m.leaves[i], m.ids[i] = c.Leaves(), hash.hash(c.CommandID)
	}
}

// readAhead is how many messages the replay has read before they are taken into the state.
const readAhead = 32

// catchUp brings the stored state to the end of the log, and notes those blocks it met that this process sent.
func (e *engine) catchUp(ctx context.Context) error {
	_, last, err := e.log.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("ask for the end of the log: %w", err)
	}
	from := e.st.meta.chain
	switch {
	case last < from.Sequence:
		return fmt.Errorf("the state is at sequence %d, the log ends at %d: %w", from.Sequence, last, errLost)
	case last == from.Sequence:
		return nil
	}
	reader, err := eventlog.Read(ctx, e.log, from)
	if err != nil {
		return err
	}
	defer reader.Stop()
	r := newReplay(e)
	reading, cancel := context.WithCancel(ctx)
	ahead := make(chan met, readAhead)
	var running sync.WaitGroup
	running.Go(func() { r.read(reading, reader, last, ahead) })
	defer running.Wait()
	defer cancel()
	for m := range ahead {
		if m.err != nil {
			return m.err
		}
		if err := r.take(ctx, m); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.write()
}

// read sends all messages up to last, or until there is an error.
func (r *replay) read(ctx context.Context, reader *eventlog.Reader, last uint64, to chan<- met) {
	defer close(to)
	for failed := false; !failed && reader.Chain().Sequence < last; {
		var m met
		m.Found, m.err = r.next(ctx, reader, last)
		m.chain, failed = reader.Chain(), m.err != nil
		m.hashed(r.e.st.hasher)
		select {
		case to <- m:
		case <-ctx.Done():
			return
		}
	}
}

// tailPatience is how long the next message of a log that must have one may take before it is asked for by its sequence.
const tailPatience = 3 * time.Second

// next waits for the next message. A log can name a last sequence that it does not have any more: then waiting would never end, and it is damage.
func (r *replay) next(ctx context.Context, reader *eventlog.Reader, last uint64) (eventlog.Found, error) {
	waiting, cancel := context.WithTimeout(ctx, tailPatience)
	defer cancel()
	f, err := reader.Next(waiting)
	if err == nil || ctx.Err() != nil || waiting.Err() == nil {
		return f, err
	}
	from := reader.Chain().Sequence + 1
	for sequence := from; sequence <= min(last, from+maxProbes); sequence++ {
		_, err := r.e.log.Get(ctx, sequence)
		if !errors.Is(err, eventlog.ErrNotFound) {
			return f, errors.Join(fmt.Errorf("sequence %d did not come in %s: %w", from, tailPatience, eventlog.ErrUnavailable), err)
		}
	}
	return f, fmt.Errorf("sequences %d to %d cannot be read: %w", from, last, ErrDamaged)
}

const maxProbes = 100

func (r *replay) take(ctx context.Context, f met) error {
	switch {
	case f.Missing:
		return fmt.Errorf("the message before sequence %d is missing: %w", f.Sequence, ErrDamaged)
	case f.Standing == event.Damaged:
		return fmt.Errorf("sequence %d does not decode: %v: %w", f.Sequence, f.Err, ErrDamaged)
	case f.Standing == event.Void:
		r.e.logger.Warn().Uint64("sequence", f.Sequence).Str("block", f.Block.ID.String()).Msg("void block was skipped")
		r.c.meta.chain = f.chain
		return nil
	}
	own := r.e.own[f.Block.ID]
	if own {
		r.e.found[f.Block.ID] = true
	}
	if r.e.bound != nil && f.Block.Epoch > *r.e.bound && !own {
		return fmt.Errorf("epoch %d stands at sequence %d: %w", f.Block.Epoch, f.Sequence, ErrFenced)
	}
	if err := r.e.awaitView(ctx, f.Block.System.Sequence); err != nil {
		return err
	}
	if err := r.block(f); err != nil {
		return err
	}
	if r.c.full() {
		return r.write()
	}
	return nil
}

// write stores what was read so far.
func (r *replay) write() error {
	if err := r.c.write(); err != nil {
		return err
	}
	r.c = r.e.st.changes()
	return nil
}

func (r *replay) block(f met) error {
	b := stored{sequence: f.Sequence, header: f.Block.Header, items: make([]item, len(f.Commits))}
	tree := r.c.meta.tree
	var leaves []event.Hash
	for i, commit := range f.Commits {
		it, err := r.follow(commit, f.Block.Records[i].Prev, f.leaves[i])
		if err != nil {
			return err
		}
		it.hash = f.ids[i]
		it.after.link = event.Link{Sequence: f.Sequence, Index: uint32(i), Block: f.Block.ID}
		if err := it.about(r.head); err != nil {
			return err
		}
		r.noted(&it)
		b.items[i] = it
		r.heads.put(commit.Aggregate, it.after, 0) // changes has it until the state does
		leaves = append(leaves, f.leaves[i]...)
	}
	if tree = tree.Append(leaves...); tree.Root() != f.Block.TreeRoot || tree.Size() != f.Block.TreeSize {
		return fmt.Errorf("sequence %d: the log tree is not the one its block states: %w", f.Sequence, ErrDamaged)
	}
	if r.e.isSystem() {
		kept, err := r.e.sys.apply(b)
		if err != nil {
			return fmt.Errorf("sequence %d: %w", f.Sequence, err)
		}
		b.kept = kept
	}
	return r.c.add(b, f.chain, tree, !r.e.isSystem())
}

// follow gives the head behind a commit, which must fit the head before it, and what it took and gave up.
func (r *replay) follow(c *event.Commit, prev event.Link, leaves []event.Hash) (item, error) {
	h, err := r.head(c.Aggregate)
	if err != nil {
		return item{}, err
	}
	tree := h.tree.Append(leaves...)
	if c.First != h.version+1 || prev != h.link || tree.Root() != c.Root {
		return item{}, fmt.Errorf("%s at version %d does not fit its history: %w", c.Aggregate, c.First, ErrDamaged)
	}
	deletes := func(i int) bool { return r.e.sys.deletes(c.Aggregate.Type, &c.Events[i]) }
	it := item{commit: c, after: head{version: c.Last(), cold: h.cold, deleted: deletes(len(c.Events) - 1), tree: tree}}
	if len(r.e.unique[c.Aggregate.Type]) == 0 {
		return it, nil
	}
	events, err := newEvents(c)
	it.after.held, it.claims = r.e.unique.hold(r.e.sys.values(r.e.sys.now.Load()), c.Aggregate, h.held, events, deletes)
	return it, err
}

// newEvents are the commit's events as a command would have had them.
func newEvents(c *event.Commit) ([]aggregate.NewEvent, error) {
	out := make([]aggregate.NewEvent, len(c.Events))
	for i := range c.Events {
		fields, err := event.DecodePayload(c.Events[i].Payload)
		if err != nil {
			return nil, err
		}
		out[i] = aggregate.NewEvent{Type: c.Events[i].Type, Fields: fields}
	}
	return out, nil
}

func (r *replay) head(a event.AggregateID) (head, error) {
	if h, ok := r.heads.get(a); ok {
		return h, nil
	}
	return r.c.head(a)
}

func decodeFoundHead(a event.AggregateID, raw []byte, err error) (head, error) {
	switch {
	case isNotFound(err):
		return head{}, nil
	case err != nil:
		return head{}, fmt.Errorf("load head of %s: %w", a, err)
	}
	h, err := decodeHead(raw)
	if err != nil {
		return h, fmt.Errorf("load head of %s: %w: %w", a, err, statestore.ErrDoubted)
	}
	return h, nil
}
