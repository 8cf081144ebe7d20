package opensearch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// removedTarget is the target of the index that remembers which documents were removed, at which version. OpenSearch itself forgets that after a while, and
// when the node is started again; a change that was parked could then bring a document back. Such changes come with Again, so only those are held against it.
// No name of a target begins with a point.
const removedTarget = ".removed"

// remembered is the op that remembers a removal. The key is a digest: it is short, and names nobody.
func remembered(o op, alias string) op {
	sum := sha256.Sum256([]byte(o.effect.Target + "\x00" + o.effect.Key))
	return op{at: o.at, version: o.version, alias: alias, body: []byte("{}"), effect: mapping.Effect{Action: mapping.Write, Target: removedTarget, Key: hex.EncodeToString(sum[:])}}
}

// remember writes down what is about to be removed, and keeps the ops of which that is on disk.
func (t *target) remember(ctx context.Context, ops []op, outcomes []plugin.Outcome) []op {
	var removals []op
	for _, o := range ops {
		if o.removes() {
			removals = append(removals, o)
		}
	}
	if len(removals) == 0 {
		return ops
	}
	alias, err := t.writeAlias(ctx, removedTarget)
	for i := range removals {
		outcomes[removals[i].at] = again(err)
		removals[i] = remembered(removals[i], alias)
	}
	if err == nil {
		t.send(ctx, removals, outcomes)
	}
	kept := ops[:0]
	for _, o := range ops {
		if !o.removes() || outcomes[o.at].Status == plugin.StatusDone {
			kept = append(kept, o)
		}
	}
	return kept
}

// skipRemoved settles changes that come again although their document was removed behind them.
func (t *target) skipRemoved(ctx context.Context, ops []op, outcomes []plugin.Outcome) []op {
	var late []op
	for _, o := range ops {
		if o.again && o.effect.Action == mapping.Write && t.mapping.Document == mapping.OfAggregate {
			late = append(late, remembered(o, t.names.index(removedTarget)+writeSuffix))
		}
	}
	gone := map[int]bool{}
	for len(late) > 0 {
		n := min(len(late), maxRead)
		t.markRemoved(ctx, late[:n], outcomes, gone)
		late = late[n:]
	}
	kept := ops[:0]
	for _, o := range ops {
		if !gone[o.at] {
			kept = append(kept, o)
		}
	}
	return kept
}

// markRemoved marks the changes that need not be written, and those of which that cannot be told now.
func (t *target) markRemoved(ctx context.Context, late []op, outcomes []plugin.Outcome, gone map[int]bool) {
	stored, err := t.read(ctx, late)
	for i, o := range late {
		switch {
		case err != nil:
			outcomes[o.at], gone[o.at] = again(err), true
		case stored[i].Found && stored[i].Version >= o.version:
			outcomes[o.at], gone[o.at] = plugin.Done(), true
		case stored[i].Error.Type != "" && stored[i].Error.Type != "index_not_found_exception": // nothing was ever removed
			outcomes[o.at], gone[o.at] = plugin.Retry(stored[i].failed()), true
		}
	}
}

// shown reports whether readers get an alias for the target.
func shown(target string) bool { return !strings.HasPrefix(target, ".") }
