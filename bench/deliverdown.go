package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	pluginDown     = "full path with a plugin that is down"
	pluginDisabled = "the same site while it is disabled"
)

// toNobody measures the writer of a site whose plugin cannot reach its target. The same site without the plugin, which is disabled meanwhile, is what it is held against: two sites differ by more than what is
// looked for. The first turns without it beside the second ones tell how much of a difference is noise.
func toNobody(ctx context.Context, s *stage) error {
	const clients = 64
	one, err := s.site("down")
	if err != nil {
		return err
	}
	if err := one.start(ctx); err != nil {
		return err
	}
	nowhere, err := freePort()
	if err != nil {
		return err
	}
	if err := one.plugin(ctx, "hook", "--type=webhook", fmt.Sprintf("--url=http://127.0.0.1:%d/", nowhere), "--allow-networks=127.0.0.0/8"); err != nil {
		return err
	}
	f, err := newFleet(one.door(), min(clients, s.aggregates), s.connections, one.books("a", s.aggregates, s.data).commands)
	if err != nil {
		return err
	}
	defer f.close()
	turns, err := s.inTurns(ctx, one, f, func(on bool) error {
		verb := "plugin:disable"
		if on {
			verb = "plugin:enable"
		}
		_, err := one.run(ctx, verb, "hook")
		return err
	})
	if err != nil {
		return err
	}
	s.compare(fmt.Sprintf("%s, %d clients", pluginDown, clients), pluginDisabled, turns, 0.95)
	return nil
}

// inTurns measures one server with something and without it, four turns a round: without, with, without, with, and back.
func (s *stage) inTurns(ctx context.Context, one *site, f *fleet, change func(on bool) error) ([]*switched, error) {
	turns := []*switched{{}, {on: true}, {}, {on: true}}
	for n := range s.rounds {
		order := slices.Clone(turns)
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, t := range order {
			err := change(t.on)
			if err == nil {
				err = t.round(ctx, s, one, f)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return turns, nil
}

// compare tells what the turns without and those with it came to: the first and the third, the second and the fourth.
func (s *stage) compare(named, baseline string, turns []*switched, wanted float64) {
	first, second := turns[0].figures(), turns[2].figures()
	without, with := turns[0].and(turns[2]).figures(), turns[1].and(turns[3]).figures()
	s.beside(named, with.perSecond, "commands/s", baseline, without.perSecond, atLeast(wanted))
	s.beside(named+", p99", with.p99, "µs", baseline, without.p99, nil)
	s.beside(baseline+", the first turns", first.perSecond, "commands/s", "the second ones", second.perSecond, nil)
	if min(with.processor, without.processor, first.processor, second.processor) > 0 {
		s.beside("processor time a command, "+named, with.processor, "µs", baseline, without.processor, nil)
		s.beside("processor time a command, "+baseline+", the first turns", first.processor, "µs", "the second ones", second.processor, nil)
	}
}

// switched are the rounds with what is looked at, or without it.
type switched struct {
	on                        bool
	perSecond, p99, processor []float64
}

// cost are the medians of rounds; processor is what the server took a command, in µs.
type cost struct{ perSecond, p99, processor float64 }

func (w *switched) figures() cost {
	return cost{median(w.perSecond), median(w.p99), median(w.processor)}
}

func (w *switched) and(other *switched) *switched {
	return &switched{w.on, slices.Concat(w.perSecond, other.perSecond), slices.Concat(w.p99, other.p99), slices.Concat(w.processor, other.processor)}
}

// round lets the site come to rest under load, and measures.
func (w *switched) round(ctx context.Context, s *stage, one *site, f *fleet) error {
	if _, err := f.round(ctx, s.round); err != nil {
		return err
	}
	before, err := one.server.processorTime()
	if err != nil {
		return err
	}
	got, err := f.round(ctx, s.round)
	if err != nil {
		return err
	}
	after, err := one.server.processorTime()
	w.perSecond, w.p99 = append(w.perSecond, got.perSecond), append(w.p99, got.p99)
	w.processor = append(w.processor, (after-before)*1e6/float64(got.answered))
	return err
}

// ticksASecond is the unit of /proc/PID/stat on every Linux.
const ticksASecond = 100

// processorTime is what a process has taken so far, in seconds; 0 where there is no /proc.
func (p *process) processorTime() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the processor time: %w", err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // the name of the program may hold anything
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, fmt.Errorf("read the processor time: %q", text)
	}
	var ticks float64
	for _, at := range []int{user, system} {
		n, err := strconv.ParseFloat(fields[at], 64)
		if err != nil {
			return 0, fmt.Errorf("read the processor time: %w", err)
		}
		ticks += n
	}
	return ticks / ticksASecond, nil
}
