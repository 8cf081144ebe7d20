package jetlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/streams"
)

const (
	// maxUnacked is how many commands of the inbox may be with the engine: those that wait for others of their aggregate count too.
	maxUnacked = 100_000
	// pullMessages and pullBytes are what may be under way from the server; a message of the largest size must fit.
	pullMessages = 512
	pullBytes    = 16 << 20
	// ackWait is far beyond what a delivery lasts: a command waits as long as it has to, and a new delivery begins with all that are not acknowledged.
	ackWait = 24 * time.Hour
	// silence bounds one wait for a letter; it is longer than two heartbeats, without which the delivery ends.
	silence = 5 * heartbeat
)

// ErrDelivery ends a delivery: a message may have been lost on its way, or another delivery has begun. What was not acknowledged comes again in the next one.
var ErrDelivery = errors.New("delivery has ended")

// Inbox is the durable inbox. Its store lies in the account of the senders.
type Inbox struct {
	store  *Store
	stream jetstream.Stream
	id     string
}

// Inbox opens the durable inbox, and makes it if it does not exist. The store's connection must be in the account APP.
func (s *Store) Inbox(ctx context.Context) (*Inbox, error) {
	settings, err := streams.InboxSettings(s.options.Replicas)
	if err != nil {
		return nil, fmt.Errorf("open the inbox: %w", err)
	}
	stream, err := s.ensureStream(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("open the inbox: %w", err)
	}
	return &Inbox{store: s, stream: stream, id: strconv.FormatInt(stream.CachedInfo().Created.UnixNano(), 36)}, nil
}

// ID names this inbox for ever: one that is made anew, and counts from 1 again, has another.
func (i *Inbox) ID() string { return i.id }

// Letter is one command in the inbox.
type Letter struct {
	Sequence uint64
	Time     time.Time // when the server took it
	Subject  string
	Header   nats.Header
	Data     []byte
	Ack      Receipt
}

// Receipt acknowledges a letter.
type Receipt struct {
	nc      *nats.Conn
	subject string
}

// Done takes the letter out of the inbox. It does not wait: a letter whose receipt is lost comes again.
func (r Receipt) Done() error {
	if err := r.nc.Publish(r.subject, nil); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// Delivery gives the letters in their order, each once. It is for one goroutine.
type Delivery struct {
	inbox     *Inbox
	messages  jetstream.MessagesContext
	live      context.Context // ends when the connection has been another one
	stop      context.CancelFunc
	watching  sync.WaitGroup
	delivered uint64 // last delivery number
	last      uint64 // last sequence
}

// Deliver begins a delivery with the oldest letter that is not acknowledged, and ends every other one: the consumer is made anew, so nothing waits for
// a time to run out, and what comes is in order.
func (i *Inbox) Deliver(ctx context.Context) (*Delivery, error) {
	d := &Delivery{inbox: i}
	d.watch()
	var consumer jetstream.Consumer
	err := i.store.try(ctx, func(ctx context.Context) (err error) {
		if err := i.dismiss(ctx); err != nil {
			return err
		}
		consumer, err = i.consume(ctx)
		return err
	})
	if err == nil {
		limit := max(pullBytes, 2*int(i.store.nc.MaxPayload()))
		d.messages, err = consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(pullMessages, limit), jetstream.PullExpiry(30*time.Second), jetstream.PullHeartbeat(heartbeat))
	}
	if err != nil {
		d.Stop()
		return nil, fmt.Errorf("begin a delivery of the inbox: %w", err)
	}
	return d, nil
}

// watch ends the delivery's life with its connection: what was on its way is lost.
func (d *Delivery) watch() {
	nc := d.inbox.store.nc
	d.live, d.stop = context.WithCancel(context.Background())
	changes := nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	d.watching.Go(func() {
		defer nc.RemoveStatusListener(changes)
		select {
		case <-changes:
			d.stop()
		case <-d.live.Done():
		}
	})
}

// dismiss removes every consumer: a work queue has one.
func (i *Inbox) dismiss(ctx context.Context) error {
	names := i.stream.ConsumerNames(ctx)
	for name := range names.Name() {
		if err := i.stream.DeleteConsumer(ctx, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	return names.Err()
}

// consume makes the consumer anew. A folder of it that the server cannot read, and does not know as a consumer's, lies in the way of its name until somebody
// removes it: nothing in the state of a consumer is needed, so another name is taken.
func (i *Inbox) consume(ctx context.Context) (c jetstream.Consumer, err error) {
	for n := 1; n <= streams.InboxConsumers; n++ {
		if c, err = i.consumeAs(ctx, streams.InboxConsumerName(n)); !noConsumerStore(err) {
			return c, err
		}
	}
	return nil, err
}

// consumeAs makes the consumer under a name. One that the server has, or that begins with the state of one which it could not read, is deleted and made again.
func (i *Inbox) consumeAs(ctx context.Context, name string) (jetstream.Consumer, error) {
	config := jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxUnacked,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	c, err := i.stream.CreateConsumer(ctx, config)
	switch {
	case err == nil && c.CachedInfo().Delivered.Consumer == 0:
		return c, nil
	case err != nil && !noConsumerStore(err):
		return nil, err
	}
	if deleted := i.stream.DeleteConsumer(ctx, name); deleted != nil {
		if err == nil {
			return nil, deleted
		}
		return nil, fmt.Errorf("%w; and it cannot be deleted: %w", err, deleted)
	}
	return i.stream.CreateConsumer(ctx, config)
}

// Next waits for the next letter, or until ctx ends. ErrDelivery: begin another delivery.
func (d *Delivery) Next(ctx context.Context) (*Letter, error) {
	for {
		m, err := d.message(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case d.live.Err() != nil:
			return nil, fmt.Errorf("the connection was lost: %w", ErrDelivery)
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
			continue
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrDelivery, err)
		}
		letter, err := d.letter(m)
		if letter != nil || err != nil {
			return letter, err
		}
	}
}

func (d *Delivery) message(ctx context.Context) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	defer context.AfterFunc(d.live, cancel)()
	return d.messages.Next(jetstream.NextContext(ctx))
}

// letter holds a message to the order; nil: the letter was delivered before.
func (d *Delivery) letter(m jetstream.Msg) (*Letter, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDelivery, err)
	}
	if meta.Sequence.Consumer != d.delivered+1 {
		return nil, fmt.Errorf("delivery %d came behind %d: %w", meta.Sequence.Consumer, d.delivered, ErrDelivery)
	}
	d.delivered++
	if meta.Sequence.Stream <= d.last {
		return nil, nil
	}
	d.last = meta.Sequence.Stream
	return &Letter{Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Subject: m.Subject(), Header: m.Headers(), Data: m.Data(), Ack: Receipt{d.inbox.store.nc, m.Reply()}}, nil
}

// Stop ends the delivery and waits until nothing of it runs any more. Receipts stay good until the next delivery begins.
func (d *Delivery) Stop() {
	d.stop()
	d.watching.Wait()
	if d.messages != nil {
		d.messages.Stop()
	}
}

// Read gives a letter again, without its receipt. ErrNotFound of eventlog: it is not there any more.
func (i *Inbox) Read(ctx context.Context, sequence uint64) (*Letter, error) {
	m, err := i.store.message(ctx, i.stream, sequence)
	if err != nil {
		return nil, fmt.Errorf("read letter %d of the inbox: %w", sequence, err)
	}
	return &Letter{Sequence: m.Sequence, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data}, nil
}

// Next gives the first letter at a sequence or behind it on a subject, which may have wildcards, without its receipt. ErrNotFound of eventlog: there is none.
func (i *Inbox) Next(ctx context.Context, subject string, from uint64) (*Letter, error) {
	m, err := i.store.message(ctx, i.stream, max(from, 1), jetstream.WithGetMsgSubject(subject))
	if err != nil {
		return nil, fmt.Errorf("read letters of the inbox from %d: %w", from, err)
	}
	return &Letter{Sequence: m.Sequence, Time: m.Time, Subject: m.Subject, Header: m.Header, Data: m.Data}, nil
}

// Last is the sequence of the newest letter that ever came; 0: none.
func (i *Inbox) Last(ctx context.Context) (uint64, error) {
	state, err := i.store.state(ctx, streams.InboxStream)
	if err != nil {
		return 0, fmt.Errorf("look into the inbox: %w", err)
	}
	return state.LastSeq, nil
}

func (s *Store) message(ctx context.Context, stream jetstream.Stream, sequence uint64, o ...jetstream.GetMsgOpt) (m *jetstream.RawStreamMsg, err error) {
	err = s.try(ctx, func(ctx context.Context) (err error) {
		m, err = stream.GetMsg(ctx, sequence, o...)
		return err
	})
	return m, err
}

// Put sends a command to the inbox and waits until it is on disk. ErrFull: there is no room; other errors are as of an append.
func (i *Inbox) Put(ctx context.Context, command string, header nats.Header, data []byte) (sequence uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, i.store.options.AckTimeout)
	defer cancel()
	// No expectations: they would be headers of the message, and the door refuses those of the server.
	ack, err := i.store.read.PublishMsg(ctx, &nats.Msg{Subject: streams.InboxSubject(command), Header: header, Data: data})
	if err == nil && ack.Stream != streams.InboxStream {
		err = fmt.Errorf("acknowledged by stream %s", ack.Stream)
	}
	if err != nil {
		return 0, fmt.Errorf("put a command into the inbox: %w", keptOutcome(err))
	}
	return ack.Sequence, nil
}

// Waiting says how many commands are in the inbox, and when the oldest came; zero if there is none.
func (i *Inbox) Waiting(ctx context.Context) (n uint64, oldest time.Time, err error) {
	state, err := i.store.state(ctx, streams.InboxStream)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("look into the inbox: %w", err)
	}
	if state.Msgs > 0 {
		oldest = state.FirstTime
	}
	return state.Msgs, oldest, nil
}

func (s *Store) state(ctx context.Context, name string) (state jetstream.StreamState, err error) {
	err = s.try(ctx, func(ctx context.Context) error {
		stream, err := s.read.Stream(ctx, name) // a handle of its own: others are shared
		if err == nil {
			state = stream.CachedInfo().State
		}
		return err
	})
	return state, err
}
