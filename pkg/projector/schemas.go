package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// schemaMigrated is the system event that holds a schema version (docs/spec/commands.md, section 9).
const schemaMigrated = "schema-migrated"

// errSchemaUnknown: the system log's index does not hold a schema that an event names.
var errSchemaUnknown = errors.New("schema is not known")

// schemas is what the folding of events needs of every schema version that was ever migrated. Versions are found by digest, which the leaf
// hash covers; the version number stands under no hash.
type schemas struct {
	mu      sync.RWMutex                       // guards what follows
	deletes map[event.Hash]map[string]bool     // by schema digest: event types that end the aggregate
	logs    map[string]string                  // aggregate type -> log
	fields  map[string]map[string]schema.Field // aggregate type -> the fields of its newest schema
	version map[string]uint64                  // aggregate type -> that schema's version

	thresholds map[string]uint64 // by aggregate type: events between two snapshots, by the newest schema
}

func newSchemas() *schemas {
	return &schemas{deletes: map[event.Hash]map[string]bool{}, logs: map[string]string{}, fields: map[string]map[string]schema.Field{}, version: map[string]uint64{}, thresholds: map[string]uint64{}}
}

// deleting reports whether an event ended its aggregate, by the schema it was checked against. An event without a schema does not.
func (s *schemas) deleting(aggregateType, eventType string, digest event.Hash) (bool, error) {
	if digest == schema.RolledBackDigest {
		return eventType == aggregate.EventRolledBackEnded, nil
	}
	if event.IsReserved(aggregateType) {
		built := schema.System(aggregateType)
		return built != nil && built.Deletes(eventType), nil
	}
	if digest == (event.Hash{}) {
		return false, nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	types, ok := s.deletes[digest]
	if !ok {
		return false, fmt.Errorf("schema %s of %s: %w", digest, aggregateType, errSchemaUnknown)
	}
	return types[eventType], nil
}

// ends is deleting for the index: certain is false where the schema is not known.
func (s *schemas) ends(aggregateType string, e *event.Event) (ends, certain bool) {
	ends, err := s.deleting(aggregateType, e.Type, e.SchemaDigest)
	return ends, err == nil
}

// know reports whether the schemas of all events are known.
func (s *schemas) know(commits []*event.Commit) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var last event.Hash // zero: an event without a schema
	for _, c := range commits {
		if event.IsReserved(c.Aggregate.Type) {
			continue
		}
		for i := range c.Events {
			digest := c.Events[i].SchemaDigest
			if digest == last {
				continue
			}
			if _, ok := s.deletes[digest]; !ok && digest != (event.Hash{}) && digest != schema.RolledBackDigest {
				return false
			}
			last = digest
		}
	}
	return true
}

// fieldsOf gives the fields of an aggregate type, as its newest schema has them.
func (s *schemas) fieldsOf(aggregateType string) (map[string]schema.Field, bool) {
	if event.IsReserved(aggregateType) {
		built := schema.System(aggregateType)
		if built == nil {
			return nil, false
		}
		return built.Fields, true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	fields, ok := s.fields[aggregateType]
	return fields, ok
}

func (s *schemas) logOf(aggregateType string) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	log, ok := s.logs[aggregateType]
	return log, ok
}

func (s *schemas) learnBlock(found *eventlog.Found, log zerolog.Logger) {
	for _, c := range found.Commits {
		if err := s.learn(c); err != nil {
			log.Error().Err(err).Uint64("sequence", found.Sequence).Msg("stored schema cannot be read")
		}
	}
}

// learn takes up the schema versions in a commit of the system log; other commits it leaves alone. What it learns twice does no harm.
func (s *schemas) learn(c *event.Commit) error {
	if c.Aggregate.Type != schema.SystemSchema {
		return nil
	}
	var problems []error
	for i := range c.Events {
		if c.Events[i].Type == schemaMigrated {
			problems = append(problems, s.learnEvent(c, i))
		}
	}
	return errors.Join(problems...)
}

func (s *schemas) learnEvent(c *event.Commit, i int) error {
	fields, err := event.DecodePayload(c.Events[i].Payload)
	if err != nil {
		return fmt.Errorf("schema %s: %w", c.Aggregate.ID, err)
	}
	values := map[string]string{}
	for _, f := range fields {
		values[f.Name] = f.Value
	}
	definition := []byte(values["definition"])
	var d schema.Definition // not schema.Parse: what a later program adds to definitions must not stop reading
	if err := json.Unmarshal(definition, &d); err != nil {
		return fmt.Errorf("schema %s, version %s: %w", c.Aggregate.ID, values["version"], err)
	}
	types := map[string]bool{}
	for name, e := range d.Events {
		if e.Deletes {
			types[name] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deletes[schema.Digest(definition)] = types
	s.logs[c.Aggregate.ID] = values["log"]
	s.thresholds[c.Aggregate.ID] = uint64(max(d.SnapshotThreshold, 0))
	if version, err := strconv.ParseUint(values["version"], 10, 64); err == nil && version >= s.version[c.Aggregate.ID] {
		s.version[c.Aggregate.ID], s.fields[c.Aggregate.ID] = version, declared(&d)
	}
	return nil
}

// declared are the fields of a definition, those without rules too.
func declared(d *schema.Definition) map[string]schema.Field {
	fields := make(map[string]schema.Field, len(d.Fields))
	for _, e := range d.Events {
		for _, name := range e.Fields {
			fields[name] = schema.Field{}
		}
	}
	maps.Copy(fields, d.Fields)
	return fields
}

// readSchemas takes up every schema version in the index of the system log.
func (x *index) readSchemas(s *schemas) error {
	err := x.read(context.Background(), func(r *reading) error {
		ids, err := r.ids(schema.SystemSchema)
		if err != nil {
			return err
		}
		for _, id := range ids {
			err := r.each(event.AggregateID{Type: schema.SystemSchema, ID: id}, 1, func(c located) (bool, error) {
				return true, s.learn(c.Commit)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read schemas: %w", err)
	}
	return nil
}

// withSchemas runs a query again, once, if it met a schema that the index of the system log did not hold yet.
func (p *Projector) withSchemas(ctx context.Context, query func() error) error {
	err := query()
	if !errors.Is(err, errSchemaUnknown) {
		return err
	}
	if err := p.WaitForLatest(ctx, event.Reserved); err != nil {
		return err
	}
	if err = query(); errors.Is(err, errSchemaUnknown) {
		return problem.New(problem.Internal, "%v: the system log does not hold it", err).WithHint("restore the system log that belongs to this log")
	}
	return err
}
