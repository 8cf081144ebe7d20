package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/streams"
)

// log is one log; it implements eventlog.Log.
type log struct {
	store      *Store
	name       string
	subject    string
	streamName string
	domain     string // that every acknowledgement must name; empty: the server has none
	stream     jetstream.Stream
}

func newLog(s *Store, name string, stream jetstream.Stream) (*log, error) {
	subject, err := streams.Subject(s.site, name)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	if s.options.Domain != "" && info.Domain != s.options.Domain {
		return nil, fmt.Errorf("stream %s lies in the domain %q, not %q: %w", info.Config.Name, info.Domain, s.options.Domain, ErrSettings)
	}
	return &log{store: s, name: name, subject: subject, streamName: info.Config.Name, domain: info.Domain, stream: stream}, nil
}

// Name implements eventlog.Log.
func (l *log) Name() string { return l.name }

// Append implements eventlog.Log. It gives up with ErrUnknown after Options.AckTimeout.
func (l *log) Append(expected uint64, data []byte) eventlog.Pending {
	p := &pending{done: make(chan struct{})}
	if len(data) == 0 {
		return p.settle(l.failed(expected, fmt.Errorf("message is empty: %w", eventlog.ErrRefused)))
	}
	future, err := l.store.publish.PublishMsgAsync(&nats.Msg{Subject: l.subject, Data: data},
		jetstream.WithExpectStream(l.streamName), jetstream.WithExpectLastSequence(expected), jetstream.WithRetryAttempts(0))
	if err != nil {
		return p.settle(l.failed(expected, appendOutcome(err)))
	}
	go func() { // ends by itself: the future has an outcome within AckTimeout
		select {
		case ack := <-future.Ok():
			p.settle(l.failed(expected, l.checkAck(expected, ack)))
		case err := <-future.Err():
			p.settle(l.failed(expected, appendOutcome(err)))
		}
	}()
	return p
}

func (l *log) failed(expected uint64, err error) error {
	if err != nil {
		return fmt.Errorf("append behind %d of log %s: %w", expected, l.name, err)
	}
	return nil
}

// checkAck refuses an acknowledgement of another stream: a leaf node without a filter has its publishes acknowledged by the hub.
func (l *log) checkAck(expected uint64, ack *jetstream.PubAck) error {
	if ack.Stream == l.streamName && ack.Domain == l.domain && ack.Sequence == expected+1 && !ack.Duplicate {
		return nil
	}
	return fmt.Errorf("acknowledged by stream %s, domain %q, as sequence %d (duplicate: %v), want %s, %q, %d: %w",
		ack.Stream, ack.Domain, ack.Sequence, ack.Duplicate, l.streamName, l.domain, expected+1, eventlog.ErrUnknown)
}

type pending struct {
	done chan struct{}
	err  error // set before done is closed
}

func (p *pending) settle(err error) *pending {
	p.err = err
	close(p.done)
	return p
}

// Done implements eventlog.Pending.
func (p *pending) Done() <-chan struct{} { return p.done }

// Err implements eventlog.Pending.
func (p *pending) Err() error {
	<-p.done
	return p.err
}

// Get implements eventlog.Log. Any replica may answer; one that does not have the message may be behind, so then the leader is asked.
func (l *log) Get(ctx context.Context, sequence uint64) (eventlog.Message, error) {
	m, err := l.get(ctx, sequence)
	if err != nil {
		return m, fmt.Errorf("get %d of log %s: %w", sequence, l.name, err)
	}
	return m, nil
}

func (l *log) get(ctx context.Context, sequence uint64) (m eventlog.Message, err error) {
	if sequence == 0 { // JetStream would take it for "no sequence given"
		return m, eventlog.ErrNotFound
	}
	err = l.store.try(ctx, func(ctx context.Context) error {
		raw, err := l.stream.GetMsg(ctx, sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			m, err = l.getFromLeader(ctx, sequence)
			return err
		}
		if err != nil {
			return err
		}
		m = eventlog.Message{Sequence: raw.Sequence, Data: raw.Data}
		return nil
	})
	if err == nil && m.Sequence != sequence {
		return m, fmt.Errorf("the server answered with sequence %d: %w", m.Sequence, eventlog.ErrUnavailable)
	}
	return m, err
}

// getFromLeader asks the stream's leader, which nats.go does only for streams without direct gets.
func (l *log) getFromLeader(ctx context.Context, sequence uint64) (m eventlog.Message, err error) {
	subject := fmt.Sprintf("%sSTREAM.MSG.GET.%s", l.store.apiPrefix(), l.streamName)
	answer, err := l.store.nc.RequestWithContext(ctx, subject, fmt.Appendf(nil, `{"seq":%d}`, sequence))
	if err != nil {
		return m, err
	}
	var body struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Sequence uint64 `json:"seq"`
			Data     []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &body); err != nil {
		return m, fmt.Errorf("decode answer of the leader: %w", err)
	}
	switch {
	case body.Error != nil && (body.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound || body.Error.ErrorCode == codeStreamNotFound):
		return m, fmt.Errorf("%w: %w", eventlog.ErrNotFound, body.Error)
	case body.Error != nil:
		return m, body.Error
	case body.Message == nil:
		return m, errors.New("the leader's answer holds no message")
	}
	return eventlog.Message{Sequence: body.Message.Sequence, Data: body.Message.Data}, nil
}

func (s *Store) apiPrefix() string {
	if s.options.Domain == "" {
		return jetstream.DefaultAPIPrefix
	}
	return "$JS." + s.options.Domain + ".API."
}

// Missing is the number of sequences between the first and the last that hold no message: deleted by an administrator, or lost by the server's store.
func (l *log) Missing(ctx context.Context) (uint64, error) {
	var missing uint64
	err := l.store.try(ctx, func(ctx context.Context) error {
		info, err := l.store.read.Stream(ctx, l.streamName)
		if err != nil {
			return err
		}
		state := info.CachedInfo().State
		missing = 0
		if state.Msgs > 0 {
			missing = state.LastSeq - state.FirstSeq + 1 - state.Msgs
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("count the messages of log %s: %w", l.name, err)
	}
	return missing, nil
}

// Bounds implements eventlog.Log. The stream's leader answers.
func (l *log) Bounds(ctx context.Context) (first, last uint64, err error) {
	err = l.store.try(ctx, func(ctx context.Context) error {
		info, err := l.store.read.Stream(ctx, l.streamName) // a handle of its own: the log's one is shared
		if err != nil {
			return err
		}
		state := info.CachedInfo().State
		first, last = state.FirstSeq, state.LastSeq
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("bounds of log %s: %w", l.name, err)
	}
	if first == 0 { // a stream that never held a message
		first = last + 1
	}
	return first, last, nil
}
