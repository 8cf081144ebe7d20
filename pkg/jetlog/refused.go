package jetlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/streams"
)

// Refused is the stream of refused commands. Safe for concurrent use.
type Refused struct {
	store   *Store
	stream  jetstream.Stream
	name    string
	subject string
}

// Refused opens the stream of refused commands, and makes it if it does not exist.
func (s *Store) Refused(ctx context.Context) (*Refused, error) {
	settings, err := streams.RefusedSettings(s.site, s.options.Replicas)
	if err != nil {
		return nil, fmt.Errorf("open the refused commands: %w", err)
	}
	r := &Refused{store: s}
	if r.name, r.subject, err = streams.RefusedStream(s.site); err != nil {
		return nil, fmt.Errorf("open the refused commands: %w", err)
	}
	if r.stream, err = s.ensureStream(ctx, settings); err != nil {
		return nil, fmt.Errorf("open the refused commands: %w", err)
	}
	return r, nil
}

// Add keeps a refusal and waits until it is on disk. One that was added under the same id within a day is not added again. ErrFull: there is no room; other errors are as of an append.
func (r *Refused) Add(ctx context.Context, id string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, r.store.options.AckTimeout)
	defer cancel()
	_, err := r.store.read.PublishMsg(ctx, &nats.Msg{Subject: r.subject, Data: data}, jetstream.WithMsgID(id), jetstream.WithExpectStream(r.name))
	if err != nil {
		return fmt.Errorf("keep a refused command: %w", keptOutcome(err))
	}
	return nil
}

// Next gives the first refusal at a number or behind it, with the id that it was added under. ErrNotFound of eventlog: there is none.
func (r *Refused) Next(ctx context.Context, number uint64) (at uint64, id string, data []byte, err error) {
	m, err := r.store.message(ctx, r.stream, max(number, 1), jetstream.WithGetMsgSubject(r.subject))
	if err != nil {
		return 0, "", nil, fmt.Errorf("read the refused commands from %d: %w", number, err)
	}
	return m.Sequence, m.Header.Get(jetstream.MsgIDHeader), m.Data, nil
}

// Remove drops one refusal; that it is not there is no error.
func (r *Refused) Remove(ctx context.Context, number uint64) error {
	err := r.store.try(ctx, func(ctx context.Context) error {
		err := r.stream.SecureDeleteMsg(ctx, number)
		if err == nil {
			return nil
		}
		if _, reading := r.stream.GetMsg(ctx, number); errors.Is(reading, jetstream.ErrMsgNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("drop refused command %d: %w", number, err)
	}
	return nil
}

// Count is how many refusals there are.
func (r *Refused) Count(ctx context.Context) (uint64, error) {
	state, err := r.store.state(ctx, r.name)
	if err != nil {
		return 0, fmt.Errorf("count the refused commands: %w", err)
	}
	return state.Msgs, nil
}
