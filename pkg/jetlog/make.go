package jetlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/streams"
)

// createStream makes the stream that the settings name. One that is there stays as it is.
func (s *Store) createStream(ctx context.Context, settings []streams.Setting) error {
	config, err := configOf(settings)
	if err != nil {
		return err
	}
	js, end, err := s.making(ctx, config.Name)
	if err != nil {
		return fmt.Errorf("make stream %s: %w", config.Name, err)
	}
	defer end()
	return s.try(ctx, func(ctx context.Context) error {
		_, err := js.CreateStream(ctx, config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return nil // somebody else made it in between; what it is like is checked behind
		}
		return err
	})
}

// making is what makes a stream, until end: the connection of the Maker, or the Store's own.
func (s *Store) making(ctx context.Context, name string) (js jetstream.JetStream, end func(), err error) {
	if s.options.Maker == nil {
		return s.read, func() {}, nil
	}
	nc, err := s.connectMaker(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if js, err = s.jetStream(nc); err != nil {
		nc.Close()
		return nil, nil, err
	}
	return js, nc.Close, nil
}

// connectMaker tries until there is a connection, a server refuses the user, ctx ends, or GiveUp is over.
func (s *Store) connectMaker(ctx context.Context, name string) (*nats.Conn, error) {
	over := time.Now().Add(s.options.GiveUp)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		nc, err := s.options.Maker(name)
		if err == nil {
			return nc, nil
		}
		if errors.Is(err, nats.ErrAuthorization) || ctx.Err() != nil || time.Now().Add(pause).After(over) {
			return nil, fmt.Errorf("%w: %w", eventlog.ErrUnavailable, err)
		}
		wait(ctx, pause)
	}
}

// created opens a stream that was made. In a cluster a server may say that it does not exist until it has heard of it, above all if another process, or connection, made it this instant.
func (s *Store) created(ctx context.Context, open func() error) error {
	over := time.Now().Add(s.options.GiveUp)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := open()
		if !errors.Is(err, eventlog.ErrNotFound) || ctx.Err() != nil || time.Now().Add(pause).After(over) {
			return err
		}
		wait(ctx, pause)
	}
}
