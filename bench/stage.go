package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// stage is what the scenes share: a prepared site to copy, the baselines, and where figures go.
type stage struct {
	config
	*report
	progress io.Writer
	prepared *site
	bare     *process
	bareDoor door
	data     []byte // body of a command
	sites    []*site
	extra    uint64 // events that were stored between starts
}

func (c *config) measure(ctx context.Context, chosen []scene, r *report, progress io.Writer) (err error) {
	s := &stage{config: *c, report: r, progress: progress, data: payload(c.payload)}
	fmt.Fprintln(progress, "preparing a site")
	if s.prepared, err = newSite(ctx, c.programs, filepath.Join(c.dir, "prepared")); err != nil {
		return err
	}
	args := []string{"bare", "--dir=" + filepath.Join(c.dir, "bare")}
	if c.encrypt {
		args = append(args, "--encrypt")
	}
	var url string
	if s.bare, url, err = launchServer(ctx, c.server, os.Environ(), args...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.bare.stop()) }()
	s.bareDoor = door{url: url, inbox: "_INBOX"}
	for _, one := range chosen {
		fmt.Fprintln(progress, one.name)
		err := one.play(ctx, s)
		if err == nil {
			err = s.verifyAll(ctx)
		}
		if err = errors.Join(err, s.clear()); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

// site makes a fresh site; it is not started. It is verified, stopped and removed behind the scene.
func (s *stage) site(name string) (*site, error) {
	one, err := s.prepared.copy(filepath.Join(s.dir, name))
	if err == nil {
		s.sites = append(s.sites, one)
	}
	return one, err
}

// verifyAll recomputes what the scene wrote; it is the end of every run, as of every test. Those that do not run as a whole are started once more.
func (s *stage) verifyAll(ctx context.Context) error {
	for _, one := range s.sites {
		if !one.whole {
			if err := errors.Join(one.stop(), one.start(ctx)); err != nil {
				return err
			}
		}
		events, err := one.verify(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.progress, "  verified %s: %d events\n", one.name, events)
	}
	return nil
}

func (s *stage) clear() (err error) {
	for _, one := range s.sites {
		err = errors.Join(err, one.stop(), os.RemoveAll(filepath.Dir(one.dir)))
	}
	s.sites = nil
	return err
}

// side is one of those that take turns.
type side struct {
	name  string
	fleet *fleet
}

// turns lets the sides take turns, and gives the medians of each.
func (s *stage) turns(ctx context.Context, sides ...side) ([]figures, error) {
	perSecond, p50, p99 := make([][]float64, len(sides)), make([][]float64, len(sides)), make([][]float64, len(sides))
	for range s.rounds {
		for i, one := range sides {
			f, err := one.fleet.round(ctx, s.round)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", one.name, err)
			}
			perSecond[i], p50[i], p99[i] = append(perSecond[i], f.perSecond), append(p50[i], f.p50), append(p99[i], f.p99)
		}
	}
	out := make([]figures, len(sides))
	for i := range sides {
		out[i] = figures{perSecond: median(perSecond[i]), p50: median(p50[i]), p99: median(p99[i])}
	}
	return out, nil
}

// fleets opens one fleet a side and lets them take turns.
func (s *stage) fleets(ctx context.Context, clients int, wanted ...wantedFleet) ([]figures, error) {
	var sides []side
	defer func() {
		for _, one := range sides {
			one.fleet.close()
		}
	}()
	for _, w := range wanted {
		f, err := newFleet(w.door, clients, s.connections, w.work)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		sides = append(sides, side{w.name, f})
	}
	return s.turns(ctx, sides...)
}

type wantedFleet struct {
	name string
	door door
	work func(i, of int) work
}

// bareBodies are requests to the bare pipeline of nothing but bodies.
func (s *stage) bareBodies(int, int) work { return plain{"bare.body", s.data} }

// bareRequests are the very requests that EventfulDB gets; the bare pipeline reads their bodies alone. It is the limit that the project measures itself by.
func (s *stage) bareRequests() func(i, of int) work {
	return s.prepared.books("a", s.aggregates, s.data).bareCommands
}
