package main

import (
	"context"
	"fmt"
)

// snapshotEvery is after how many events a snapshot is taken in this scene, and snapshotted how many aggregates pass that again and again.
const (
	snapshotEvery = 10
	snapshotted   = 256
)

// snapshots measures commands with snapshots by number beside the same without: snapshots lie in a stream that flushes by itself, so they cost the log no flush.
func snapshots(ctx context.Context, s *stage) error {
	var wanted []wantedFleet
	for _, one := range []struct{ folder, name, every string }{{"snapped", "with snapshots", fmt.Sprint(snapshotEvery)}, {"unsnapped", "without snapshots", "0"}} {
		site, err := s.site(one.folder)
		if err != nil {
			return err
		}
		if err := site.start(ctx); err != nil {
			return err
		}
		if one.every != "0" {
			if _, err := site.run(ctx, "schema:alter", aggregateType, "--snapshot-threshold="+one.every); err != nil {
				return err
			}
			if _, err := site.run(ctx, "schema:migrate", "-f"); err != nil {
				return err
			}
		}
		wanted = append(wanted, wantedFleet{"full path " + one.name, site.door(), site.books("a", min(snapshotted, s.aggregates), s.data).commands})
	}
	for _, clients := range []int{1, 64} {
		if clients > min(snapshotted, s.aggregates) {
			continue
		}
		f, err := s.fleets(ctx, clients, wanted...)
		if err != nil {
			return err
		}
		s.beside(fmt.Sprintf("%s, %d clients", wanted[0].name, clients), f[0].perSecond, "commands/s", wanted[1].name, f[1].perSecond, atLeast(0.9))
		s.beside(fmt.Sprintf("%s, %d clients, p99", wanted[0].name, clients), f[0].p99, "µs", wanted[1].name+" p99", f[1].p99, nil)
	}
	return nil
}
