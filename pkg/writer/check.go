package writer

import (
	"context"
	"slices"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// MigrationCheck is what a migration would change, and how the stored events stand to it.
type MigrationCheck struct {
	Type    string          `json:"type"`
	Changes []schema.Change `json:"changes"`
	Checked uint64          `json:"checked"` // stored events of the type
	Failing uint64          `json:"failing"` // of them, those that the draft would refuse today; they stay readable
	Reasons []Reason        `json:"reasons,omitempty"`
}

// Reason is one rule that stored events break, with the first event that does.
type Reason struct {
	Event   string `json:"event"`
	Field   string `json:"field,omitempty"`
	Detail  string `json:"detail"`
	Count   uint64 `json:"count"`
	Example string `json:"example"` // type/id
	Version uint64 `json:"version"`
}

const maxReasons = 100

// CheckMigration compares drafts with what is in force and checks every stored event of their types against them; it stores nothing. It reads the whole
// log of each type: about a second for a million events.
func (w *Writer) CheckMigration(ctx context.Context, aggregateType string) ([]MigrationCheck, *problem.Problem) {
	drafts, p := w.drafts(aggregateType)
	if p != nil {
		return nil, p
	}
	out := make([]MigrationCheck, 0, len(drafts))
	for _, name := range drafts {
		t := w.sys.now.Load().schemas[name]
		d, err := t.draft()
		if err != nil {
			continue // migrated or discarded meanwhile
		}
		next, err := schema.Compile(d, uint64(len(t.Versions)+1))
		if err != nil {
			return nil, problem.From(err)
		}
		m := MigrationCheck{Type: name, Changes: schema.Diff(t.current(), d)}
		if e := w.engine(logOf(next)); e != nil {
			if err := m.read(ctx, e.log, next); err != nil {
				return nil, problem.New(problem.Unavailable, "the stored events of %q cannot be read: %v", name, err)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

func (m *MigrationCheck) read(ctx context.Context, log eventlog.Log, next *schema.Schema) error {
	_, last, err := log.Bounds(ctx)
	if err != nil || last == 0 {
		return err
	}
	reader, err := eventlog.Read(ctx, log, event.Chain{})
	if err != nil {
		return err
	}
	defer reader.Stop()
	for reader.Chain().Sequence < last {
		f, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if f.Standing != event.Counts {
			continue
		}
		for _, c := range f.Commits {
			if c.Aggregate.Type == m.Type {
				m.commit(c, next)
			}
		}
	}
	return nil
}

func (m *MigrationCheck) commit(c *event.Commit, next *schema.Schema) {
	for i := range c.Events {
		m.Checked++
		fields, err := event.DecodePayload(c.Events[i].Payload)
		if err != nil {
			continue // DecodeBlock has decoded it already
		}
		broken := next.CheckStored(c.Events[i].Type, fields)
		if len(broken) > 0 {
			m.Failing++
		}
		for _, p := range broken {
			m.count(Reason{Event: c.Events[i].Type, Field: p.Field, Detail: p.Detail, Count: 1, Example: c.Aggregate.String(), Version: uint64(c.First) + uint64(i)})
		}
	}
}

func (m *MigrationCheck) count(r Reason) {
	same := slices.IndexFunc(m.Reasons, func(o Reason) bool { return o.Event == r.Event && o.Field == r.Field && o.Detail == r.Detail })
	if same >= 0 {
		m.Reasons[same].Count++
	} else if len(m.Reasons) < maxReasons {
		m.Reasons = append(m.Reasons, r)
	}
}
