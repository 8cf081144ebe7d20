package jetlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/streams"
)

// leasePoll is how often who may not follow the bucket asks for what is new.
const leasePoll = 200 * time.Millisecond

// poll reads the bucket message by message, from the leader. It is for who may write to it and to no log: a consumer could store what he wrote there in a log
// (docs/deploy-security.md), so his role may not make one.
func (l *Leases) poll(ctx context.Context, birth uint64, each func(lease.Change)) error {
	stream, err := l.store.read.Stream(ctx, streams.LeaseStream)
	if err != nil {
		return err
	}
	last, whole, looked := birth, false, time.Now()
	for {
		m, err := l.behind(ctx, stream, birth, last)
		if err == nil {
			last = m.Sequence
			if key, ok := streams.LeaseKey(birth, m.Subject); ok {
				each(changeOf(key, m.Header, m.Data, m.Sequence))
			}
			continue
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			return err
		}
		if !whole {
			whole = true
			each(lease.Change{Revision: birth})
		}
		if time.Since(looked) > leaseIdle {
			if err := l.sameBucket(ctx, birth, last); err != nil {
				return err
			}
			looked = time.Now()
		}
		if wait(ctx, leasePoll); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// behind gives the first message behind a sequence: jetstream.ErrMsgNotFound if there is none yet.
func (l *Leases) behind(ctx context.Context, stream jetstream.Stream, birth, last uint64) (m *jetstream.RawStreamMsg, err error) {
	err = l.store.once(ctx, func(ctx context.Context) error {
		m, err = stream.GetMsg(ctx, last+1, jetstream.WithGetMsgSubject(streams.LeaseSubjects(birth)))
		return err
	})
	return m, err
}

// sameBucket looks whether the bucket is the one that was read up to a sequence: one in memory is made anew when all its servers were away, and can lose its end.
func (l *Leases) sameBucket(ctx context.Context, birth, last uint64) error {
	return l.store.once(ctx, func(ctx context.Context) error {
		now, err := l.bucket(ctx)
		if err != nil {
			return err
		}
		stream, err := l.store.read.Stream(ctx, streams.LeaseStream)
		if err == nil && (now != birth || stream.CachedInfo().State.LastSeq < last) {
			err = fmt.Errorf("the bucket of leases is another one: %w", errStale)
		}
		return err
	})
}
