package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

// starts measures how soon the first command is answered, counted from before the process is started, and what the events take on the disk.
func starts(ctx context.Context, s *stage) error {
	one, _, err := s.filled(ctx, "starts", s.big)
	if err != nil {
		return err
	}
	if _, err := one.catchUp(ctx); err != nil {
		return err
	}
	if err := one.stop(); err != nil {
		return err
	}
	events := float64(s.big)
	for _, part := range []struct{ name, folder string }{{"log", "jetstream"}, {"writer state", "state"}, {"index", "index"}} {
		bytes, err := one.part(part.folder)
		if err != nil {
			return err
		}
		s.alone("disk: "+part.name, float64(bytes)/events, "bytes/event", nil)
	}
	of := fmt.Sprintf(" of %d events", s.big)
	clean, err := s.startTime(ctx, one, one.stop)
	if err != nil {
		return err
	}
	s.alone("start"+of+" after a clean stop", clean, "s", below(1.5))
	killed, err := s.startTime(ctx, one, one.kill)
	if err != nil {
		return err
	}
	s.alone("start"+of+" after kill -9", killed, "s", below(3))
	before := s.extra
	rebuilt, err := s.startTime(ctx, one, func() error {
		if err := one.stop(); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(one.dir, "state"))
	})
	if err != nil {
		return err
	}
	s.alone("start"+of+" with the writer's state deleted", rebuilt, "s", nil)
	events += float64(before+s.extra) / 2 // commands between the starts, at the median one
	s.alone("rebuild of the writer's state, start of the process included", events/rebuilt, "events/s", atLeast(300_000))
	return nil
}

// startTime is the median of as many starts as there are rounds. before ends the running server; between start and end it gets commands to have a tail.
func (s *stage) startTime(ctx context.Context, one *site, before func() error) (float64, error) {
	var took []float64
	b := one.books("t"+fmt.Sprint(time.Now().UnixNano()), min(s.aggregates, 1000), s.data)
	for range min(s.rounds, 3) {
		if one.server == nil {
			if err := one.start(ctx); err != nil {
				return 0, err
			}
		}
		f, err := newFleet(one.door(), 64, s.connections, b.commands)
		if err != nil {
			return 0, err
		}
		was := b.stored()
		_, err = f.round(ctx, s.round)
		s.extra += b.stored() - was
		f.close()
		if err != nil {
			return 0, err
		}
		if err := before(); err != nil {
			return 0, err
		}
		t, err := s.startAndAsk(ctx, one)
		if err != nil {
			return 0, err
		}
		took = append(took, t.Seconds())
	}
	return median(took), nil
}

// startAndAsk starts the server and sends it a command until one is answered.
func (s *stage) startAndAsk(ctx context.Context, one *site) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	began := time.Now()
	if err := one.spawn(); err != nil {
		return 0, err
	}
	d := one.door()
	var nc *nats.Conn
	err := one.poll(ctx, func() bool {
		if nc == nil {
			var err error
			if nc, err = nats.Connect(d.url, d.options...); err != nil {
				return false
			}
		}
		m := &nats.Msg{Subject: "cmd." + aggregateType + ".first.changed", Data: s.data, Header: nats.Header{streams.HeaderToken: {one.token}}}
		answer, err := nc.RequestMsg(m, answerPatience)
		return err == nil && answer.Header.Get("Nats-Service-Error-Code") == ""
	})
	if nc != nil {
		nc.Close()
	}
	return time.Since(began), err
}
