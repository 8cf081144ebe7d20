package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

const (
	rawPublish   = "raw publish-and-wait"
	barePipeline = "bare pipeline"
	bodiesAlone  = "bare pipeline, bodies alone"
	fullPath     = "full path"
	noProjector  = "full path without projector"
)

// throughput measures the full path as `eventful start` serves it, and the same without the projector, beside the bare pipeline.
func throughput(ctx context.Context, s *stage) error {
	full, err := s.site("full")
	if err != nil {
		return err
	}
	if err := full.start(ctx); err != nil {
		return err
	}
	alone, err := s.site("alone")
	if err != nil {
		return err
	}
	if err := alone.startEngines(ctx); err != nil {
		return err
	}
	fullBooks, aloneBooks := full.books("a", s.aggregates, s.data), alone.books("a", s.aggregates, s.data)
	counts, err := s.clientCounts()
	if err != nil {
		return err
	}
	for _, clients := range counts {
		wanted := []wantedFleet{
			{barePipeline, s.bareDoor, s.bareRequests()},
			{fullPath, full.door(), fullBooks.commands},
			{bodiesAlone, s.bareDoor, s.bareBodies},
		}
		switch clients {
		case 1:
			wanted = append(wanted, wantedFleet{rawPublish, s.bareDoor, func(int, int) work { return plain{"raw", s.data} }})
			fallthrough
		case 64, 256:
			wanted = append(wanted, wantedFleet{noProjector, alone.door(), aloneBooks.commands})
		}
		f, err := s.fleets(ctx, clients, wanted...)
		if err != nil {
			return err
		}
		byName := make(map[string]figures)
		for i, one := range f {
			byName[wanted[i].name] = one
		}
		s.throughputRows(clients, byName)
		behind, err := full.catchUp(ctx)
		if err != nil {
			return err
		}
		s.alone(fmt.Sprintf("projector is behind when %d clients stop", clients), float64(behind.Microseconds())/1e3, "ms", nil)
	}
	return nil
}

// clientCounts reads --clients; there cannot be more clients than aggregates.
func (s *stage) clientCounts() ([]int, error) {
	var counts []int
	for text := range strings.SplitSeq(s.clients, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("--clients: %q is no number of clients", text)
		}
		if n <= s.aggregates {
			counts = append(counts, n)
		}
	}
	return counts, nil
}

// throughputRows compares with the bare pipeline that gets the same requests; what it does with their bodies alone is only told.
func (s *stage) throughputRows(clients int, f map[string]figures) {
	named := func(what string) string {
		if clients == 1 {
			return what + ", 1 client"
		}
		return fmt.Sprintf("%s, %d clients", what, clients)
	}
	row := func(what, baseline string, must *limit) {
		if one, there := f[what]; there {
			s.beside(named(what), one.perSecond, "commands/s", baseline, f[baseline].perSecond, must)
		}
	}
	var rate, tail *limit
	switch clients {
	case 1:
		row(fullPath, rawPublish, atLeast(0.75))
		row(noProjector, rawPublish, nil)
		row(barePipeline, rawPublish, nil)
	case 16, 64, 256:
		rate, tail = atLeast(0.5), below(3)
	}
	if clients > 1 {
		row(fullPath, barePipeline, rate)
		row(noProjector, barePipeline, atLeast(0.6))
		row(fullPath, bodiesAlone, nil)
		row(noProjector, bodiesAlone, nil)
	}
	s.beside(named(fullPath)+", p50", f[fullPath].p50, "µs", barePipeline+" p50", f[barePipeline].p50, nil)
	s.beside(named(fullPath)+", p99", f[fullPath].p99, "µs", barePipeline+" p99", f[barePipeline].p99, tail)
}

// tenEvents measures commits of ten events beside commits of one.
func tenEvents(ctx context.Context, s *stage) error {
	one, err := s.site("ten")
	if err != nil {
		return err
	}
	if err := one.start(ctx); err != nil {
		return err
	}
	f, err := s.fleets(ctx, 1,
		wantedFleet{"commits of one event", one.door(), one.books("a", s.aggregates, s.data).commands},
		wantedFleet{"commits of ten events", one.door(), one.books("b", s.aggregates, s.data).commits(10, 1)})
	if err != nil {
		return err
	}
	s.beside("commits of 10 events, 1 client", 10*f[1].perSecond, "events/s", "commits of 1 event", f[0].perSecond, atLeast(7))
	return nil
}
