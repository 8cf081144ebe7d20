package writer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// TypeInfo is the schema of one aggregate type: what is in force, and what is drafted.
type TypeInfo struct {
	Type       string          `json:"type"`
	Log        string          `json:"log"`
	Version    uint64          `json:"version"` // 0: never migrated
	Digest     string          `json:"digest,omitempty"`
	Definition json.RawMessage `json:"definition,omitempty"`
	Draft      json.RawMessage `json:"draft,omitempty"`
}

// Schemas lists all types by name.
func (w *Writer) Schemas() []TypeInfo {
	v := w.sys.now.Load()
	out := make([]TypeInfo, 0, len(v.schemas))
	for name, t := range v.schemas {
		if len(t.Versions) > 0 || t.Draft != nil {
			out = append(out, infoOf(name, t))
		}
	}
	slices.SortFunc(out, func(a, b TypeInfo) int { return strings.Compare(a.Type, b.Type) })
	return out
}

// Schema shows one type; not_found if it was never drafted.
func (w *Writer) Schema(aggregateType string) (TypeInfo, *problem.Problem) {
	t := w.sys.now.Load().schemas[aggregateType]
	if t == nil || len(t.Versions) == 0 && t.Draft == nil {
		return TypeInfo{}, w.unknownType(aggregateType)
	}
	return infoOf(aggregateType, t), nil
}

func infoOf(name string, t *typeState) TypeInfo {
	i := TypeInfo{Type: name, Log: name, Version: uint64(len(t.Versions)), Draft: t.Draft}
	if c := t.current(); c != nil {
		i.Log, i.Digest, i.Definition = logOf(c), c.Digest.String(), t.Versions[len(t.Versions)-1]
	}
	if d, err := t.draft(); err == nil && t.current() == nil && d.Log != "" {
		i.Log = d.Log
	}
	return i
}

func (t *typeState) draft() (schema.Definition, error) {
	if t == nil || t.Draft == nil {
		return schema.Definition{}, fmt.Errorf("no draft")
	}
	defs, err := schema.Parse(t.Draft)
	if err != nil || len(defs) != 1 {
		return schema.Definition{}, fmt.Errorf("draft does not parse: %w", err)
	}
	return defs[0], nil
}

// DraftSchema stores a definition that waits for its migration. The type's other draft, if any, is replaced.
func (w *Writer) DraftSchema(ctx context.Context, c *token.Claims, definition []byte) (TypeInfo, *problem.Problem) {
	defs, err := schema.Parse(definition)
	if err != nil {
		return TypeInfo{}, problem.From(err)
	}
	if len(defs) != 1 {
		return TypeInfo{}, problem.New(problem.Malformed, "%d definitions, one is wanted", len(defs))
	}
	if problems := defs[0].Check(); len(problems) > 0 {
		return TypeInfo{}, problem.Join(problems)
	}
	name := defs[0].Aggregate
	p := w.actBy(ctx, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		t := w.sys.now.Load().schemas[name]
		d := schema.CarryOver(t.latest(), defs[0])
		if p := incompatible(schema.Diff(t.latest(), d)); p != nil {
			return nil, p
		}
		return oneEvent(typeSchema, name, eventDrafted, map[string]string{"definition": string(d.Canonical())}), nil
	})
	if p != nil {
		return TypeInfo{}, p
	}
	return w.Schema(name)
}

func (t *typeState) latest() *schema.Schema {
	if t == nil {
		return nil
	}
	return t.current()
}

func incompatible(changes []schema.Change) *problem.Problem {
	for _, c := range changes {
		if !c.Compatible {
			return problem.New(problem.Invalid, "stored events forbid this change: %s", c.Text).WithHint("an event type is removed with `eventful schema:remove`; a type keeps its log for ever")
		}
	}
	return nil
}

// DiscardSchema drops the draft of a type, or all drafts if the type is empty. It gives the types whose draft was dropped.
func (w *Writer) DiscardSchema(ctx context.Context, c *token.Claims, aggregateType string) ([]string, *problem.Problem) {
	drafts, p := w.drafts(aggregateType)
	if p != nil {
		return nil, p
	}
	for i, name := range drafts {
		p := w.actBy(ctx, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
			return oneEvent(typeSchema, name, eventDiscarded, nil), nil
		})
		if p != nil {
			return drafts[:i], p
		}
	}
	return drafts, nil
}

// drafts names the types that have a draft: the one asked for, or all.
func (w *Writer) drafts(aggregateType string) ([]string, *problem.Problem) {
	var names []string
	for name, t := range w.sys.now.Load().schemas {
		if t.Draft != nil && (aggregateType == "" || name == aggregateType) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && aggregateType != "" {
		return nil, problem.New(problem.NotFound, "%q has no draft", aggregateType).WithHint("draft one with `eventful schema:create`, schema:alter or schema:apply")
	}
	slices.Sort(names)
	return names, nil
}

// Migrate puts drafts into force, each as its type's next schema version; an empty type means all. It returns when every log is decided under them, whichever process
// writes it. A draft that changes nothing is dropped. One that cannot be put into force holds back no other one: the problem says which are in force by then, and which are drafts still.
func (w *Writer) Migrate(ctx context.Context, c *token.Claims, aggregateType string) ([]Migration, *problem.Problem) {
	if p := w.cfg.Room(); p != nil { // before a log is made
		return nil, p
	}
	if p := w.sys.now.Load().noRollback("a migration"); p != nil { // before a log is frozen for it
		return nil, p
	}
	drafts, p := w.drafts(aggregateType)
	if p != nil {
		return nil, p
	}
	var done []Migration
	var pending []string
	var failed []*problem.Problem
	for _, name := range drafts {
		m, p := w.migrateOne(ctx, c, name)
		if p == nil {
			done = append(done, m)
			continue
		}
		if p.Code == problem.UnknownOutcome {
			name += " (perhaps in force)"
		}
		pending, failed = append(pending, name), append(failed, p)
	}
	p = w.Confirm(ctx, "the migration")
	if len(failed) > 0 {
		p = partly(done, pending, failed)
	}
	return done, p
}

// migrateOne is planned and migrate.
func (w *Writer) migrateOne(ctx context.Context, c *token.Claims, name string) (Migration, *problem.Problem) {
	if err := ctx.Err(); err != nil {
		return Migration{}, problem.New(problem.Unavailable, "the time was up before %q was migrated: %v", name, err).WithHint("migrate again")
	}
	m, _, err := w.planned(name)
	if err != nil {
		return m, problem.From(err)
	}
	return m, w.migrate(ctx, c, name)
}

// partly is the problem of a migration of several drafts, of which some failed.
func partly(done []Migration, pending []string, failed []*problem.Problem) *problem.Problem {
	p := problem.Join(failed)
	if len(done)+len(pending) == 1 {
		return p
	}
	in := []string{}
	for _, m := range done {
		in = append(in, m.Type)
	}
	if len(in) == 0 {
		in = append(in, "none of them")
	}
	p.Detail += fmt.Sprintf("; in force now: %s; still a draft: %s", strings.Join(in, ", "), strings.Join(pending, ", "))
	return p
}

// migrate makes the log first: a crash behind that leaves an empty stream, which the next try uses.
func (w *Writer) migrate(ctx context.Context, c *token.Claims, name string) *problem.Problem {
	d, err := w.sys.now.Load().schemas[name].draft()
	if err != nil {
		return problem.New(problem.Conflict, "the draft of %q is gone: somebody migrated or discarded it", name)
	}
	log := d.Log
	if log == "" {
		log = name
	}
	if err := w.openLog(ctx, log); err != nil {
		return problem.New(problem.Unavailable, "log %s cannot be opened: %v", log, err).WithHint("`eventful status` and the server's log say more")
	}
	t := w.sys.now.Load().schemas[name]
	if unique := newlyUnique(t.current(), d); len(unique) > 0 && t.current() != nil { // a new type has no events
		f := freeze{Type: name, Version: uint64(len(t.Versions) + 1)}
		return w.migrateUnique(ctx, c, log, f, uniqueSet{name: unique}, func(ctx context.Context, epoch uint64) *problem.Problem {
			return w.storeMigration(ctx, c, name, log, d, epoch)
		})
	}
	return w.storeMigration(ctx, c, name, log, d, 0)
}

// storeMigration records the draft as the type's next version, unless it was changed meanwhile or changes nothing. A freeze binds it to one epoch of the system
// log, unless that is 0.
func (w *Writer) storeMigration(ctx context.Context, c *token.Claims, name, log string, d schema.Definition, epoch uint64) *problem.Problem {
	p := w.actBy(ctx, c, func(*submission) ([]aggregate.Change, *problem.Problem) {
		if epoch > 0 && w.system.chain.Epoch != epoch {
			return nil, problem.New(problem.Unavailable, "the system log was taken over while %q was checked; nothing was stored", name).WithHint("migrate again")
		}
		if p := w.sys.now.Load().noRollback("a migration"); p != nil {
			return nil, p
		}
		t := w.sys.now.Load().schemas[name]
		now, err := t.draft()
		if err != nil || string(now.Canonical()) != string(d.Canonical()) {
			return nil, problem.New(problem.Conflict, "the draft of %q was changed meanwhile", name).WithHint("look at it with `eventful schema:show %s` and migrate again", name)
		}
		definition := string(d.Canonical())
		if old := t.current(); old != nil && old.Digest == schema.Digest([]byte(definition)) {
			return oneEvent(typeSchema, name, eventDiscarded, nil), nil
		}
		return oneEvent(typeSchema, name, eventMigrated, map[string]string{
			"definition": definition, "digest": schema.Digest([]byte(definition)).String(),
			"version": strconv.Itoa(len(t.Versions) + 1), "log": log,
		}), nil
	})
	return p
}

// notConfirmed: an act is stored, and some logs did not say in time that they decide under it.
func notConfirmed(what string, err error) *problem.Problem {
	return problem.New(problem.UnknownOutcome, "%s is stored, but these logs are not known to decide under it yet: %v", what, err).WithHint("`eventful status` names who writes each log")
}

// logOf is the log of a type: its own name unless the schema names another.
func logOf(s *schema.Schema) string {
	if event.IsReserved(s.Aggregate) {
		return event.Reserved
	}
	if s.Log != "" {
		return s.Log
	}
	return s.Aggregate
}

func (w *Writer) unknownType(t string) *problem.Problem {
	var known []string
	for name, s := range w.sys.now.Load().schemas {
		if s.current() != nil {
			known = append(known, name)
		}
	}
	slices.Sort(known)
	p := problem.New(problem.NotFound, "there is no aggregate type %q", t)
	if s := w.sys.now.Load().schemas[t]; s != nil {
		return p.WithHint("its schema is drafted and not yet migrated: `eventful schema:migrate -f`")
	}
	if len(known) == 0 {
		return p.WithHint("make one: `eventful schema:create --aggregate=%s --events=…`", t)
	}
	return p.WithHint("there are: %s", strings.Join(known[:min(len(known), 20)], ", "))
}
