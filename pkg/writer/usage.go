package writer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// usagePatience is how long the logs are asked what they have spent.
const usagePatience = 5 * time.Second

// maxAsked bounds the tokens of one call.
const maxAsked = 1000

// spentHere says how much of each token this log has stored.
func (w *Writer) spentHere(ctx context.Context, e *engine, tokens []string) (map[string]uint64, *problem.Problem) {
	if len(tokens) > maxAsked {
		return nil, problem.New(problem.Malformed, "%d tokens are asked for at once, at most %d are", len(tokens), maxAsked)
	}
	spent := make(map[string]uint64, len(tokens))
	_, p := w.act(ctx, e, nil, func(*submission) ([]aggregate.Change, *problem.Problem) {
		for _, id := range tokens {
			all, err := e.spent(id)
			back := uint64(0)
			if err == nil {
				back, err = e.back(id)
			}
			if err != nil {
				return nil, problem.New(problem.Unavailable, "log %s: what it spent of token %.80s cannot be read", e.name, id)
			}
			spent[id] = all - min(all, back)
		}
		return nil, nil
	})
	if p != nil {
		return nil, p // the act may still be decided: spent is not ours to read
	}
	return spent, nil
}

// used is how much was stored of each token, by the writers of the logs that were granted units of it. A token is left out where one of them did not answer;
// those are named in silent.
func (w *Writer) used(ctx context.Context, budgets map[string]*budget) (used map[string]uint64, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, usagePatience)
	defer cancel()
	byLog := make(map[string][]string)
	used = make(map[string]uint64)
	for id, b := range budgets {
		used[id] = 0
		for log := range b.Logs {
			byLog[log] = append(byLog[log], id)
		}
	}
	var asked sync.WaitGroup
	var mu sync.Mutex // guards used and silent
	for log, ids := range byLog {
		asked.Go(func() {
			r, p := w.ask(ctx, log, verbUsage, call{Tokens: ids})
			mu.Lock()
			defer mu.Unlock()
			if p != nil {
				silent = append(silent, fmt.Sprintf("%s (%s)", log, p.Detail))
			}
			for _, id := range ids {
				if _, known := used[id]; p != nil {
					delete(used, id)
				} else if known {
					used[id] += r.Spent[id]
				}
			}
		})
	}
	asked.Wait()
	slices.Sort(silent)
	return used, silent
}
