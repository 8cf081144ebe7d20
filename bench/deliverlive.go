package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// oneEvent measures how long a single event takes to a target while nothing else happens: from the command that stores it, and from that command's answer.
func oneEvent(ctx context.Context, s *stage) (err error) {
	one, b, err := s.delivering(ctx, 10)
	if err != nil {
		return err
	}
	feed, err := s.feed(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, feed.stop()) }()
	published := make(chan uint64, 1024)
	if _, err := feed.nc.Subscribe("event.>", func(*nats.Msg) { published <- 1 }); err != nil {
		return fmt.Errorf("subscribe to the feed: %w", err)
	}
	if err := one.plugin(ctx, "feed", "--type=nats", "--url="+feed.url); err != nil {
		return err
	}
	if err := s.singles(ctx, "nats plugin", live{one, b, adding(published)}); err != nil {
		return err
	}
	if _, err := one.run(ctx, "plugin:disable", "feed"); err != nil {
		return err
	}
	child, err := newWatcher()
	if err != nil {
		return err
	}
	defer child.close()
	if err := one.plugin(ctx, "child", "--type=process", "--command="+s.server+" child "+child.address()); err != nil {
		return err
	}
	return s.singles(ctx, "process plugin", live{one, b, child.arrivals()})
}

// live is a site and a target that its plugin follows it to.
type live struct {
	site  *site
	books *books
	came  arrivals
}

// singles sends one command after the other, at most every 10 ms, when the target has all before it.
func (s *stage) singles(ctx context.Context, name string, l live) error {
	const pause = 10 * time.Millisecond
	f, err := newFleet(l.site.door(), 1, 1, l.books.commands)
	if err != nil {
		return err
	}
	defer f.close()
	if err := l.came.reach(ctx, l.books.stored()); err != nil {
		return err
	}
	var fromCommand, fromAnswer []time.Duration
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for range 50 * s.rounds {
		<-tick.C
		sent := time.Now()
		if err := f.clients[0].one(ctx); err != nil {
			return err
		}
		answered := time.Now()
		if err := l.came.reach(ctx, l.books.stored()); err != nil {
			return err
		}
		fromCommand, fromAnswer = append(fromCommand, time.Since(sent)), append(fromAnswer, max(0, time.Since(answered)))
	}
	ms := func(took []time.Duration, q float64) float64 {
		slices.Sort(took)
		return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e6
	}
	s.alone("one event through the "+name+", from its command on, p50", ms(fromCommand, 0.5), "ms", below(5))
	s.alone("one event through the "+name+", from its command on, p99", ms(fromCommand, 0.99), "ms", nil)
	s.alone("one event through the "+name+", from the answer on, p50", ms(fromAnswer, 0.5), "ms", nil)
	return nil
}
