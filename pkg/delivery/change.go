package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
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
	tries  int
	done   bool
}

// seal is what opening sealed fields of a commit takes besides the key.
type seal struct {
	site       string
	branch     uint64
	commitment event.Hash
}

// folded is the state of an aggregate behind a version, sealed values as they are, with what opens each.
type folded struct {
	aggregate.State
	seals map[string]seal
}

// divide makes the items of a block for the partitions that the members have.
func (f *feed) divide(ctx context.Context, source eventlog.Log, found *eventlog.Found, members []*member) (map[int][]*item, error) {
	seen, err := f.w.e.view.await(ctx, found.Block.System.Sequence)
	if err != nil {
		return nil, err
	}
	wanted := map[int]bool{}
	for _, m := range members {
		wanted[m.part.t.index] = true
	}
	divided := map[int][]*item{}
	for i, c := range found.Commits {
		at := event.Position{Log: f.name, Sequence: found.Sequence, Index: uint32(i), Block: found.Block.ID}
		of, forgotten := c.Aggregate, c.Aggregate.Type == schema.SystemForgotten
		if forgotten {
			of = f.forget(c)
		}
		index := registry.Partition(of, f.w.how.partitions)
		if event.IsReserved(of.Type) || c.Branch != 0 || len(f.w.how.types) > 0 && !slices.Contains(f.w.how.types, of.Type) || !wanted[index] {
			continue
		}
		if forgotten {
			divided[index] = append(divided[index], forgottenItem(seen, c, at))
			continue
		}
		items, err := itemsOf(seen, c, at)
		if err != nil {
			return nil, err
		}
		if f.w.how.state {
			if err := f.fold(ctx, source, seen, folding{c, found.Block.Records[i].Prev, items}); err != nil {
				return nil, err
			}
		}
		divided[index] = append(divided[index], items...)
	}
	return divided, nil
}

// itemsOf makes the items of a commit.
func itemsOf(seen *seen, c *event.Commit, at event.Position) ([]*item, error) {
	meta := metaOf(c)
	under := seal{site: c.Site, branch: c.Branch}
	copy(under.commitment[:], c.KeyCommitment)
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
			Deletes: seen.deletes[e.SchemaDigest][e.Type],
		}}
	}
	return items, nil
}

// maxFolds is the number of states that a feed keeps in memory.
const maxFolds = 65536

// folds are the states of the aggregates that changed last. They belong to the feed's goroutine.
type folds struct{ newer, older map[event.AggregateID]*folded }

func newFolds() *folds { return &folds{newer: map[event.AggregateID]*folded{}} }

func (f *folds) get(a event.AggregateID) *folded {
	if s := f.newer[a]; s != nil {
		return s
	}
	return f.older[a]
}

func (f *folds) put(a event.AggregateID, s *folded) {
	if len(f.newer) >= maxFolds/2 {
		f.older, f.newer = f.newer, make(map[event.AggregateID]*folded, maxFolds/2)
	}
	f.newer[a] = s
}

// folding is a commit that the state behind each event is wanted of.
type folding struct {
	commit *event.Commit
	prev   event.Link
	items  []*item
}

// fold gives each item the state behind it. What is not in memory is read along the links between the aggregate's commits.
func (f *feed) fold(ctx context.Context, source eventlog.Log, seen *seen, now folding) error {
	c := now.commit
	state := f.folds.get(c.Aggregate)
	if state == nil || state.Version+1 != c.First {
		var err error
		if state, err = f.before(ctx, source, seen, now); err != nil {
			return err
		}
	}
	for i := range c.Events {
		state = state.with(seen, c, i, now.items[i].change.Fields)
		now.items[i].state = state
	}
	f.folds.put(c.Aggregate, state)
	return nil
}

// with is the state behind one more event, whose fields these are.
func (s *folded) with(seen *seen, c *event.Commit, i int, fields []event.Field) *folded {
	e := c.Events[i]
	next := &folded{State: aggregate.FoldFields(s.State, e, fields, seen.deletes[e.SchemaDigest][e.Type]), seals: s.seals}
	for name, version := range next.Sealed {
		if version != next.Version {
			continue
		}
		if next.seals = maps.Clone(next.seals); next.seals == nil {
			next.seals = map[string]seal{}
		}
		under := seal{site: c.Site, branch: c.Branch}
		copy(under.commitment[:], c.KeyCommitment)
		next.seals[name] = under
	}
	return next
}

// before folds the commits of the aggregate that lie before one, from the first or from the newest that is in memory.
func (f *feed) before(ctx context.Context, source eventlog.Log, seen *seen, now folding) (*folded, error) {
	state := &folded{}
	if known := f.folds.get(now.commit.Aggregate); known != nil && known.Version < now.commit.First {
		state = known
	}
	var path []*event.Commit
	for link, first := now.prev, now.commit.First; first > state.Version+1; {
		c, prev, err := commitAt(ctx, source, event.Position{Log: f.name, Sequence: link.Sequence, Index: link.Index, Block: link.Block})
		if err != nil {
			return nil, fmt.Errorf("fold %s: %w", now.commit.Aggregate, err)
		}
		if c.Aggregate != now.commit.Aggregate || c.Last()+1 != first {
			return nil, fmt.Errorf("fold %s: the commit before version %d is not where it should be: %w", now.commit.Aggregate, first, errMismatch)
		}
		path = append(path, c)
		link, first = prev, c.First
	}
	for _, c := range slices.Backward(path) {
		for i := range c.Events {
			if c.First+event.Version(i) != state.Version+1 {
				continue
			}
			fields, err := event.DecodePayload(c.Events[i].Payload)
			if err != nil {
				return nil, fmt.Errorf("fold %s: %w", c.Aggregate, err)
			}
			state = state.with(seen, c, i, fields)
		}
	}
	return state, nil
}

// commitAt reads one commit: errMismatch if another one, or none, lies there.
func commitAt(ctx context.Context, source eventlog.Log, at event.Position) (*event.Commit, event.Link, error) {
	m, err := source.Get(ctx, at.Sequence)
	if errors.Is(err, eventlog.ErrNotFound) {
		return nil, event.Link{}, fmt.Errorf("position %s: %w: %w", at, errMismatch, err)
	}
	if err != nil {
		return nil, event.Link{}, err
	}
	b, commits, err := event.DecodeBlock(m.Data, m.Sequence)
	if err != nil || b.ID != at.Block || int(at.Index) >= len(commits) {
		return nil, event.Link{}, fmt.Errorf("position %s: another block, or none, is there: %w", at, errors.Join(errMismatch, err))
	}
	return commits[at.Index], b.Records[at.Index].Prev, nil
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
