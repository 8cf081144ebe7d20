package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// rawRate is how fast an ordered consumer, over TCP, gets the blocks of the log, in their events a second: what following cannot be faster than.
func (s *site) rawRate(ctx context.Context, events int) (rate float64, err error) {
	keys, err := keyring.Load(filepath.Join(s.dir, "keys.json"))
	if err != nil {
		return 0, err
	}
	name, err := streams.Stream(keys.Site(), aggregateType)
	if err != nil {
		return 0, err
	}
	d, err := s.engineDoor(s.url)
	if err != nil {
		return 0, err
	}
	nc, err := nats.Connect(d.url, d.options...)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", d.url, err)
	}
	defer nc.Close()
	took, err := readWhole(ctx, nc, name)
	if err != nil {
		return 0, fmt.Errorf("read the stream %s: %w", name, err)
	}
	return float64(events) / took.Seconds(), nil
}

// readWhole reads a stream from its first message to the last one that it has now.
func readWhole(ctx context.Context, nc *nats.Conn, name string) (took time.Duration, err error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, err
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return 0, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return 0, err
	}
	defer messages.Stop()
	for last, at := stream.CachedInfo().State.LastSeq, uint64(0); at < last; {
		m, err := messages.Next(jetstream.NextMaxWait(startTimeout))
		if err != nil {
			return 0, err
		}
		about, err := m.Metadata()
		if err != nil {
			return 0, err
		}
		at = about.Sequence.Stream
	}
	return time.Since(began), nil
}
