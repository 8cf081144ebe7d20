package jetlog

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MaxGets is how many Gets of a Store are under way at once.
const MaxGets = maxGets

// Settled is settled.
func Settled(ctx context.Context, change func(context.Context) (uint64, error)) (uint64, error) {
	return settled(ctx, change)
}

// Acknowledge gives the outcome of an append to a log whose stream lies in a domain, when a message comes as its acknowledgement.
func Acknowledge(stream, domain string, expected uint64, m *nats.Msg) error {
	l := &log{store: &Store{}, name: "patient", streamName: stream, domain: domain, wanted: wantedAck(stream, domain)}
	p := &pending{log: l, expected: expected, done: make(chan struct{})}
	p.acknowledged(m)
	return p.Err()
}

// Leads is leads.
func Leads(c *jetstream.ClusterInfo) error { return leads(c) }
