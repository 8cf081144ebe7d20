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
	turns := []*switched{{}, {on: true}, {}, {on: true}}
	for n := range s.rounds {
		order := slices.Clone(turns)
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, t := range order {
			if err := t.round(ctx, s, one, f); err != nil {
				return err
			}
		}
	}
	s.compare(clients, turns)
	return nil
}

// compare tells what the turns without the plugin and those with it came to: the first and the third, the second and the fourth.
func (s *stage) compare(clients int, turns []*switched) {
	first, second := turns[0].figures(), turns[2].figures()
	without, with := turns[0].and(turns[2]).figures(), turns[1].and(turns[3]).figures()
	name := fmt.Sprintf("%s, %d clients", pluginDown, clients)
	s.beside(name, with.perSecond, "commands/s", pluginDisabled, without.perSecond, atLeast(0.95))
	s.beside(name+", p99", with.p99, "µs", pluginDisabled, without.p99, nil)
	s.beside(pluginDisabled+", the first turns", first.perSecond, "commands/s", "the second ones", second.perSecond, nil)
	if min(with.processor, without.processor, first.processor, second.processor) > 0 {
		s.beside("processor time a command, "+name, with.processor, "µs", pluginDisabled, without.processor, nil)
		s.beside("processor time a command, the first turns", first.processor, "µs", "the second ones", second.processor, nil)
	}
}

// switched are the rounds with a plugin or without it.
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

// round switches the plugin, lets the site come to rest under load, and measures.
func (w *switched) round(ctx context.Context, s *stage, one *site, f *fleet) error {
	verb := "plugin:disable"
	if w.on {
		verb = "plugin:enable"
	}
	if _, err := one.run(ctx, verb, "hook"); err != nil {
		return err
	}
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
