package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
)

// Subjects of the bare server: an empty answer; a stream that clients publish to themselves; a request that is gathered into blocks.
const (
	subjectEcho   = "echo"
	subjectRaw    = "raw"
	subjectBare   = "bare.>"
	subjectBlocks = "blocks"
)

// pipeline is the way of a command with everything left out that makes it a command: requests are gathered into blocks as long as two are in flight, each
// block is one message, appended behind the sequence that it expects, and every request in it is answered when it is on disk.
type pipeline struct {
	in, log   *nats.Conn
	requests  chan *nats.Msg
	acks      chan *nats.Msg
	answering chan *block
	inbox     string
	sequence  uint64 // of the last block that was sent
	open      *block
	inFlight  []*block
}

type block struct {
	data    []byte
	replies []string
}

// runBare serves until ctx ends.
func runBare(ctx context.Context, c config, ready func(string)) error {
	url, connect, stop, err := bareServer(c)
	if err != nil {
		return err
	}
	defer stop()
	p := &pipeline{requests: make(chan *nats.Msg, 16384), acks: make(chan *nats.Msg, 16), answering: make(chan *block, 64)}
	if p.in, err = connect(); err != nil {
		return err
	}
	defer p.in.Close()
	if p.log, err = connect(jetlog.ConnectOptions()...); err != nil {
		return err
	}
	defer p.log.Close()
	if err := p.prepare(ctx, c.replicas); err != nil {
		return err
	}
	go p.answer()
	defer close(p.answering)
	ready(url)
	return p.serve(ctx)
}

func (p *pipeline) prepare(ctx context.Context, replicas int) error {
	js, err := jetstream.New(p.log)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	for _, subject := range []string{subjectRaw, subjectBlocks} {
		s, err := makeStream(ctx, js, subject, replicas)
		if err != nil {
			return err
		}
		if subject == subjectBlocks {
			p.sequence = s.CachedInfo().State.LastSeq
		}
	}
	if _, err := p.in.Subscribe(subjectEcho, func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		return fmt.Errorf("subscribe to %s: %w", subjectEcho, err)
	}
	p.inbox = p.log.NewInbox()
	if _, err := p.log.ChanSubscribe(p.inbox, p.acks); err != nil {
		return fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	sub, err := p.in.Subscribe(subjectBare, func(m *nats.Msg) { p.requests <- m })
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subjectBare, err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("subscribe to %s: %w", subjectBare, err)
	}
	return errors.Join(p.in.Flush(), p.log.Flush())
}

// makeStream tries for a while: a cluster that has just been started has no room for replicas yet.
func makeStream(ctx context.Context, js jetstream.JetStream, subject string, replicas int) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		try, end := context.WithTimeout(ctx, 5*time.Second)
		s, err := js.CreateOrUpdateStream(try, jetstream.StreamConfig{Name: subject, Subjects: []string{subject}, Replicas: replicas, AllowDirect: true, Discard: jetstream.DiscardNew})
		end()
		if err == nil {
			return s, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("make stream %s: %w", subject, err)
		}
	}
}

func (p *pipeline) serve(ctx context.Context) error {
	for {
		p.gather()
		if err := p.send(); err != nil {
			return err
		}
		select {
		case m := <-p.input():
			p.add(m)
		case m := <-p.acks:
			if err := p.settle(m); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// input is the queue of requests while the open block takes one more, else nil, which blocks.
func (p *pipeline) input() <-chan *nats.Msg {
	if p.open != nil && (len(p.open.replies) >= event.MaxBlockCommits || len(p.open.data) >= event.MaxBlockBytes) {
		return nil
	}
	return p.requests
}

func (p *pipeline) gather() {
	for {
		select {
		case m := <-p.input():
			p.add(m)
		default:
			return
		}
	}
}

func (p *pipeline) add(m *nats.Msg) {
	if p.open == nil {
		p.open = &block{}
	}
	p.open.data = append(p.open.data, m.Data...)
	p.open.replies = append(p.open.replies, m.Reply)
}

func (p *pipeline) send() error {
	if p.open == nil || len(p.inFlight) == 2 {
		return nil
	}
	m := nats.NewMsg(subjectBlocks)
	m.Reply, m.Data = p.inbox, p.open.data
	m.Header.Set(jetstream.ExpectedLastSeqHeader, strconv.FormatUint(p.sequence, 10))
	if err := p.log.PublishMsg(m); err != nil {
		return fmt.Errorf("append behind %d: %w", p.sequence, err)
	}
	p.sequence++
	p.inFlight, p.open = append(p.inFlight, p.open), nil
	return nil
}

func (p *pipeline) settle(m *nats.Msg) error {
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return fmt.Errorf("read acknowledgement %q: %w", m.Data, err)
	}
	if want := p.sequence + 1 - uint64(len(p.inFlight)); ack.Error != nil || ack.Sequence != want {
		return fmt.Errorf("acknowledgement %s, want sequence %d", m.Data, want)
	}
	p.answering <- p.inFlight[0]
	p.inFlight = p.inFlight[1:]
	return nil
}

// answer runs beside the pipeline, as EventfulDB's answers do.
func (p *pipeline) answer() {
	ok := []byte("stored")
	for b := range p.answering {
		for _, reply := range b.replies {
			_ = p.in.Publish(reply, ok) // fails only when the connection is gone, and all with it
		}
	}
}
