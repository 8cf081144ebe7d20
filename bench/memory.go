package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/nats-io/nats.go"
)

// What a writer is configured to keep of the one log that is large (pkg/writer, Config), in MB: 32 MiB of pages, and 65,536 heads of 300 bytes at least (BenchmarkCachedHeads in pkg/writer has 304
// for an aggregate of one event, 400 for one of twenty). The window of command ids and the caches of the system log are not taken off.
const (
	cachedPages = 32 * 1.048576
	cachedHeads = 65536 * 300 / 1e6
)

// memory measures cmd/writer, alone in its process, with many aggregates: replayed, then written to by 64 clients.
func memory(ctx context.Context, s *stage) error {
	one, err := s.site("wide")
	if err != nil {
		return err
	}
	if err := one.start(ctx); err != nil {
		return err
	}
	wide := one.books("w", s.wide, s.data)
	if err := s.fill(ctx, one, wide, 1); err != nil {
		return err
	}
	if err := one.stop(); err != nil {
		return err
	}
	if err := one.start(ctx, "--no-engines"); err != nil {
		return err
	}
	cmd := exec.Command(s.writer, "--data-dir="+one.dir, "--nats-url="+one.url, "--log-level=warn")
	cmd.Env = one.env
	w, err := launch(cmd, nil)
	if err != nil {
		return err
	}
	err = s.writerMemory(ctx, one, w, wide)
	if stopped := w.stop(); err == nil {
		err = stopped
	}
	return err
}

func (s *stage) writerMemory(ctx context.Context, one *site, w *process, wide *books) error {
	fleet, err := newFleet(one.door(), 64, s.connections, wide.commands)
	if err != nil {
		return err
	}
	defer fleet.close()
	if err := one.answers(ctx, w); err != nil {
		return err
	}
	for range s.rounds {
		if _, err := fleet.round(ctx, s.round); err != nil {
			return err
		}
	}
	resident, err := w.memory("VmRSS")
	if err != nil {
		return err
	}
	files, err := w.memory("RssFile")
	if err != nil {
		return err
	}
	s.alone(fmt.Sprintf("writer's resident memory at %d aggregates", s.wide), resident, "MB", nil)
	s.alone("of it, mapped files", files, "MB", nil)
	s.alone("writer's resident memory beyond its cache of pages", resident-cachedPages, "MB", nil)
	s.alone("writer's resident memory beyond its caches", resident-cachedPages-cachedHeads, "MB", below(100))
	return nil
}

// answers waits until the writer takes commands.
func (s *site) answers(ctx context.Context, w *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	d := s.door()
	nc, err := nats.Connect(d.url, d.options...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", d.url, err)
	}
	defer nc.Close()
	c := s.books("first", 1, payload(256)).commands(0, 1)
	return s.poll(ctx, func() bool {
		select {
		case err := <-w.ended:
			w.ended <- err
			cancel()
			fmt.Fprintf(os.Stderr, "the writer ended: %v\n%s", err, w.said)
			return false
		default:
		}
		answer, err := nc.RequestMsg(c.next(), answerPatience)
		return err == nil && answer.Header.Get("Nats-Service-Error-Code") == ""
	})
}
