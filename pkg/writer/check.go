package writer

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Migration is what putting a draft into force changes, and how the stored events stand to it.
type Migration struct {
	Type    string          `json:"type"`
	From    uint64          `json:"from"` // schema version; 0: the type is new
	To      uint64          `json:"to"`   // the same as From if nothing changes
	Changes []schema.Change `json:"changes"`
	Checked uint64          `json:"checked"` // a dry run: stored events of the type
	Failing uint64          `json:"failing"` // of them, those that the draft would refuse today; they stay readable
	Samples []string        `json:"samples,omitempty"`

	// Colliding are aggregates that share a value of a field which would become unique; while there are any the draft cannot be put into force.
	Colliding uint64 `json:"colliding,omitempty"`

	reasons []reason
	plain   map[string]uint64 // stored events that hold a field in plain text which becomes encrypted, by field
}

// reason is one rule that stored events break, with the first event that does.
type reason struct {
	event, field, detail string
	count                uint64
	example              event.AggregateID
	version              uint64
}

const maxReasons = 100

// CheckMigration compares drafts with what is in force and checks every stored event of their types against them; it stores nothing. It reads the whole
// log of each type.
func (w *Writer) CheckMigration(ctx context.Context, aggregateType string) ([]Migration, *problem.Problem) {
	drafts, p := w.drafts(aggregateType)
	if p != nil {
		return nil, p
	}
	out := make([]Migration, 0, len(drafts))
	for _, name := range drafts {
		m, next, err := w.planned(name)
		if err != nil {
			return nil, problem.From(err)
		}
		if e := w.engine(logOf(next)); e != nil {
			if err := m.read(ctx, e.log, next); err != nil {
				return nil, problem.New(problem.Unavailable, "the stored events of %q cannot be read: %v", name, err)
			}
			m.tell()
			if unique := newlyUnique(w.sys.now.Load().schemas[name].current(), next.Definition); len(unique) > 0 {
				found, err := duplicatesOf(ctx, w.sys, e.log, uniqueSet{name: unique})
				if err != nil {
					return nil, problem.New(problem.Unavailable, "the stored events of %q cannot be read: %v", name, err)
				}
				m.Colliding = found.aggregates
				for _, p := range found.pairs {
					m.Samples = append(m.Samples, p.Detail)
				}
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// planned compares the draft of a type with what is in force.
func (w *Writer) planned(name string) (Migration, *schema.Schema, error) {
	t := w.sys.now.Load().schemas[name]
	d, err := t.draft()
	if err != nil {
		return Migration{}, nil, problem.New(problem.Conflict, "the draft of %q is gone: somebody migrated or discarded it", name)
	}
	next, err := schema.Compile(d, uint64(len(t.Versions)+1))
	if err != nil {
		return Migration{}, nil, err
	}
	m := Migration{Type: name, From: uint64(len(t.Versions)), To: uint64(len(t.Versions) + 1), Changes: schema.Diff(t.current(), d)}
	if old := t.current(); old != nil && old.Digest == next.Digest {
		m.To = m.From
	}
	for _, f := range next.EncryptedFields() {
		if old := t.current(); old != nil && !old.Fields[f].PII {
			if m.plain == nil {
				m.plain = make(map[string]uint64)
			}
			m.plain[f] = 0
		}
	}
	return m, next, nil
}

func (m *Migration) read(ctx context.Context, log eventlog.Log, next *schema.Schema) error {
	return eachCommit(ctx, log, func(c *event.Commit) error {
		if c.Aggregate.Type == m.Type {
			m.commit(c, next)
		}
		return nil
	})
}

func (m *Migration) commit(c *event.Commit, next *schema.Schema) {
	for i := range c.Events {
		if aggregate.IsRollback(&c.Events[i]) {
			continue // of values that were checked when they were stored
		}
		m.Checked++
		fields, err := event.DecodePayload(c.Events[i].Payload)
		if err != nil {
			continue // DecodeBlock has decoded it already
		}
		for _, f := range fields {
			if n, encrypts := m.plain[f.Name]; encrypts && f.Set && !f.Sealed {
				m.plain[f.Name] = n + 1
			}
		}
		broken := next.CheckStored(c.Events[i].Type, fields)
		if len(broken) > 0 {
			m.Failing++
		}
		for _, p := range broken {
			m.count(reason{event: c.Events[i].Type, field: p.Field, detail: p.Detail, count: 1, example: c.Aggregate, version: uint64(c.First) + uint64(i)})
		}
	}
}

func (m *Migration) count(r reason) {
	same := slices.IndexFunc(m.reasons, func(o reason) bool { return o.event == r.event && o.field == r.field && o.detail == r.detail })
	if same >= 0 {
		m.reasons[same].count++
	} else if len(m.reasons) < maxReasons {
		m.reasons = append(m.reasons, r)
	}
}

// tell words the reasons, and what stays readable.
func (m *Migration) tell() {
	for _, f := range slices.Sorted(maps.Keys(m.plain)) {
		if n := m.plain[f]; n > 0 {
			m.Samples = append(m.Samples, fmt.Sprintf("warning: %d stored events hold the field %q in plain text, and keep it so: events are encrypted from the migration on, and data:forget does not reach these", n, f))
		}
	}
	for _, r := range m.reasons {
		m.Samples = append(m.Samples, fmt.Sprintf("%d events %s: %s; the first is %s version %d", r.count, r.event, r.detail, r.example, r.version))
	}
}
