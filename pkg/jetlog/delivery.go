package jetlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of messages by which a server tells of a consumer (ADR-9 and ADR-15 of NATS). They have a status and no data.
const (
	statusHeader    = "Status"
	statusControl   = "100"
	deliveredHeader = "Nats-Last-Consumer"
	stalledHeader   = "Nats-Consumer-Stalled"
)

// errQuiet: the consumer lives, and brought nothing for a while.
var errQuiet = errors.New("nothing came for a while")

// delivery is what the server sends of a stream to one subscription: an ephemeral consumer that pushes, without acknowledgements, under flow control. Readers of the account LOG
// have no others: a consumer that is pulled, and a direct get, answer with an empty message wherever they are asked to, and aimed at the JetStream API that deletes a stream
// (docs/deploy-security.md). It is for one goroutine.
type delivery struct {
	store     *Store
	stream    string
	consumer  string
	pending   uint64 // messages that were there when it began
	heartbeat time.Duration
	sub       *nats.Subscription
	delivered uint64
	stop      func() bool
}

// deliver begins a delivery; the server says every heartbeat that it lives, and forgets it when nobody has listened for the time forgotten. It ends with ctx, and with end.
func (s *Store) deliver(ctx context.Context, stream string, heartbeat, forgotten time.Duration, c jetstream.ConsumerConfig) (*delivery, error) {
	c.DeliverSubject, c.AckPolicy, c.FlowControl, c.IdleHeartbeat = s.nc.NewInbox(), jetstream.AckNonePolicy, true, heartbeat
	c.InactiveThreshold, c.MemoryStorage, c.Replicas = forgotten, true, 1 // it is worth nothing after a restart
	sub, err := s.nc.SubscribeSync(c.DeliverSubject)
	if err != nil {
		return nil, err
	}
	d := &delivery{store: s, stream: stream, heartbeat: heartbeat, sub: sub}
	err = sub.SetPendingLimits(-1, -1) // flow control is the limit
	if err == nil {
		err = s.once(ctx, func(ctx context.Context) error {
			made, err := s.read.CreatePushConsumer(ctx, stream, c)
			if err == nil {
				d.consumer, d.pending = made.CachedInfo().Name, made.CachedInfo().NumPending
			}
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, ignoreGone(sub.Unsubscribe()))
	}
	d.stop = context.AfterFunc(ctx, func() { _ = sub.Unsubscribe() }) // wakes next
	return d, nil
}

// next waits for a message, for idle at most: then the error is errQuiet. errStale: messages may have been lost, or the server does not say that the consumer lives. The consumer counts what
// it delivers, so a message lost on the way shows.
func (d *delivery) next(idle time.Duration) (*nats.Msg, *nats.MsgMetadata, error) {
	var begin time.Time
	for {
		m, err := d.sub.NextMsg(2 * d.heartbeat)
		switch {
		case errors.Is(err, nats.ErrTimeout):
			return nil, nil, errStale
		case err != nil:
			return nil, nil, err
		case len(m.Data) > 0 || m.Header.Get(statusHeader) == "":
			return d.count(m)
		}
		if err := d.control(m); err != nil {
			return nil, nil, err
		}
		if begin.IsZero() {
			begin = time.Now()
		} else if time.Since(begin) >= idle {
			return nil, nil, errQuiet
		}
	}
}

func (d *delivery) count(m *nats.Msg) (*nats.Msg, *nats.MsgMetadata, error) {
	about, err := m.Metadata()
	if err != nil {
		return nil, nil, fmt.Errorf("read metadata: %w", err)
	}
	d.delivered++
	if about.Sequence.Consumer != d.delivered {
		return nil, nil, errStale
	}
	return m, about, nil
}

// control answers flow control, which comes behind what it is about, and looks whether a heartbeat tells of messages that did not come.
func (d *delivery) control(m *nats.Msg) error {
	if m.Header.Get(statusHeader) != statusControl {
		return fmt.Errorf("the consumer ended with %s %s: %w", m.Header.Get(statusHeader), m.Header.Get("Description"), errStale)
	}
	answer := m.Reply
	if answer == "" {
		answer = m.Header.Get(stalledHeader)
		if sent, err := strconv.ParseUint(m.Header.Get(deliveredHeader), 10, 64); err == nil && sent != d.delivered {
			return errStale
		}
	}
	if answer == "" {
		return nil
	}
	return d.store.nc.Publish(answer, nil)
}

// end deletes the consumer on the server. If that fails, the server forgets it by itself.
func (d *delivery) end(ctx context.Context) {
	d.stop()
	_ = d.sub.Unsubscribe()
	if !d.store.nc.IsConnected() {
		return
	}
	_ = d.store.once(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return d.store.read.DeleteConsumer(ctx, d.stream, d.consumer)
	})
}

func ignoreGone(err error) error {
	if errors.Is(err, nats.ErrBadSubscription) || errors.Is(err, nats.ErrConnectionClosed) {
		return nil
	}
	return err
}
