// Package nats is the plugin that publishes each event as a CloudEvent on a subject of its own, in a JetStream stream: the feed for NATS clients in any language,
// on a NATS of somebody's, or on the site's own (feed.go).
//
// The subject is `event.<type>.<id>.<event>`, the message id the leaf hash, so that the server drops what comes again within its window. The changes of a batch
// are of different aggregates and are published without waiting for each other; each is done when the server has acknowledged it. The stream can be filled again from
// the logs, so it may be limited by age and size. docs/plugins-nats.md is the manual.
package nats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/sieve"
	"github.com/eventfuldb/eventful/streams"
)

// Name of the plugin type.
const Name = "nats"

// Kind is the plugin type nats, in a process of a site.
func Kind(site Site) *plugin.Kind {
	return sieve.Kind(&plugin.Kind{
		Name: Name, Summary: "publishes each event as a CloudEvent on event.<type>.<id>.<event>, in a JetStream stream",
		Options: options(), Check: check, Show: show,
		Open: func(ctx context.Context, s plugin.Settings) (plugin.Plugin, error) { return open(ctx, site, s) },
	})
}

// target is an open stream.
type target struct {
	connection *nats.Conn
	jet        jetstream.JetStream
	stream     jetstream.Stream
	config     jetstream.StreamConfig // of a stream that is not the site's own feed
	acks       *acks
	intake     string // secret part of the subjects that the stream takes; empty: they are those of the feed
	purges     bool   // values of encrypted fields are in the stream, and go when they are forgotten

	looking sync.Mutex // guards looked
	looked  time.Time  // when the stream was last seen to be this plugin's
}

// open connects, and makes the stream where it is missing.
func open(ctx context.Context, site Site, s plugin.Settings) (plugin.Plugin, error) {
	if Own(s.Options) {
		t, err := site.open(ctx, s)
		if err != nil {
			return nil, err
		}
		return t, nil
	}
	connection, err := connect(s)
	if err != nil {
		return nil, err
	}
	t := &target{connection: connection, purges: s.Options.Bool(optionPII)}
	if err := t.prepare(ctx, s); err != nil {
		connection.Close()
		return nil, err
	}
	return t, nil
}

func (t *target) prepare(ctx context.Context, s plugin.Settings) (err error) {
	if t.jet, err = newJetStream(t.connection); err != nil {
		return err
	}
	config := streamConfig(s)
	t.config = config
	before, err := t.jet.Stream(ctx, config.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && s.Begun:
		return fmt.Errorf("stream %s is not there, and changes were published before: `eventful plugin:replay %s --all -f` makes it and publishes everything again, --from-time=TIME what was stored since", config.Name, s.Name)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		t.stream, err = t.jet.CreateStream(ctx, config)
	case err == nil && !ownedBy(before, config):
		return owned(before, config)
	case err == nil:
		t.stream, err = t.jet.UpdateStream(ctx, config)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", config.Name, err)
	}
	t.acks, err = listen(t.connection, config.Name)
	return err
}

func newJetStream(c *nats.Conn) (jetstream.JetStream, error) {
	jet, err := jetstream.New(c)
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	return jet, nil
}

const (
	lookPause    = time.Second     // how long a stream that was seen to be this plugin's is taken for that
	lookPatience = 3 * time.Second // for an answer, which a connection that is lost meanwhile never brings
)

// ours says why the stream is not this plugin's any more, or nil. Acknowledgements name a stream and not whose it is, so who removes it and makes another one of that name is noticed
// by looking, within lookPause. One that is away is no matter here: publishing says so.
func (t *target) ours(ctx context.Context) error {
	if t.intake != "" {
		return nil // nobody but engines makes streams there
	}
	t.looking.Lock()
	defer t.looking.Unlock()
	if time.Since(t.looked) < lookPause {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	now, err := t.jet.Stream(ctx, t.config.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil
	case err != nil && !t.connection.IsConnected():
		return errAway
	case err != nil:
		return fmt.Errorf("look at stream %s: %w", t.config.Name, err)
	case !ownedBy(now, t.config):
		return owned(now, t.config)
	}
	t.looked = time.Now()
	return nil
}

// Deliver publishes the batch and waits for the server. One message is used for all: what is published is copied.
func (t *target) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	if !t.connection.IsConnected() {
		return plugin.All(len(b.Changes), plugin.Retry(errAway))
	}
	if err := t.ours(ctx); err != nil {
		return plugin.All(len(b.Changes), plugin.Retry(err))
	}
	call, m := t.acks.begin(len(b.Changes)), newMessage()
	for i := range b.Changes {
		reply, err := call.reply(ctx, i)
		if err != nil {
			call.outcomes[i] = plugin.Retry(err)
			continue
		}
		m.Reply = reply
		if err := t.publish(ctx, m, &b.Changes[i]); err != nil {
			call.settle(i, judge(err))
		}
	}
	return call.end(ctx)
}

// publish sends a change. What is forgotten takes the messages that may hold it out of the stream first; they can be had again, without it, by a replay.
func (t *target) publish(ctx context.Context, m *nats.Msg, c *plugin.Change) error {
	if err := t.fill(m, c); err != nil {
		return err
	}
	if c.Forgotten && t.purges {
		subjects, err := streams.FeedAggregate(c.Aggregate)
		if err != nil {
			return err
		}
		if err := t.stream.Purge(ctx, jetstream.WithPurgeSubject(subjects)); err != nil {
			return fmt.Errorf("purge what is forgotten: %w", err)
		}
	}
	return t.connection.PublishMsg(m)
}

func newMessage() *nats.Msg {
	return &nats.Msg{Header: nats.Header{"content-type": {"application/cloudevents+json"}, nats.MsgIdHdr: {""}}, Data: make([]byte, 0, 4096)}
}

// fill makes m the message of a change.
func (t *target) fill(m *nats.Msg, c *plugin.Change) (err error) {
	if t.intake == "" {
		m.Subject, err = streams.FeedSubject(c.Aggregate, c.EventType)
	} else {
		m.Subject, err = streams.FeedIntakeSubject(t.intake, c.Aggregate, c.EventType)
	}
	m.Data = plugin.AppendCloudEvent(m.Data[:0], c)
	m.Header[nats.MsgIdHdr][0] = c.Leaf.String()
	return err
}

// codeTooLarge is the server's code for a message that is larger than the stream takes.
const codeTooLarge = 10054

// judge tells what the server will never take from everything else.
func judge(err error) plugin.Outcome {
	var api *jetstream.APIError
	if errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && api.ErrorCode == codeTooLarge {
		return plugin.Park(fmt.Errorf("the event is larger than a message may be: %w", err))
	}
	if errors.Is(err, nats.ErrReconnectBufExceeded) { // what the client says of a message while it has no connection
		err = errAway
	}
	return plugin.Retry(fmt.Errorf("publish: %w", err))
}

// Test publishes an event that happened to nobody, and takes it out again.
func (t *target) Test(ctx context.Context) error {
	c := plugin.Dummy()
	m := newMessage()
	if err := t.fill(m, &c); err != nil {
		return err
	}
	ack, err := t.jet.PublishMsg(ctx, m)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := t.stream.DeleteMsg(ctx, ack.Sequence); err != nil {
		return fmt.Errorf("take the dummy out again: %w", err)
	}
	return nil
}

// Close ends the connection. What was not acknowledged comes again.
func (t *target) Close() error {
	t.connection.Close()
	return nil
}
