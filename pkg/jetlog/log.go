package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

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
	wanted     string // what an acknowledgement begins with that says what every one should say
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
	return &log{store: s, name: name, subject: subject, streamName: info.Config.Name, domain: info.Domain, wanted: wantedAck(info.Config.Name, info.Domain), stream: stream}, nil
}

// Name implements eventlog.Log.
func (l *log) Name() string { return l.name }

// maxGets is how many Gets of a Store are under way at once; more wait their turn. A server cuts off a connection for which 64 MiB wait to be sent, and drops all requests of all
// clients when 10,000 wait for it: an answer with a block of 1.25 MiB, the largest of more than one command, is 1.7 MiB.
const maxGets = 32

// Get implements eventlog.Log. The leader answers: nobody in the account LOG may ask by a direct get (delivery).
func (l *log) Get(ctx context.Context, sequence uint64) (eventlog.Message, error) {
	select {
	case l.store.gets <- struct{}{}:
		defer func() { <-l.store.gets }()
	case <-ctx.Done():
		return eventlog.Message{}, fmt.Errorf("get %d of log %s: %w", sequence, l.name, readOutcome(ctx, ctx.Err()))
	}
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
		m, err = l.getFromLeader(ctx, sequence)
		if errors.Is(err, eventlog.ErrNotFound) && l.replicated() {
			m, err = l.getOnceMore(ctx, sequence)
		}
		return err
	})
	if err == nil && m.Sequence != sequence {
		return m, fmt.Errorf("the server answered with sequence %d: %w", m.Sequence, eventlog.ErrUnavailable)
	}
	return m, err
}

// replicated: the leader may be one of before.
func (l *log) replicated() bool {
	c := l.stream.CachedInfo()
	return c.Config.Replicas > 1 || c.Cluster != nil && len(c.Cluster.Replicas) > 0
}

// getOnceMore asks the leader again, once it is known to be one.
func (l *log) getOnceMore(ctx context.Context, sequence uint64) (m eventlog.Message, err error) {
	info, err := l.store.read.Stream(ctx, l.streamName)
	if err == nil {
		err = leads(info.CachedInfo().Cluster)
	}
	if err != nil {
		return m, err
	}
	return l.getFromLeader(ctx, sequence)
}

// getFromLeader asks the stream's leader, as nats.go does for streams without direct gets.
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

// staleAfter is how long most replicas may not have been heard by a leader that is believed. Others are elected after 4 s at the earliest (nats-server 2.15), and the former leader, if it is
// cut off, goes on as one for 10 s and more.
const staleAfter = 3 * time.Second

// leads holds that most replicas follow the leader that answered; else it may be one of before. One that is cut off hears the others again from the moment on in which it learns that
// it leads no more, and may answer in that moment: it does not say any more since when it leads.
func leads(c *jetstream.ClusterInfo) error {
	if c == nil || len(c.Replicas) == 0 {
		return nil
	}
	if c.LeaderSince == nil {
		next := "no other leader is known"
		if c.Leader != "" {
			next = c.Leader + " leads now"
		}
		return fmt.Errorf("a server answered as the leader, and does not lead any more (%s): %w", next, errStaleLeader)
	}
	heard := 1
	for _, r := range c.Replicas {
		if !r.Offline && (r.Active > 0 || r.Current) && r.Active < staleAfter {
			heard++
		}
	}
	if 2*heard <= len(c.Replicas)+1 {
		return fmt.Errorf("%s answered as the leader, and does not hear most of the replicas: %w", c.Leader, errStaleLeader)
	}
	return nil
}

// Bounds implements eventlog.Log. The stream's leader answers; one that is cut off from most replicas is not believed.
func (l *log) Bounds(ctx context.Context) (first, last uint64, err error) {
	err = l.store.try(ctx, func(ctx context.Context) error {
		info, err := l.store.read.Stream(ctx, l.streamName) // a handle of its own: the log's one is shared
		if err == nil {
			err = leads(info.CachedInfo().Cluster)
		}
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
