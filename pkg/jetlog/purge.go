package jetlog

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/streams"
)

// Size is the number of bytes of a log's stream.
func (s *Store) Size(ctx context.Context, name string) (size uint64, err error) {
	stream, err := streams.Stream(s.site, name)
	if err != nil {
		return 0, err
	}
	err = s.try(ctx, func(ctx context.Context) error {
		handle, err := s.read.Stream(ctx, stream)
		if err == nil {
			size = handle.CachedInfo().State.Bytes
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look how large log %s is: %w", name, err)
	}
	return size, nil
}

// Purge removes the messages of a log up to a sequence. Only the role archiver may. Repeated, it changes nothing.
func (s *Store) Purge(ctx context.Context, name string, upTo uint64) error {
	stream, err := streams.Stream(s.site, name)
	if err != nil {
		return err
	}
	err = s.try(ctx, func(ctx context.Context) error {
		handle, err := s.read.Stream(ctx, stream)
		if err != nil {
			return err
		}
		return handle.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
	})
	if err != nil {
		return fmt.Errorf("purge log %s up to %d: %w", name, upTo, err)
	}
	return nil
}
