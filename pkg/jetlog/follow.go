package jetlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

const (
	// readAhead is the number of messages that wait for Next.
	readAhead = 16
	// heartbeat is how often an idle server says that a consumer lives; it is made anew after two that are missing.
	heartbeat = 2 * time.Second
	// idle is how long no message may come before the cursor asks where the log ends.
	idle = 10 * time.Second
	// forgotten is when the server drops a consumer that nobody reads: a process that was killed leaves one.
	forgotten = time.Minute
)

// errStale ends a consumer that may have lost messages; the next one begins behind the last message that was passed on.
var errStale = errors.New("consumer may have lost messages")

// errStaleLeader: who answered for a stream may not lead it any more.
var errStaleLeader = errors.New("the leader may be one of before")

// errHanded ends a consumer that is not needed: what it brings is handed on by writers of this process.
var errHanded = errors.New("messages are handed on")

// cursor reads a log by one delivery after the other: each is replaced by a new one as soon as a message may be missing. (The ordered
// consumer of nats.go waits for a server that is away without regard to a context.) While a writer of the same process writes the log, its messages
// are taken from there (Recent), and no consumer exists. One goroutine reads; Stop ends it and waits for it.
type cursor struct {
	log      *log
	recent   *handed // what writers of this process store
	hurry    chan struct{}
	messages chan eventlog.Message
	failed   chan struct{} // closed when the goroutine ends
	err      error         // why; set before failed is closed
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// Follow implements eventlog.Log. ErrRewound if the log ends before the sequence after.
func (l *log) Follow(ctx context.Context, after uint64) (eventlog.Cursor, error) {
	_, last, err := l.Bounds(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow log %s: %w", l.name, err)
	}
	if after > last {
		return nil, fmt.Errorf("follow log %s behind %d, it ends at %d: %w", l.name, after, last, eventlog.ErrRewound)
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &cursor{log: l, recent: l.store.options.Recent.join(l.name), hurry: make(chan struct{}, 1), messages: make(chan eventlog.Message, readAhead),
		failed: make(chan struct{}), cancel: cancel}
	c.running.Go(func() {
		defer close(c.failed)
		defer l.store.options.Recent.leave(l.name, c.recent)
		c.err = c.run(running, after)
	})
	return c, nil
}

// Next implements eventlog.Cursor. While the server is away it waits. ErrNotFound: the log is gone; ErrRewound: the server lost the end of
// the log; ErrUnavailable: the connection was closed for good.
func (c *cursor) Next(ctx context.Context) (eventlog.Message, error) {
	if err := ctx.Err(); err != nil {
		return eventlog.Message{}, err
	}
	select {
	case m := <-c.messages:
		return m, nil
	default:
	}
	select {
	case m := <-c.messages:
		return m, nil
	case <-ctx.Done():
		return eventlog.Message{}, ctx.Err()
	case <-c.failed:
		select { // what was read before the failure comes first
		case m := <-c.messages:
			return m, nil
		default:
			return eventlog.Message{}, c.err
		}
	}
}

// Stop implements eventlog.Cursor: the consumer is deleted.
func (c *cursor) Stop() {
	c.cancel()
	c.running.Wait()
}

// run reads with one consumer after the other until the cursor is stopped or reading cannot go on.
func (c *cursor) run(ctx context.Context, after uint64) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		before := after
		err := c.read(ctx, &after)
		handed := errors.Is(err, errHanded)
		if handed {
			err = c.fromRecent(ctx, &after)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case c.log.store.nc.IsClosed():
			return fmt.Errorf("the connection is closed: %w", eventlog.ErrUnavailable)
		case errors.Is(err, eventlog.ErrRewound):
			return err
		}
		if _, err := c.end(ctx, after); err != nil {
			return err
		}
		if after > before {
			pause = firstPause
		}
		if !handed { // else the server did nothing wrong
			wait(ctx, pause)
		}
	}
}

// end gives the last sequence of the log. Errors are those that end the cursor: the log is gone, or ends before what was read. A server
// that is away is none; then 0 comes.
func (c *cursor) end(ctx context.Context, after uint64) (last uint64, err error) {
	_, last, err = c.log.Bounds(ctx)
	switch {
	case errors.Is(err, eventlog.ErrNotFound):
		return 0, err
	case err != nil:
		return 0, nil
	case last < after:
		return 0, rewound(after, last)
	}
	return last, nil
}

func rewound(after, last uint64) error {
	return fmt.Errorf("sequence %d was read, the log ends at %d: %w", after, last, eventlog.ErrRewound)
}

// read passes messages on until the consumer fails or the connection is lost; after is the last sequence passed on.
func (c *cursor) read(ctx context.Context, after *uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.log.store.whileConnected(ctx, cancel)()
	d, err := c.log.store.deliver(ctx, c.log.streamName, heartbeat, forgotten,
		jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *after + 1})
	if err != nil {
		return err
	}
	defer d.end(ctx)
	for {
		m, about, err := c.next(ctx, d, *after)
		if err != nil {
			return err
		}
		if err := c.pass(ctx, m, about.Sequence.Stream, after); err != nil {
			return err
		}
		if c.recent.near(*after) {
			return errHanded
		}
	}
}

// whileConnected cancels when the connection is lost: what the server has sent by then may not arrive, and is not sent again. The function it gives ends the watch.
func (s *Store) whileConnected(ctx context.Context, cancel context.CancelFunc) (end func()) {
	nc := s.nc
	lost := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-lost:
			cancel()
		case <-ctx.Done():
		}
	})
	return func() {
		cancel()
		watch.Wait()
		nc.RemoveStatusListener(lost)
	}
}

// next waits for a message. When none comes for a while, it looks whether there should have been one.
func (c *cursor) next(ctx context.Context, d *delivery, after uint64) (*nats.Msg, *nats.MsgMetadata, error) {
	for {
		m, about, err := d.next(idle)
		if !errors.Is(err, errQuiet) {
			return m, about, err
		}
		if last, err := c.end(ctx, after); err != nil || last > after {
			return nil, nil, errors.Join(err, errStale)
		}
	}
}

// pass hands one message on. Sequences only go up, else the server lost the end of the log and uses them again.
func (c *cursor) pass(ctx context.Context, m *nats.Msg, sequence uint64, after *uint64) error {
	if sequence <= *after {
		return rewound(*after, sequence)
	}
	return c.hand(ctx, eventlog.Message{Sequence: sequence, Data: m.Data}, after)
}

// hand gives a message to Next.
func (c *cursor) hand(ctx context.Context, m eventlog.Message, after *uint64) error {
	select {
	case c.messages <- m:
		*after = m.Sequence
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
