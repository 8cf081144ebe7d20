package reencrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// message is what must be equal: everything that JetStream keeps of one.
type message struct {
	sequence uint64
	time     time.Time
	subject  string
	header   nats.Header
	data     []byte
}

func (m message) equals(o message) bool {
	return m.sequence == o.sequence && m.time.Equal(o.time) && m.subject == o.subject && bytes.Equal(m.data, o.data) && maps.EqualFunc(m.header, o.header, slices.Equal)
}

// reader gives the messages of a stream in order; more than its state counts is never asked for.
type reader interface {
	next(ctx context.Context) (message, error)
	stop()
}

// compare reads a stream in both stores, message by message.
func (s streamCopy) compare(ctx context.Context) error {
	original, err := read(ctx, s.from.js, s.wanted)
	if err != nil {
		return err
	}
	defer original.stop()
	copied, err := read(ctx, s.to.js, s.wanted)
	if err != nil {
		return err
	}
	defer copied.stop()
	for done := range s.wanted.State.Msgs {
		s.meter.at("  compared %d of %d messages", done, s.wanted.State.Msgs)
		a, err := original.next(ctx)
		if err != nil {
			return fmt.Errorf("read the original: %w", err)
		}
		b, err := copied.next(ctx)
		if err != nil {
			return fmt.Errorf("read the copy behind sequence %d: %w", a.sequence, err)
		}
		if !a.equals(b) {
			return differs(fmt.Sprintf("sequence %d of stream %s", a.sequence, s.wanted.Config.Name))
		}
	}
	return nil
}

// read opens a stream. One whose messages go when they are taken is read one by one: a second consumer is refused there.
func read(ctx context.Context, js jetstream.JetStream, wanted *jetstream.StreamInfo) (reader, error) {
	stream, err := js.Stream(ctx, wanted.Config.Name)
	if err != nil {
		return nil, err
	}
	if wanted.State.Msgs == 0 || wanted.Config.Retention != jetstream.LimitsPolicy {
		return &single{stream: stream, from: wanted.State.FirstSeq}, nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(4096))
	if err != nil {
		return nil, err
	}
	return &many{messages}, nil
}

type many struct{ messages jetstream.MessagesContext }

func (r *many) stop() { r.messages.Stop() }

func (r *many) next(ctx context.Context) (message, error) {
	m, err := r.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return message{}, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return message{}, err
	}
	return message{meta.Sequence.Stream, meta.Timestamp, m.Subject(), m.Headers(), m.Data()}, nil
}

type single struct {
	stream jetstream.Stream
	from   uint64
}

func (r *single) stop() {}

func (r *single) next(ctx context.Context) (message, error) {
	m, err := r.stream.GetMsg(ctx, r.from, jetstream.WithGetMsgSubject(">"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return message{}, fmt.Errorf("nothing from sequence %d on: %w", r.from, err)
	}
	if err != nil {
		return message{}, err
	}
	r.from = m.Sequence + 1
	return message{m.Sequence, m.Time, m.Subject, m.Header, m.Data}, nil
}
