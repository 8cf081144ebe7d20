// Package jetlog is the log on NATS JetStream: the only NATS I/O of the core.
//
// A log is a stream with one subject; a block is one message. Append carries the stream's expected last sequence, so of two writers at one place
// exactly one succeeds; no message ids, no wildcard expectations, no limits. The connection never keeps a message for later (ConnectOptions),
// so an append whose outcome is unknown can come up only while the server still has it in its hands.
//
// What JetStream answers is mapped to the errors of package eventlog in one place, by code (outcome.go).
package jetlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/streams"
)

// Options of a Store; the zero value is good for one server.
type Options struct {
	// Domain is the JetStream domain of this site's servers; empty: the domain of the server that nc is connected to.
	Domain string
	// Replicas of a stream that Create makes: 1, 3 or 5. Default 1. A stream that exists keeps its own.
	Replicas int
	// AckTimeout is how long an append waits for its acknowledgement before it gives up with ErrUnknown. Default 5 s.
	AckTimeout time.Duration
	// RequestTimeout is how long one request to the JetStream API waits; requests are repeated, as the server drops them without a word
	// while a stream has no leader. Default 1 s.
	RequestTimeout time.Duration
	// Maker connects with the right to make the stream of that name, and to do nothing else; the Store closes the connection when it is made. Default: the Store's own
	// connection makes streams.
	Maker func(stream string) (*nats.Conn, error)
	// Recent hands messages from this Store's appends on to the cursors of all Stores that have it, in this process; nil hands nothing on.
	Recent *Recent
	// Gather is how long a cursor of this Store waits for more behind what was handed on, so that a client that sends one command after the other does not wake the
	// readers of its log for each. Default 25 ms.
	Gather time.Duration
	// GiveUp is how long a request is repeated before it ends with ErrUnavailable, if the caller's context does not end first. Default 15 s.
	GiveUp time.Duration
}

func (o Options) withDefaults() Options {
	o.Replicas = max(o.Replicas, 1)
	if o.Gather <= 0 {
		o.Gather = 25 * time.Millisecond
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = 5 * time.Second
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = time.Second
	}
	if o.GiveUp <= 0 {
		o.GiveUp = 15 * time.Second
	}
	return o
}

// ConnectOptions are what a log connection must have: ReconnectBufSize(-1) makes a publish fail at once while the connection is down, where nats.go
// would else keep it and deliver it after its timeout; the rest keeps the connection for ever and finds a dead one within 20 s.
func ConnectOptions() []nats.Option {
	return append(ComesBack(), nats.ReconnectBufSize(-1), nats.PingInterval(10*time.Second), nats.MaxPingsOutstanding(2))
}

// ComesBack is how a connection looks for a server: for ever, four times a second. nats.go looks every two seconds, in which nothing would be answered.
func ComesBack() []nats.Option {
	return []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond)}
}

// Connect opens a log connection. Further options (credentials, name, handlers, an in-process server) come behind ConnectOptions.
func Connect(url string, further ...nats.Option) (*nats.Conn, error) {
	nc, err := nats.Connect(url, append(ConnectOptions(), further...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	return nc, nil
}

// Store is the logs of one site on JetStream; it implements eventlog.Store and is safe for concurrent use. It holds nothing but the
// connection, which its owner closes.
type Store struct {
	nc      *nats.Conn
	site    string
	options Options
	acks    *acks
	read    jetstream.JetStream // for everything but appends
	gets    chan struct{}       // one for each Get under way
}

// New makes a Store on a connection that Connect made, in the account of the logs. It sends nothing.
func New(nc *nats.Conn, site string, o Options) (*Store, error) {
	if err := event.CheckSite(site); err != nil {
		return nil, fmt.Errorf("make log store: %w", err)
	}
	if nc.Opts.ReconnectBufSize >= 0 {
		return nil, fmt.Errorf("make log store: the connection keeps messages while it is down (ReconnectBufSize %d): use jetlog.Connect", nc.Opts.ReconnectBufSize)
	}
	s := &Store{nc: nc, site: site, options: o.withDefaults(), gets: make(chan struct{}, maxGets)}
	s.acks = &acks{nc: nc, timeout: s.options.AckTimeout}
	var err error
	if s.read, err = s.jetStream(nc); err != nil {
		return nil, fmt.Errorf("make log store: %w", err)
	}
	return s, nil
}

func (s *Store) jetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	if s.options.Domain == "" {
		return jetstream.New(nc)
	}
	return jetstream.NewWithDomain(nc, s.options.Domain)
}

// Open implements eventlog.Store. A stream with other settings than the topology's is ErrSettings, one of a newer topology ErrNewer.
func (s *Store) Open(ctx context.Context, name string) (eventlog.Log, error) {
	l, err := s.open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open log %.80q: %w", name, err)
	}
	return l, nil
}

func (s *Store) open(ctx context.Context, name string) (*log, error) {
	settings, err := streams.LogSettings(s.site, name, s.options.Replicas)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", eventlog.ErrNotFound, err) // no log can have this name
	}
	stream, err := s.openStream(ctx, settings)
	if err != nil {
		return nil, err
	}
	return newLog(s, name, stream)
}

// openStream opens the stream that the settings name, and holds it to them.
func (s *Store) openStream(ctx context.Context, settings []streams.Setting) (jetstream.Stream, error) {
	name := nameIn(settings)
	var stream jetstream.Stream
	err := s.try(ctx, func(ctx context.Context) (err error) {
		stream, err = s.read.Stream(ctx, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := checkSettings(stream.CachedInfo().Config, settings, false); err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return stream, nil
}

// Create implements eventlog.Store. It is safe to call from several processes at once: the stream is made once, and each checks what it finds.
func (s *Store) Create(ctx context.Context, name string) (eventlog.Log, error) {
	l, err := s.open(ctx, name)
	if errors.Is(err, eventlog.ErrNotFound) {
		if err = s.create(ctx, name); err == nil {
			l, err = s.openCreated(ctx, name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("create log %.80q: %w", name, err)
	}
	return l, nil
}

// openCreated opens a stream that exists.
func (s *Store) openCreated(ctx context.Context, name string) (l *log, err error) {
	err = s.created(ctx, func() error {
		l, err = s.open(ctx, name)
		return err
	})
	return l, err
}

func (s *Store) create(ctx context.Context, name string) error {
	settings, err := streams.LogSettings(s.site, name, s.options.Replicas)
	if err != nil {
		return err
	}
	return s.createStream(ctx, settings)
}

// Check compares a stream with all settings that name it: ErrSettings, ErrNewer, or ErrNotFound of eventlog.
func (s *Store) Check(ctx context.Context, settings []streams.Setting) error {
	stream, err := s.openStream(ctx, settings)
	if err == nil {
		err = checkSettings(stream.CachedInfo().Config, settings, true)
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", nameIn(settings), err)
	}
	return nil
}

// Compare is Check of a stream that carries no version of the topology: the feed, which is its plugin's.
func (s *Store) Compare(ctx context.Context, settings []streams.Setting) error {
	name := nameIn(settings)
	var stream jetstream.Stream
	err := s.try(ctx, func(ctx context.Context) (err error) {
		stream, err = s.read.Stream(ctx, name)
		return err
	})
	if err == nil {
		err = compare(stream.CachedInfo().Config, settings, true)
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", name, err)
	}
	return nil
}

// ensureStream opens the stream that the settings name, and makes it first if it does not exist. Several processes may do so at once.
func (s *Store) ensureStream(ctx context.Context, settings []streams.Setting) (jetstream.Stream, error) {
	stream, err := s.openStream(ctx, settings)
	if errors.Is(err, eventlog.ErrNotFound) {
		if err = s.createStream(ctx, settings); err == nil {
			err = s.created(ctx, func() error {
				stream, err = s.openStream(ctx, settings)
				return err
			})
		}
	}
	return stream, err
}

// List implements eventlog.Store.
func (s *Store) List(ctx context.Context) ([]string, error) {
	names := []string{}
	err := s.try(ctx, func(ctx context.Context) error {
		names = names[:0]
		found := s.read.StreamNames(ctx)
		for stream := range found.Name() {
			if log, ok := streams.LogOf(s.site, stream); ok {
				names = append(names, log)
			}
		}
		return found.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
