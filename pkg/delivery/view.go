package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// view is what the system log says of schemas and plugins. It is read from its start at each start of the process.
type view struct {
	mu      sync.Mutex    // guards what follows
	present *seen         // immutable
	changed chan struct{} // closed at the next change of plugins or schemas
	moved   chan struct{} // closed at the next block
	at      uint64        // sequence of the last message that was read
}

// seen is immutable.
type seen struct {
	plugins map[string]*registry.Plugin
	schemas map[string]*schema.Schema            // the newest of each type
	then    map[string]map[string]*schema.Schema // plugin -> what was the newest when it was configured last
	deletes map[event.Hash]map[string]bool       // by schema digest: event types that end the aggregate
	logs    map[string]string                    // type -> log
	sealed  map[string][]string                  // type -> fields that are encrypted or ever were, in ascending order
}

func newView() *view {
	return &view{present: &seen{}, changed: make(chan struct{}), moved: make(chan struct{})}
}

func (v *view) now() *seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.present
}

// changes gives a channel that is closed at the next change. Take it before looking.
func (v *view) changes() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// await waits until the system log was read up to a sequence, and gives what was seen by then.
func (v *view) await(ctx context.Context, sequence uint64) (*seen, error) {
	for {
		v.mu.Lock()
		present, at, moved := v.present, v.at, v.moved
		v.mu.Unlock()
		if at >= sequence {
			return present, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// follow reads the system log until ctx ends.
func (v *view) follow(ctx context.Context, store eventlog.Store, log zerolog.Logger) {
	for told := false; ctx.Err() == nil; {
		err := v.read(ctx, store)
		if ctx.Err() != nil {
			return
		}
		if !told && !errors.Is(err, eventlog.ErrNotFound) { // a site that was never used has none
			log.Warn().Err(err).Msg("system log could not be followed, it is tried again")
			told = true
		}
		wait(ctx, pause)
	}
}

func (v *view) read(ctx context.Context, store eventlog.Store) error {
	system, err := store.Open(ctx, event.Reserved)
	if err != nil {
		return err
	}
	r, err := eventlog.Read(ctx, system, event.Chain{})
	if err != nil {
		return err
	}
	defer r.Stop()
	_, last, err := system.Bounds(ctx)
	if err != nil {
		return err
	}
	next, touched := &seen{plugins: map[string]*registry.Plugin{}, schemas: map[string]*schema.Schema{}, then: map[string]map[string]*schema.Schema{}, deletes: map[event.Hash]map[string]bool{}, logs: map[string]string{}, sealed: map[string][]string{}}, last == 0
	for {
		found, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if found.Standing == event.Counts {
			changed, err := next.learn(found.Commits)
			if err != nil {
				return fmt.Errorf("system log, sequence %d: %w", found.Sequence, err)
			}
			touched = touched || changed
		}
		if found.Sequence >= last { // not before: a plugin is not run by a configuration of yesterday
			v.show(next, found.Sequence, touched)
			next, touched = next.clone(), false
		}
	}
}

// show makes s the present view.
func (v *view) show(s *seen, at uint64, touched bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.present, v.at = s, at
	close(v.moved)
	v.moved = make(chan struct{})
	if touched {
		close(v.changed)
		v.changed = make(chan struct{})
	}
}

func (s *seen) clone() *seen {
	return &seen{maps.Clone(s.plugins), maps.Clone(s.schemas), maps.Clone(s.then), maps.Clone(s.deletes), maps.Clone(s.logs), maps.Clone(s.sealed)}
}

// learn takes up commits of the system log, and says whether they changed anything here.
func (s *seen) learn(commits []*event.Commit) (changed bool, err error) {
	for _, c := range commits {
		if c.Aggregate.Type != schema.SystemSchema && c.Aggregate.Type != schema.SystemPlugin {
			continue
		}
		for i := range c.Events {
			fields, err := event.DecodePayload(c.Events[i].Payload)
			if err != nil {
				return changed, err
			}
			values := map[string]string{}
			for _, f := range fields {
				values[f.Name] = f.Value
			}
			if err := s.learnEvent(c.Aggregate, c.Events[i].Type, values); err != nil {
				return changed, err
			}
			changed = true
		}
	}
	return changed, nil
}

func (s *seen) learnEvent(a event.AggregateID, eventType string, values map[string]string) error {
	if a.Type == schema.SystemPlugin {
		p, err := registry.Apply(s.plugins[a.ID], a.ID, eventType, values)
		if err != nil {
			return err
		}
		if s.plugins[a.ID] = p; eventType == registry.Configured {
			s.then[a.ID] = maps.Clone(s.schemas)
		}
		return nil
	}
	if eventType != "schema-migrated" {
		return nil
	}
	definition := []byte(values["definition"])
	var d schema.Definition // not schema.Parse: what a later program adds to definitions must not stop reading
	if err := json.Unmarshal(definition, &d); err != nil {
		return fmt.Errorf("schema %s: %w", a.ID, err)
	}
	version, err := strconv.ParseUint(values["version"], 10, 64)
	if err != nil {
		return fmt.Errorf("schema %s: %w", a.ID, err)
	}
	compiled, err := schema.Compile(d, version)
	if err == nil {
		s.schemas[a.ID] = compiled
	}
	deletes := map[string]bool{}
	for name, e := range d.Events {
		if e.Deletes {
			deletes[name] = true
		}
	}
	s.deletes[schema.Digest(definition)], s.logs[a.ID] = deletes, values["log"]
	sealed := slices.Clone(s.sealed[a.ID])
	for name, f := range d.Fields {
		if f.PII {
			sealed = append(sealed, name)
		}
	}
	slices.Sort(sealed)
	s.sealed[a.ID] = slices.Compact(sealed)
	return nil
}

// ends reports whether an event ended its aggregate, by the schema that it was checked against.
func (s *seen) ends(e *event.Event) bool {
	return aggregate.EndsByRollback(e) || s.deletes[e.SchemaDigest][e.Type]
}

// logsOf are the logs that hold the types, or those of all types, in ascending order.
func (s *seen) logsOf(types []string) []string {
	logs := map[string]bool{}
	for aggregateType, log := range s.logs {
		if len(types) == 0 || slices.Contains(types, aggregateType) {
			logs[log] = true
		}
	}
	return slices.Sorted(maps.Keys(logs))
}

// schemasFor are those that a plugin is opened with, by name: the newest ones. If its configuration does not fit these, as a mapping that names a field which an event type has lost, they are for each type
// what the configuration was checked against: so a plugin goes on behind a restart as it did before. former tells of that, and why.
func (s *seen) schemasFor(k *plugin.Kind, set plugin.Settings) (list []*schema.Schema, former error) {
	set.Schemas = inOrder(s.schemas)
	if _, former = k.Examine(set, Common()...); former == nil {
		return set.Schemas, nil
	}
	newest, mixed := set.Schemas, maps.Clone(s.schemas)
	maps.Copy(mixed, s.then[set.Name])
	set.Schemas = inOrder(mixed)
	if _, err := k.Examine(set, Common()...); err != nil {
		return newest, nil // it is not the schemas that it does not fit
	}
	return set.Schemas, former
}

func inOrder(schemas map[string]*schema.Schema) []*schema.Schema {
	list := slices.Collect(maps.Values(schemas))
	slices.SortFunc(list, func(a, b *schema.Schema) int { return strings.Compare(a.Aggregate, b.Aggregate) })
	return list
}

// wait waits that long, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
