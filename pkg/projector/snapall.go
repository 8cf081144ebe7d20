package projector

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/snapshot"
)

const (
	// maxStrays is how many snapshots that do not open are led back to their aggregates in one go.
	maxStrays = 4096
	// latestPatience bounds how long checking the snapshots of a log waits for its index.
	latestPatience = 10 * time.Second
)

// Liar is an aggregate with snapshots that say something else than its log.
type Liar struct {
	Aggregate event.AggregateID
	Lies      []Lie
}

// LogCheck says how the snapshots of a log are checked. All fields are required.
type LogCheck struct {
	Log    string
	Proven func(event.AggregateID) (newest event.Version, root event.Hash, ok bool) // what the log was proven to have; not ok: the aggregate is left out
	Seen   func()                                                                   // called for each snapshot, so that somebody hears that it goes on
}

// Checked is what CheckLogSnapshots found.
type Checked struct {
	Aggregates uint64 // whose snapshots were held against the log
	Liars      []Liar // in no order
}

// CheckLogSnapshots is CheckSnapshots for the aggregates of a log that have snapshots: proven is asked about each, once or several times. A snapshot that does not open says nothing of whose
// it is: the index is gone through for its aggregate, and what belongs to none is left out, as nothing reads it. Snapshots are read one by one, and no more than one aggregate is held at a time.
// Where snapshots are there, the index must have come to the log's end; it is waited for some seconds. What was found before an error counts.
func (p *Projector) CheckLogSnapshots(ctx context.Context, check LogCheck) (found Checked, err error) {
	if err := p.up(); err != nil || p.taker.keep == nil {
		return found, err
	}
	c := logChecking{LogCheck: check, p: p, strays: map[string]bool{}}
	err = p.taker.keep.Walk(ctx, check.Log, func(s snapshot.Stored) error { return c.met(ctx, s) })
	if err == nil && len(c.strays) > 0 {
		err = c.lead(ctx)
	}
	return c.found, err
}

// logChecking is checking the snapshots of a log.
type logChecking struct {
	LogCheck
	p      *Projector
	x      *index          // nil: no snapshot was met yet
	strays map[string]bool // places of snapshots that do not open
	found  Checked
}

func (c *logChecking) met(ctx context.Context, s snapshot.Stored) error {
	c.Seen()
	if err := c.begin(ctx); err != nil {
		return err
	}
	if s.Err == nil {
		return c.one(ctx, event.AggregateID{Type: s.Type, ID: s.ID})
	}
	if len(c.strays) < maxStrays {
		c.strays[s.Place] = true
	}
	return nil
}

// begin waits for the index, once.
func (c *logChecking) begin(ctx context.Context) error {
	if c.x != nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, latestPatience)
	defer cancel()
	if err := c.p.WaitForLatest(waiting, c.Log); err != nil {
		return err
	}
	x, _, _ := c.p.indexOrGrowth(c.Log)
	if x == nil {
		return problem.New(problem.Unavailable, "there is no index of log %s", c.Log)
	}
	c.x = x
	return nil
}

// one holds the snapshots of an aggregate against what was proven of it, those that do not open too.
func (c *logChecking) one(ctx context.Context, a event.AggregateID) error {
	newest, root, ok := c.Proven(a)
	if !ok {
		return nil
	}
	lies, err := c.p.checkSnapshots(ctx, c.x, a, newest, root)
	if err != nil {
		return err
	}
	c.found.Aggregates++
	if len(lies) > 0 {
		c.found.Liars = append(c.found.Liars, Liar{a, lies})
	}
	return nil
}

// lead finds the aggregates of strays, and looks at those that were not looked at.
func (c *logChecking) lead(ctx context.Context) error {
	var of []event.AggregateID
	look := func(a *current) (bool, error) {
		c.Seen()
		if c.strays[c.p.taker.keep.Place(c.Log, a.id)] {
			of = append(of, a.id)
		}
		return len(of) < len(c.strays), ctx.Err()
	}
	err := c.x.view(ctx, func(r *reading) error {
		for _, t := range c.x.kept() {
			if err := errors.Join(r.scan(keyNewest, t, "", look), r.scan(keyCold, t, "", look)); err != nil {
				return fmt.Errorf("look for the aggregates of snapshots: %w", err)
			}
		}
		return nil
	})
	for i := 0; i < len(of) && err == nil; i++ {
		err = c.one(ctx, of[i])
	}
	return err
}

// kept gives the types of the index.
func (x *index) kept() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Sorted(maps.Keys(x.types))
}
