package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

// history measures reading an aggregate of 20 events in a small and in a big log, beside an empty request-reply.
func history(ctx context.Context, s *stage) error {
	small, smallBooks, err := s.filled(ctx, "small", s.small)
	if err != nil {
		return err
	}
	big, bigBooks, err := s.filled(ctx, "big", s.big)
	if err != nil {
		return err
	}
	for _, one := range []*site{small, big} {
		if _, err := one.catchUp(ctx); err != nil {
			return err
		}
	}
	f, err := s.fleets(ctx, 1,
		wantedFleet{"echo", s.bareDoor, func(int, int) work { return plain{"echo", nil} }},
		wantedFleet{"history in the small log", small.door(), smallBooks.histories(20)},
		wantedFleet{"history in the big log", big.door(), bigBooks.histories(20)})
	if err != nil {
		return err
	}
	const empty = "empty request-reply p50"
	first, second := fmt.Sprintf("history of 20 events, log of %d events, p50", s.small), fmt.Sprintf("history of 20 events, log of %d events, p50", s.big)
	s.beside(first, f[1].p50, "µs", empty, f[0].p50, below(3))
	s.beside(second, f[2].p50, "µs", empty, f[0].p50, below(3))
	high, low := math.Max(f[1].p50, f[2].p50), math.Min(f[1].p50, f[2].p50)
	s.beside("history of 20 events, slower log", high, "µs", "faster log", low, below(1.3))
	return nil
}

// catchUp waits until the index holds everything that was stored, and says how long that took.
func (s *site) catchUp(ctx context.Context) (time.Duration, error) {
	d := s.door()
	nc, err := nats.Connect(d.url, d.options...)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", d.url, err)
	}
	defer nc.Close()
	began := time.Now()
	for {
		m := &nats.Msg{Subject: "qry." + aggregateType + ".list", Data: []byte(`{"take":1}`), Header: nats.Header{
			streams.HeaderToken: {s.token}, streams.HeaderWaitFor: {"latest"},
		}}
		limited, cancel := context.WithTimeout(ctx, answerPatience)
		answer, err := nc.RequestMsgWithContext(limited, m)
		cancel()
		switch {
		case err != nil:
			return 0, fmt.Errorf("wait for the index: %w", err)
		case answer.Header.Get("Nats-Service-Error-Code") == "":
			return time.Since(began), nil
		case time.Since(began) > startTimeout:
			return 0, fmt.Errorf("wait for the index: %s", answer.Data)
		}
	}
}
