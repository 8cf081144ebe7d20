package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	feedStream   = "EVENTS"
	rawPublisher = "raw asynchronous publisher"
	// maxUnanswered is how many messages of the raw publisher may wait for their acknowledgement.
	maxUnanswered = 4096
)

// toNATS measures the feed beside a publisher that has the same messages ready and sends them to the same stream.
func toNATS(ctx context.Context, s *stage) (err error) {
	one, b, err := s.delivering(ctx, s.delivered)
	if err != nil {
		return err
	}
	feed, err := s.feed(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, feed.stop()) }()
	if err := one.plugin(ctx, "feed", "--type=nats", "--url="+feed.url); err != nil {
		return err
	}
	rate, err := asking(feed.count).rate(ctx, b.stored())
	if err != nil {
		return err
	}
	messages, err := feed.read(ctx, int(b.stored()))
	if err != nil {
		return err
	}
	rates, raw := []float64{rate}, []float64{}
	for turn := range s.rounds {
		if turn > 0 {
			if err := feed.anew(ctx); err != nil {
				return err
			}
			if _, err := one.run(ctx, "plugin:replay", "feed", "--all", "-f"); err != nil {
				return err
			}
			if rate, err = asking(feed.count).rate(ctx, b.stored()); err != nil {
				return err
			}
			rates = append(rates, rate)
		}
		if err := feed.anew(ctx); err != nil {
			return err
		}
		if rate, err = beside(ctx, asking(feed.count), b.stored(), func() error { return feed.publish(messages) }); err != nil {
			return err
		}
		raw = append(raw, rate)
	}
	s.beside("nats plugin", median(rates), "events/s", rawPublisher, median(raw), atLeast(0.8))
	return nil
}

// feed is a NATS server that a plugin publishes to.
type feed struct {
	url  string
	nc   *nats.Conn
	js   jetstream.JetStream
	halt func() error
}

func (s *stage) feed(ctx context.Context) (*feed, error) {
	url, stop, err := s.target(ctx)
	if err != nil {
		return nil, err
	}
	f := &feed{url: url, halt: stop}
	if f.nc, err = nats.Connect(url); err == nil {
		f.js, err = jetstream.New(f.nc, jetstream.WithPublishAsyncMaxPending(maxUnanswered))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the target: %w", err), stop())
	}
	return f, nil
}

func (f *feed) stop() error {
	f.nc.Close()
	return f.halt()
}

// count is how many messages the stream has; a plugin that has just been enabled has not made it yet.
func (f *feed) count(ctx context.Context) (uint64, error) {
	stream, err := f.js.Stream(ctx, feedStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.Msgs, nil
}

// anew puts an empty stream with the same settings in the place of the one that is there: nothing is known again by its message id.
func (f *feed) anew(ctx context.Context) error {
	stream, err := f.js.Stream(ctx, feedStream)
	if err == nil {
		err = f.js.DeleteStream(ctx, feedStream)
	}
	if err == nil {
		_, err = f.js.CreateStream(ctx, stream.CachedInfo().Config)
	}
	if err != nil {
		return fmt.Errorf("make the stream anew: %w", err)
	}
	return nil
}

// read gives the messages of the stream, to be published again.
func (f *feed) read(ctx context.Context, n int) ([]*nats.Msg, error) {
	consumer, err := f.js.OrderedConsumer(ctx, feedStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, fmt.Errorf("read the feed: %w", err)
	}
	iterator, err := consumer.Messages()
	if err != nil {
		return nil, fmt.Errorf("read the feed: %w", err)
	}
	defer iterator.Stop()
	all := make([]*nats.Msg, n)
	for i := range all {
		m, err := iterator.Next(jetstream.NextMaxWait(answerPatience))
		if err != nil {
			return nil, fmt.Errorf("read the feed: %w", err)
		}
		all[i] = &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}
	}
	return all, nil
}

// publish sends the messages without waiting for each other.
func (f *feed) publish(messages []*nats.Msg) error {
	for _, m := range messages {
		if _, err := f.js.PublishMsgAsync(m); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	<-f.js.PublishAsyncComplete()
	return nil
}
