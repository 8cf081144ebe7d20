package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// item is one change on its way. Encrypted fields stay sealed in it until it is delivered.
type item struct {
	change plugin.Change
	seal   seal
	state  *folded // nil: not asked for
	source *progress
	block  *block
	parked uint64 // number of the parked change that it is a retry of; 0: none
	size   int    // in bytes, roughly
	kept   bool   // it was parked before it came again, as it is
	tries  int
	done   bool
}

// seal is what opening sealed fields of a commit takes besides the key.
type seal struct {
	site       string
	branch     uint64
	commitment event.Hash
}

func sealOf(c *event.Commit) seal {
	under := seal{site: c.Site, branch: c.Branch}
	copy(under.commitment[:], c.KeyCommitment)
	return under
}

// divide makes the items of a block for the partitions that the members have.
func (f *feed) divide(ctx context.Context, source eventlog.Log, found *eventlog.Found, members []*member) (map[int][]*item, error) {
	seen, err := f.w.e.view.await(ctx, found.Block.System.Sequence)
	if err != nil {
		return nil, err
	}
	wanted, divided := indexes(members), map[int][]*item{}
	var commits []folding
	for i, c := range found.Commits {
		if c.Aggregate.Type == schema.SystemForgotten {
			f.forget(c)
		}
		index, concerned := f.concerns(c, wanted)
		if !concerned {
			continue
		}
		at := event.Position{Log: f.name, Sequence: found.Sequence, Index: uint32(i), Block: found.Block.ID}
		if c.Aggregate.Type == schema.SystemForgotten {
			divided[index] = append(divided[index], forgottenItem(seen, c, at))
			continue
		}
		items, err := itemsOf(seen, c, at)
		if err != nil {
			return nil, err
		}
		commits = append(commits, folding{c, linkTo(found, i), found.Block.Records[i].Prev, items})
		divided[index] = append(divided[index], items...)
	}
	if !f.w.how.state {
		return divided, nil
	}
	return divided, f.folder.fold(ctx, source, seen, commits)
}

// itemsOf makes the items of a commit.
func itemsOf(seen *seen, c *event.Commit, at event.Position) ([]*item, error) {
	meta := metaOf(c)
	under := sealOf(c)
	items := make([]*item, len(c.Events))
	for i := range c.Events {
		e := &c.Events[i]
		fields, err := event.DecodePayload(e.Payload)
		if err != nil {
			return nil, fmt.Errorf("%s at %s: %w", c.Aggregate, at, err)
		}
		m := meta
		m.OccurredAt, m.Schema = e.OccurredAt, e.SchemaVersion
		items[i] = &item{seal: under, size: len(e.Payload) + 512, change: plugin.Change{
			Position: at, Aggregate: c.Aggregate, Version: c.First + event.Version(i), EventType: e.Type, Fields: fields, Meta: m, Leaf: c.Leaf(i),
			Deletes: seen.ends(e),
		}}
	}
	return items, nil
}

// prepare makes the change as the plugin gets it: encrypted fields opened, or left out.
func (w *work) prepare(ctx context.Context, i *item) (plugin.Change, error) {
	c := i.change
	var err error
	if slices.ContainsFunc(c.Fields, func(f event.Field) bool { return f.Sealed }) {
		fields := make([]event.Field, 0, len(c.Fields))
		for _, f := range c.Fields {
			if f, err = w.unseal(ctx, c.Aggregate, i.seal, f); err != nil {
				return c, err
			}
			if f.Name != "" {
				fields = append(fields, f)
			}
		}
		c.Fields = fields
	}
	if i.state == nil {
		return c, nil
	}
	c.State = &plugin.State{Deleted: i.state.Deleted, Fields: make([]event.Field, 0, len(i.state.Fields))}
	for name, value := range i.state.Fields {
		f := event.Field{Name: name, Value: value, Set: true}
		if _, f.Sealed = i.state.Sealed[name]; f.Sealed {
			if f, err = w.unseal(ctx, c.Aggregate, i.state.seals[name], f); err != nil {
				return c, err
			}
		}
		if f.Name != "" {
			c.State.Fields = append(c.State.Fields, f)
		}
	}
	slices.SortFunc(c.State.Fields, func(a, b event.Field) int { return strings.Compare(a.Name, b.Name) })
	return c, nil
}

// unseal opens a sealed field; the zero Field: it is not for this plugin, or its key was forgotten.
func (w *work) unseal(ctx context.Context, a event.AggregateID, under seal, f event.Field) (event.Field, error) {
	if !f.Sealed {
		return f, nil
	}
	keys := w.e.cfg.Keys
	if !w.how.pii || keys == nil || w.e.forgotten.has(under.commitment) {
		return event.Field{}, nil
	}
	key, err := keys.Get(ctx, a)
	if key != nil && key.Commitment() != under.commitment {
		keys.Drop(a)
		key, err = keys.Get(ctx, a)
	}
	if err != nil {
		return f, fmt.Errorf("the key of its encrypted fields cannot be reached: %w", err)
	}
	if key == nil || key.Commitment() != under.commitment {
		return event.Field{}, nil // forgotten
	}
	text, err := key.Open(fieldkey.Place{Site: under.site, Branch: under.branch, Aggregate: a, Field: f.Name}, f.Value)
	if err != nil {
		return f, fmt.Errorf("encrypted field %s: %w", f.Name, err)
	}
	return event.Field{Name: f.Name, Value: text, Set: true}, nil
}
