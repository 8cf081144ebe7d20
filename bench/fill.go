package main

import (
	"context"
	"fmt"
	"sync"
)

// fill sends commits until each aggregate of the books has had perAggregate events: many commits a message, messages from 64 clients at once.
func (s *stage) fill(ctx context.Context, one *site, b *books, perAggregate int) error {
	const clients, perMessage = 64, 16
	events := min(10, perAggregate)
	rounds := perAggregate / events
	if rounds*events != perAggregate {
		return fmt.Errorf("%d events an aggregate are no multiple of %d", perAggregate, events)
	}
	f, err := newFleet(one.door(), min(clients, max(1, len(b.versions)/perMessage)), s.connections, b.commits(events, perMessage))
	if err != nil {
		return err
	}
	defer f.close()
	for range rounds {
		if err := f.pass(ctx, len(b.versions), perMessage); err != nil {
			return err
		}
	}
	return nil
}

// pass has each client go once through its own of the aggregates.
func (f *fleet) pass(ctx context.Context, aggregates, perMessage int) error {
	var wg sync.WaitGroup
	failed := make(chan error, len(f.clients))
	for i, c := range f.clients {
		wg.Go(func() {
			for at := i * perMessage; at < aggregates; at += len(f.clients) * perMessage {
				if err := c.one(ctx); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// filled is a running site with that many events, or a few more, of aggregates of 20, and the books of some whose 20 commits lie spread over the whole log.
func (s *stage) filled(ctx context.Context, name string, events int) (*site, *books, error) {
	const perAggregate = 20
	one, err := s.site(name)
	if err != nil {
		return nil, nil, err
	}
	if err := one.start(ctx); err != nil {
		return nil, nil, err
	}
	spread := one.books("s", min(200, max(1, events/1000)), s.data)
	for part := range perAggregate {
		if err := s.fill(ctx, one, spread, 1); err != nil {
			return nil, nil, err
		}
		aggregates := (events/perAggregate - len(spread.versions) + perAggregate - 1) / perAggregate
		if err := s.fill(ctx, one, one.books(fmt.Sprintf("p%d-", part), aggregates, s.data), perAggregate); err != nil {
			return nil, nil, err
		}
	}
	return one, spread, nil
}
