package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

// rare is how many aggregates have the amount that lists look for.
const rare = 192

// rareData is the body of a command with that amount.
func rareData() []byte { return fmt.Appendf(nil, `{"amount":"7.5","owner":%q}`, owner) }

// queries measures reading among many aggregates beside an empty request-reply, what the index takes, and how fast it is built.
func queries(ctx context.Context, s *stage) error {
	one, err := s.site("queries")
	if err != nil {
		return err
	}
	if err := one.start(ctx); err != nil {
		return err
	}
	aggregates := evenly(s.wide)
	wide := one.books("w", aggregates, s.data)
	for _, b := range []*books{wide, one.books("r", rare, rareData()), wide} {
		if err := s.fill(ctx, one, b, 1); err != nil {
			return err
		}
	}
	if _, err := one.catchUp(ctx); err != nil {
		return err
	}
	if err := s.asked(ctx, one, wide); err != nil {
		return err
	}
	return s.indexed(ctx, one, 2*aggregates+rare)
}

// evenly is about that number, such that fill gives each client as many aggregates.
func evenly(aggregates int) int {
	const perMessage, clients = 16, 64
	if aggregates < clients*perMessage {
		return max(aggregates/perMessage, 1) * perMessage
	}
	return aggregates / (clients * perMessage) * clients * perMessage
}

// asked measures states and lists.
func (s *stage) asked(ctx context.Context, one *site, wide *books) error {
	list := []byte(`{"filter":"amount = 7.50","take":50}`)
	f, err := s.fleets(ctx, 1,
		wantedFleet{"echo", s.bareDoor, func(int, int) work { return plain{"echo", nil} }},
		wantedFleet{"state now", one.door(), wide.states("", 2)},
		wantedFleet{"state at a version", one.door(), wide.states(`{"version":1}`, 1)},
		wantedFleet{"list by an equality", one.door(), func(int, int) work { return &lists{one.token, list, 50} }})
	if err != nil {
		return err
	}
	const empty = "empty request-reply p50"
	s.beside(fmt.Sprintf("state of one of %d aggregates, p50", len(wide.versions)), f[1].p50, "µs", empty, f[0].p50, below(2))
	s.beside("state at a version, p50", f[2].p50, "µs", empty, f[0].p50, below(3))
	s.alone(fmt.Sprintf("list of 50 of %d aggregates by an equality, p50", len(wide.versions)), f[3].p50/1000, "ms", below(20))
	return nil
}

// indexed measures what the index takes on the disk, the rate at which it is built, and that of proving everything.
func (s *stage) indexed(ctx context.Context, one *site, events int) error {
	if err := one.stop(); err != nil {
		return err
	}
	sizes := map[string]float64{}
	for _, folder := range []string{"jetstream", "state", "index"} {
		n, err := one.part(folder)
		if err != nil {
			return err
		}
		sizes[folder] = float64(n) / float64(events)
	}
	s.beside(fmt.Sprintf("disk: index and writer state, %d events of %d aggregates", events, (events-rare)/2), sizes["state"]+sizes["index"], "bytes/event", "log", sizes["jetstream"], below(1.5))
	if err := os.RemoveAll(filepath.Join(one.dir, "index")); err != nil {
		return fmt.Errorf("remove the index: %w", err)
	}
	began := time.Now()
	if err := one.start(ctx); err != nil {
		return err
	}
	if _, err := one.catchUp(ctx); err != nil {
		return err
	}
	s.alone("rebuild of the index, start of the process included", float64(events)/time.Since(began).Seconds(), "events/s", atLeast(100_000))
	raw, err := one.rawRate(ctx, events)
	if err != nil {
		return err
	}
	s.alone("raw ordered consumer of the same blocks", raw, "events/s", nil)
	began = time.Now()
	proved, err := one.verify(ctx)
	if err != nil {
		return err
	}
	s.alone("verify --all, start of the command included", float64(proved)/time.Since(began).Seconds(), "events/s", atLeast(250_000))
	return nil
}

// states asks for the states of aggregates.
type states struct {
	books    *books
	at, step int
	body     []byte
	wanted   []byte
}

func (b *books) states(body string, version int) func(i, of int) work {
	return func(i, of int) work {
		return &states{b, i, of * 7919, []byte(body), fmt.Appendf(nil, `"version":%d,`, version)}
	}
}

func (s *states) next() *nats.Msg {
	return &nats.Msg{Subject: "qry." + aggregateType + "." + s.books.id(s.at) + ".get", Header: nats.Header{streams.HeaderToken: {s.books.token}}, Data: s.body}
}

func (s *states) answered(m *nats.Msg) error {
	if !bytes.Contains(m.Data, s.wanted) {
		return fmt.Errorf("the state of %s is %.300s, want %s", s.books.id(s.at), m.Data, s.wanted)
	}
	s.at = (s.at + s.step) % len(s.books.versions)
	return nil
}

// lists asks for a list.
type lists struct {
	token string
	body  []byte
	size  int
}

func (l *lists) next() *nats.Msg {
	return &nats.Msg{Subject: "qry." + aggregateType + ".list", Header: nats.Header{streams.HeaderToken: {l.token}}, Data: l.body}
}

func (l *lists) answered(m *nats.Msg) error {
	if n := bytes.Count(m.Data, []byte(`"root":`)); n != l.size {
		return fmt.Errorf("the list has %d aggregates, want %d: %.300s", n, l.size, m.Data)
	}
	return nil
}
