package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// again is a parked change that is read from its log again.
type again struct {
	number  uint64
	version event.Version
	at      event.Position
	read    *item // another one may be of the same change
}

// readAgain reads parked changes from their logs, each block once.
func (p *partition) readAgain(ctx context.Context, all []*again) error {
	byLog := map[string][]*again{}
	for _, one := range all {
		byLog[one.at.Log] = append(byLog[one.at.Log], one)
	}
	for log, of := range byLog {
		slices.SortStableFunc(of, func(a, b *again) int {
			return cmp.Or(cmp.Compare(a.at.Sequence, b.at.Sequence), cmp.Compare(a.at.Index, b.at.Index))
		})
		source, err := p.t.e.cfg.Store.Open(ctx, log)
		if err == nil {
			err = p.readAgainOf(ctx, source, of)
		}
		if err != nil {
			return fmt.Errorf("parked changes %d to %d: %w", all[0].number, all[len(all)-1].number, err)
		}
	}
	return nil
}

// readAgainOf reads those of one log, which come in its order.
func (p *partition) readAgainOf(ctx context.Context, source eventlog.Log, of []*again) error {
	blocks, log := newBlocks(ctx, source), of[0].at.Log
	defer blocks.close()
	var sequences []uint64
	for _, one := range of {
		sequences = append(sequences, one.at.Sequence)
	}
	sequences = slices.Compact(sequences)
	var commits []folding
	seen, next := p.t.e.view.now(), 0
	for n, sequence := range sequences {
		for _, soon := range sequences[n:min(n+sideBySide, len(sequences))] {
			blocks.want(soon)
		}
		for b := blocks.take(sequence); next < len(of) && of[next].at.Sequence == sequence; next++ {
			var err error
			if commits, err = of[next].take(b, seen, commits); err != nil {
				return fmt.Errorf("parked change %d: %w", of[next].number, err)
			}
		}
	}
	if !p.w.how.state {
		return nil
	}
	if p.retry.folds[log] == nil {
		p.retry.folds[log] = newFolder(log, p.t.log)
	}
	return p.retry.folds[log].fold(ctx, source, seen, commits)
}

// take takes the change from its block. Its commit is added to commits, unless it is the last of them already.
func (a *again) take(b *readBlock, seen *seen, commits []folding) ([]folding, error) {
	at := event.Link{Sequence: a.at.Sequence, Index: a.at.Index, Block: a.at.Block}
	c, prev, err := b.commit(a.at.Log, at)
	if err != nil {
		return commits, err
	}
	if c.Aggregate.Type == schema.SystemForgotten {
		a.read = forgottenItem(seen, c, a.at)
		return commits, nil
	}
	if len(commits) == 0 || commits[len(commits)-1].at != at {
		items, err := itemsOf(seen, c, a.at)
		if err != nil {
			return commits, err
		}
		commits = append(commits, folding{slim(c), at, prev, items})
	}
	items := commits[len(commits)-1].items
	n := int(a.version) - int(c.First)
	if n < 0 || n >= len(items) {
		return commits, fmt.Errorf("%s has no version %d: %w", a.at, a.version, errMismatch)
	}
	a.read = items[n]
	return commits, nil
}

// item is the change as a retry takes it up.
func (a *again) item() *item {
	i := *a.read
	i.parked = a.number
	return &i
}

// slim is a commit without what would keep its whole block in memory: payloads, which its items have decoded.
func slim(c *event.Commit) *event.Commit {
	s := *c
	s.KeyCommitment, s.Events = slices.Clone(c.KeyCommitment), slices.Clone(c.Events)
	for i := range s.Events {
		s.Events[i].Payload = nil
	}
	return &s
}
