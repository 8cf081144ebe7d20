package jetlog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/streams"
)

const (
	// leaseHeartbeat is how often an idle server says that a watch lives; it starts over after two that are missing.
	leaseHeartbeat = time.Second
	// leaseIdle is how long nothing may come before a watch looks whether something should have: a server that was away can keep a watch alive and be behind.
	leaseIdle = 2 * time.Second
	// leaseForgotten is when the server drops a watch that nobody reads.
	leaseForgotten = 10 * time.Second
	// leasePause is how long nothing is tried again after a watch ended.
	leasePause = 100 * time.Millisecond
)

// A record ends by a message without content and this header, as in every KV bucket.
const (
	endHeader = "KV-Operation"
	endMark   = "DEL"
)

// Leases is the table of leases in a KV bucket in memory, which Watch makes when it is missing; it implements lease.Table. Every bucket has a birth, by which its
// subjects and revisions differ from those of all before it. Requests are sent once and wait for their context, at most Options.RequestTimeout: servers
// drop them without a word while a stream has no leader, and the caller tries again.
type Leases struct {
	store *Store
	birth atomic.Uint64 // of the bucket that was seen last; 0: none yet
	made  bool          // somebody else makes the bucket
}

// Leases is the table of leases beside the logs.
func (s *Store) Leases() *Leases { return &Leases{store: s} }

// Put implements lease.Table.
func (l *Leases) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.store.options.RequestTimeout)
	defer cancel()
	at, err := l.put(ctx, key, value, revision)
	if err != nil {
		return 0, fmt.Errorf("put lease record %s: %w", key, err)
	}
	return at, nil
}

func (l *Leases) put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	birth := l.birth.Load()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case revision < birth:
		return 0, fmt.Errorf("revision %d is of no bucket that is there: %w", revision, lease.ErrConflict)
	case revision > birth:
		return l.publish(ctx, birth, key, value, revision, nil)
	}
	at, err := l.publish(ctx, birth, key, value, 0, nil)
	if !errors.Is(err, lease.ErrConflict) {
		return at, err
	}
	end, err := l.end(ctx, birth, key)
	if err != nil {
		return 0, err
	}
	return l.publish(ctx, birth, key, value, end, nil)
}

// Delete implements lease.Table.
func (l *Leases) Delete(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, l.store.options.RequestTimeout)
	defer cancel()
	birth, err := l.birth.Load(), ctx.Err()
	if err == nil && revision <= birth {
		err = lease.ErrConflict
	}
	if err == nil {
		_, err = l.publish(ctx, birth, key, nil, revision, nats.Header{endHeader: {endMark}})
	}
	if err != nil {
		return fmt.Errorf("delete lease record %s: %w", key, err)
	}
	return nil
}

// publish stores one message in the bucket of that birth, behind the sequence that the key has; 0: it has none.
func (l *Leases) publish(ctx context.Context, birth uint64, key string, value []byte, behind uint64, header nats.Header) (uint64, error) {
	if birth == 0 {
		return 0, errors.New("the table was not seen yet")
	}
	subject, err := streams.LeaseSubject(birth, key)
	if err != nil {
		return 0, err
	}
	if header == nil {
		header = nats.Header{}
	}
	return settled(ctx, func(ctx context.Context) (uint64, error) {
		ack, err := l.store.read.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: value, Header: header}, jetstream.WithExpectStream(streams.LeaseStream),
			jetstream.WithExpectLastSequencePerSubject(behind), jetstream.WithRetryAttempts(0))
		if err != nil {
			return 0, leaseOutcome(err)
		}
		if ack.Stream != streams.LeaseStream || l.store.options.Domain != "" && ack.Domain != l.store.options.Domain {
			return 0, fmt.Errorf("acknowledged by stream %s, domain %q", ack.Stream, ack.Domain)
		}
		return ack.Sequence, nil
	})
}

// end is the sequence behind which a key that is not there is written; ErrConflict if it is.
func (l *Leases) end(ctx context.Context, birth uint64, key string) (uint64, error) {
	subject, err := streams.LeaseSubject(birth, key)
	if err != nil {
		return 0, err
	}
	stream, err := l.store.read.Stream(ctx, streams.LeaseStream)
	if err != nil {
		return 0, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case m.Header.Get(endHeader) == "":
		return 0, lease.ErrConflict
	}
	return m.Sequence, nil
}

func leaseOutcome(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == codeWrongLastSequence || api.ErrorCode == codeWrongLastSequenceConstant) {
		return fmt.Errorf("%w: %w", lease.ErrConflict, err)
	}
	return err
}

// bucket makes the bucket if it is missing, refuses one with other settings, and gives its birth.
func (l *Leases) bucket(ctx context.Context) (birth uint64, err error) {
	settings := streams.LeaseSettings(l.store.options.Replicas, uint64(time.Now().UnixMicro()))
	stream, err := l.stream(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) && !l.made {
		if err = l.store.createStream(ctx, settings); err == nil {
			stream, err = l.stream(ctx)
		}
	}
	if err != nil {
		return 0, err
	}
	config := stream.CachedInfo().Config
	if err := checkSettings(config, settings, true); err != nil {
		return 0, fmt.Errorf("stream %s: %w", streams.LeaseStream, err)
	}
	birth, ok := streams.LeaseBirth(config.Subjects)
	if !ok || config.FirstSeq != birth+1 {
		return 0, fmt.Errorf("stream %s has the subjects %q and begins with %d: %w", streams.LeaseStream, config.Subjects, config.FirstSeq, ErrSettings)
	}
	return birth, nil
}

func (l *Leases) stream(ctx context.Context) (stream jetstream.Stream, err error) {
	err = l.store.once(ctx, func(ctx context.Context) (err error) {
		stream, err = l.store.read.Stream(ctx, streams.LeaseStream)
		return err
	})
	return stream, err
}

// Watch implements lease.Table. An error is one that a person must settle: a bucket with other settings, JetStream not enabled, a closed connection.
func (l *Leases) Watch(ctx context.Context, each func(lease.Change)) error {
	for ctx.Err() == nil {
		err := l.watch(ctx, each)
		switch {
		case ctx.Err() != nil:
			return nil
		case l.store.nc.IsClosed(), errors.Is(err, ErrSettings), errors.Is(err, ErrNewer), permanent(err):
			return fmt.Errorf("watch the leases: %w", err)
		}
		each(lease.Change{Reset: true})
		wait(ctx, leasePause)
	}
	return nil
}

// permanent tells whether an answer of the JetStream API will not change by itself.
func permanent(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && !passing(err) && api.Code != http.StatusNotFound
}

// watch reads with one consumer until it fails or the connection is lost.
func (l *Leases) watch(ctx context.Context, each func(lease.Change)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.store.whileConnected(ctx, cancel)()
	birth, err := l.bucket(ctx)
	if err != nil {
		return err
	}
	if l.made {
		l.birth.Store(birth)
		return l.poll(ctx, birth, each)
	}
	d, err := l.store.deliver(ctx, streams.LeaseStream, leaseHeartbeat, leaseForgotten,
		jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: streams.LeaseSubjects(birth)})
	if err != nil {
		return err
	}
	defer d.end(ctx)
	l.birth.Store(birth)
	return l.tell(ctx, d, birth, each)
}

// tell passes messages on; as many as pending make the table whole.
func (l *Leases) tell(ctx context.Context, d *delivery, birth uint64, each func(lease.Change)) error {
	whole, pending := lease.Change{Revision: birth}, d.pending
	if pending == 0 {
		each(whole)
	}
	last := birth
	for {
		m, about, err := l.next(ctx, d, pending > 0, last)
		if err != nil {
			return err
		}
		last = about.Sequence.Stream
		if key, ok := streams.LeaseKey(birth, m.Subject); ok {
			each(changeOf(key, m.Header, m.Data, about.Sequence.Stream))
		}
		if pending > 0 && (about.NumPending == 0 || d.delivered >= pending) {
			pending = 0
			each(whole)
		}
	}
}

// next waits for a message. When none comes for a while although some are missing, or the bucket has newer ones than the last, the watch is stale.
func (l *Leases) next(ctx context.Context, d *delivery, missing bool, last uint64) (*nats.Msg, *nats.MsgMetadata, error) {
	for {
		m, about, err := d.next(leaseIdle)
		if !errors.Is(err, errQuiet) {
			return m, about, err
		}
		if missing {
			return nil, nil, errStale
		}
		var newest uint64
		err = l.store.once(ctx, func(ctx context.Context) error {
			stream, err := l.store.read.Stream(ctx, streams.LeaseStream)
			if err == nil {
				newest = stream.CachedInfo().State.LastSeq
			}
			return err
		})
		if err == nil && newest > last {
			return nil, nil, errStale
		}
	}
}

func changeOf(key string, header nats.Header, data []byte, revision uint64) lease.Change {
	c := lease.Change{Key: key, Revision: revision}
	if header.Get(endHeader) == "" {
		c.Value = append([]byte{}, data...) // not nil, which would say that it is gone
	}
	return c
}
