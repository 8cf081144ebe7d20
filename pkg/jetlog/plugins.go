package jetlog

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/streams"
)

// MakePlugins makes the bucket of positions and the stream of parked changes, if they do not exist.
func (s *Store) MakePlugins(ctx context.Context) error {
	for _, of := range []func(string, int) ([]streams.Setting, error){streams.PositionsSettings, streams.DeadSettings} {
		settings, err := of(s.site, s.options.Replicas)
		if err == nil {
			_, err = s.ensureStream(ctx, settings)
		}
		if err != nil {
			return fmt.Errorf("make the streams of plugins: %w", err)
		}
	}
	return nil
}

// Positions opens the bucket of how far the partitions of plugins are: ErrNotFound of eventlog if nobody made it yet.
func (s *Store) Positions(ctx context.Context) (*Bucket, error) {
	name, err := streams.PositionsBucket(s.site)
	if err != nil {
		return nil, fmt.Errorf("open the positions of plugins: %w", err)
	}
	b, err := s.openBucket(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open the positions of plugins: %w", err)
	}
	return b, nil
}

// Dead is the stream of parked changes. Safe for concurrent use.
type Dead struct {
	store  *Store
	stream jetstream.Stream
	name   string
}

// Dead opens the stream of parked changes: ErrNotFound of eventlog if nobody made it yet.
func (s *Store) Dead(ctx context.Context) (*Dead, error) {
	settings, err := streams.DeadSettings(s.site, s.options.Replicas)
	if err != nil {
		return nil, fmt.Errorf("open the parked changes: %w", err)
	}
	d := &Dead{store: s, name: nameIn(settings)}
	if d.stream, err = s.openStream(ctx, settings); err != nil {
		return nil, fmt.Errorf("open the parked changes: %w", err)
	}
	return d, nil
}

// Add keeps a parked change of a plugin and waits until it is on disk. One that was added under the same id within a day is not added again. Errors are as of an append.
func (d *Dead) Add(ctx context.Context, plugin, id string, data []byte) error {
	subject, err := streams.DeadSubject(d.store.site, plugin)
	if err != nil {
		return fmt.Errorf("park a change: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.store.options.AckTimeout)
	defer cancel()
	_, err = d.store.read.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: data}, jetstream.WithMsgID(id), jetstream.WithExpectStream(d.name))
	if err != nil {
		return fmt.Errorf("park a change: %w", appendOutcome(err))
	}
	return nil
}

// Next gives the first parked change of a plugin at a number or behind it. ErrNotFound of eventlog: there is none.
func (d *Dead) Next(ctx context.Context, plugin string, number uint64) (at uint64, data []byte, err error) {
	subject, err := streams.DeadSubject(d.store.site, plugin)
	if err != nil {
		return 0, nil, fmt.Errorf("read parked changes: %w", err)
	}
	m, err := d.store.message(ctx, d.stream, max(number, 1), jetstream.WithGetMsgSubject(subject))
	if err != nil {
		return 0, nil, fmt.Errorf("read parked changes of %s from %d: %w", plugin, number, err)
	}
	return m.Sequence, m.Data, nil
}

// Remove drops one; that it is not there is no error.
func (d *Dead) Remove(ctx context.Context, number uint64) error {
	return (&Refused{store: d.store, stream: d.stream, name: d.name}).Remove(ctx, number)
}

// Count is how many changes a plugin has parked.
func (d *Dead) Count(ctx context.Context, plugin string) (n uint64, err error) {
	subject, err := streams.DeadSubject(d.store.site, plugin)
	if err != nil {
		return 0, fmt.Errorf("count parked changes: %w", err)
	}
	err = d.store.try(ctx, func(ctx context.Context) error {
		info, err := d.stream.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err == nil {
			n = info.State.Subjects[subject]
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("count parked changes of %s: %w", plugin, err)
	}
	return n, nil
}

// PluginLeases is the table of leases of partitions: it lies in the same bucket as those of logs, under keys of its own. The bucket is made by the first writer; until then nothing is leased.
func (s *Store) PluginLeases() lease.Table { return pluginLeases{&Leases{store: s, made: true}} }

type pluginLeases struct{ all *Leases }

// Put implements lease.Table.
func (p pluginLeases) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return p.all.Put(ctx, streams.PluginLeasePrefix+key, value, revision)
}

// Delete implements lease.Table.
func (p pluginLeases) Delete(ctx context.Context, key string, revision uint64) error {
	return p.all.Delete(ctx, streams.PluginLeasePrefix+key, revision)
}

// Watch implements lease.Table.
func (p pluginLeases) Watch(ctx context.Context, each func(lease.Change)) error {
	return p.all.Watch(ctx, func(c lease.Change) {
		if c.Key == "" {
			each(c)
		} else if key, ok := streams.PluginLeaseKey(c.Key); ok {
			c.Key = key
			each(c)
		}
	})
}

// AskRunner asks any one plugin-runner. An error: nobody answered.
func (s *Store) AskRunner(ctx context.Context, verb string, body []byte) ([]byte, error) {
	subject, err := streams.RunnerSubject(s.site, verb)
	if err != nil {
		return nil, err
	}
	sub, err := s.answersTo(streams.RunnerAnswers(s.site))
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails where the connection is closed, which ends it too
	var m *nats.Msg
	if err = s.nc.PublishRequest(subject, sub.Subject, body); err == nil {
		m, err = sub.NextMsgWithContext(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("ask a plugin-runner to %s: %w", verb, err)
	}
	return m.Data, nil
}

// ServeRunner answers what is asked of any one plugin-runner, until stop, which ends what is under way and waits for it.
func (s *Store) ServeRunner(ctx context.Context, verb string, answer func(ctx context.Context, body []byte) []byte) (stop func(), err error) {
	subject, err := streams.RunnerSubject(s.site, verb)
	if err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var busy sync.WaitGroup
	var mu sync.Mutex // guards ended, and that nothing joins busy behind it
	ended := false
	sub, err := s.nc.QueueSubscribe(subject, "plugin-runners", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			busy.Go(func() { _ = m.Respond(answer(working, m.Data)) }) // who asked asks again
		}
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("answer as a plugin-runner: %w", err)
	}
	return func() {
		_ = sub.Unsubscribe() // fails where the connection is closed, which ends it too
		mu.Lock()
		ended = true
		mu.Unlock()
		cancel()
		busy.Wait()
	}, nil
}
