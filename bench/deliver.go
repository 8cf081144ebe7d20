package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// arrivals waits for news of a target, and gives how many events have come to it.
type arrivals func(context.Context) (uint64, error)

// rate waits until so many events have come, and gives their rate behind the first fifth: how long somebody takes to begin is no throughput.
func (a arrivals) rate(ctx context.Context, events uint64) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var first uint64
	began := time.Now()
	for {
		n, err := a(ctx)
		switch {
		case err != nil:
			return 0, fmt.Errorf("wait for %d events at the target: %w", events, err)
		case n >= events:
			return float64(n-first) / time.Since(began).Seconds(), nil
		case first == 0 && n >= events/5:
			first, began = n, time.Now()
		}
	}
}

// beside is the rate of what do brings to a target: counted as that of a plugin is.
func beside(ctx context.Context, a arrivals, events uint64, do func() error) (rate float64, err error) {
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	rate, err = a.rate(ctx, events)
	return rate, errors.Join(err, <-ended)
}

// reach waits until so many events have come, of which the last one has not been heard of yet.
func (a arrivals) reach(ctx context.Context, events uint64) error {
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	for n := uint64(0); n < events; {
		var err error
		if n, err = a(ctx); err != nil {
			return fmt.Errorf("wait for event %d at the target: %w", events, err)
		}
	}
	return nil
}

// adding adds up what a target says that it got.
func adding(came <-chan uint64) arrivals {
	total := uint64(0)
	return func(ctx context.Context) (uint64, error) {
		select {
		case n := <-came:
			total += n
			return total, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// asking asks a target now and then how many events it has.
func asking(count func(context.Context) (uint64, error)) arrivals {
	const pause = 10 * time.Millisecond
	return func(ctx context.Context) (uint64, error) {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
			return count(ctx)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// delivering is a running site whose log holds so many events, ten or more of each aggregate.
func (s *stage) delivering(ctx context.Context, events int) (*site, *books, error) {
	one, err := s.site("site")
	if err != nil {
		return nil, nil, err
	}
	one.env = append(one.env, "EVENTFUL_PLUGIN_PROGRAMS="+s.server)
	if err := one.start(ctx); err != nil {
		return nil, nil, err
	}
	b := one.books("a", max(1, min(s.aggregates, events/10)), s.data)
	for b.stored() < uint64(events) { // commits of one event, the aggregates in turn
		if err := s.fill(ctx, one, b, 1); err != nil {
			return nil, nil, err
		}
	}
	return one, b, nil
}

// plugin configures one and enables it.
func (s *site) plugin(ctx context.Context, name string, options ...string) error {
	if _, err := s.run(ctx, append([]string{"plugin:config", name}, options...)...); err != nil {
		return err
	}
	_, err := s.run(ctx, "plugin:enable", name)
	return err
}

// target starts a NATS server that plugins deliver to.
func (s *stage) target(ctx context.Context) (url string, stop func() error, err error) {
	dir := filepath.Join(s.dir, "target")
	p, url, err := launchServer(ctx, s.server, os.Environ(), "target", "--dir="+dir)
	if err != nil {
		return "", nil, err
	}
	return url, func() error { return errors.Join(p.stop(), os.RemoveAll(dir)) }, nil
}
