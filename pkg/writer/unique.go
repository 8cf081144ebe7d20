package writer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/statestore"
	"github.com/eventfuldb/eventful/pkg/token"
)

// errOtherUnique: the state was kept for other unique fields than the schemas have now. Nothing is wrong with it; it is rebuilt as a doubted one is.
var errOtherUnique = fmt.Errorf("other fields are unique now: %w", statestore.ErrDoubted)

// maxUnique is the longest value, in bytes, of a unique field: it is a key of the state.
const maxUnique = 1024

// uniqueSet says which fields of which types are unique in one log: type to field names in ascending order.
type uniqueSet map[string][]string

// key is the set in one string, with a mark behind fields whose values are kept as keyed hashes: a state is kept for one set, and rebuilt from the log for another.
func (u uniqueSet) key(v *view) string {
	var b strings.Builder
	for _, t := range slices.Sorted(maps.Keys(u)) {
		b.WriteString(t + ":")
		for i, f := range u[t] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(f)
			if v.schemas[t].encrypted[f] {
				b.WriteByte('#')
			}
		}
		b.WriteByte(';')
	}
	return b.String()
}

// keyedMark begins what stands for the value of a field that is or was encrypted, before its keyed hash. No text begins with it: it is no UTF-8.
const keyedMark = "\xff"

// values says what stands for values of unique fields under one view.
type values struct {
	view *view
	keys *fieldkey.Keys
}

func (s *system) values(v *view) values { return values{view: v, keys: s.keys} }

// of is what stands for a value of a field: the text, or its keyed hash where the field is encrypted now or ever was. false: nobody can tell, as it
// was sealed before the field was unique.
func (v values) of(aggregateType string, f event.Field) (string, bool) {
	if f.Sealed {
		sealed, err := event.ParseSealed(f.Value)
		if err != nil || sealed.Unique == nil {
			return "", false
		}
		return keyedMark + string(sealed.Unique[:]), true
	}
	if t := v.view.schemas[aggregateType]; t != nil && t.encrypted[f.Name] && v.keys != nil {
		h := v.keys.UniqueHash(aggregateType, f.Name, f.Value)
		return keyedMark + string(h[:]), true
	}
	return f.Value, true
}

// uniqueIn collects the unique fields of the types of a log.
func (v *view) uniqueIn(log string) uniqueSet {
	u := make(uniqueSet)
	for name, t := range v.schemas {
		if s := t.current(); s != nil && logOf(s) == log && len(s.UniqueFields()) > 0 {
			u[name] = s.UniqueFields()
		}
	}
	return u
}

// claim is that a value of a field was taken by an aggregate, or given up by it.
type claim struct {
	key   string // of the state: type, field, value
	owner string // the aggregate's id; empty: nobody any more
	field string
}

func uniqueKey(aggregateType, field, value string) string {
	return keyUnique + aggregateType + "\x00" + field + "\x00" + value
}

// hold works out what an aggregate holds of unique fields behind events, and which values it takes and gives up for that.
func (u uniqueSet) hold(v values, a event.AggregateID, held map[string]string, events []aggregate.NewEvent, deletes func(i int) bool) (after map[string]string, claims []claim) {
	fields := u[a.Type]
	if len(fields) == 0 {
		return nil, nil
	}
	after = maps.Clone(held)
	if after == nil {
		after = make(map[string]string)
	}
	for i := range events {
		for _, f := range events[i].Fields {
			if _, is := slices.BinarySearch(fields, f.Name); !is {
				continue
			}
			value, known := "", false
			if f.Set {
				value, known = v.of(a.Type, f)
			}
			if known {
				after[f.Name] = value
			} else {
				delete(after, f.Name)
			}
		}
		if deletes(i) {
			clear(after)
		}
	}
	for _, f := range fields {
		before, had := held[f]
		value, has := after[f]
		if had && (!has || before != value) {
			claims = append(claims, claim{key: uniqueKey(a.Type, f, before), field: f})
		}
		if has && (!had || before != value) {
			claims = append(claims, claim{key: uniqueKey(a.Type, f, value), owner: a.ID, field: f})
		}
	}
	return after, claims
}

// other is the id of another aggregate that holds a value: by the command so far, then by blocks under way, then by the stored state. Empty: none does.
func (e *engine) other(key, self string, taken map[string]string) (string, error) {
	holders, ok := taken[key]
	if !ok {
		holders, ok = e.over.unique.get(key)
	}
	if !ok {
		var err error
		if holders, err = e.st.holders(key); err != nil {
			return "", err
		}
	}
	for h := range strings.SplitSeq(holders, holderSeparator) {
		if h != "" && h != self {
			return h, nil
		}
	}
	return "", nil
}

// claims works out what the changes of a command take and give up, and refuses values that another aggregate holds. All that is given up is free for the
// same command, also what a change gives up that is refused for something else; what the schema refuses takes nothing. Who holds a value is told to those only who may read it there.
func (e *engine) claims(s *submission, plan []planned) ([]*problem.Problem, error) {
	taken := make(map[string]string)
	for i := range plan {
		p := &plan[i]
		sch := e.under.schemaOf(p.change.Aggregate.Type)
		p.held, p.claims = e.unique.hold(e.sys.values(e.under), p.change.Aggregate, p.before.held, p.change.Events, func(i int) bool { return sch.Deletes(p.change.Events[i].Type) })
		for _, c := range p.claims {
			if c.owner == "" {
				taken[c.key] = ""
			}
		}
	}
	var problems []*problem.Problem
	for _, p := range plan {
		for _, c := range p.claims {
			if c.owner == "" || p.broken {
				continue
			}
			if len(c.key) > maxUnique+len(keyUnique)+len(p.change.Aggregate.Type)+len(c.field)+2 {
				problems = append(problems, aboutField(problem.TooLarge, c.field, "%s: the unique field %q has more than %d bytes", p.change.Aggregate, c.field, maxUnique))
				continue
			}
			owner, err := e.other(c.key, c.owner, taken)
			if err != nil {
				return nil, err
			}
			if owner != "" {
				holder := event.AggregateID{Type: p.change.Aggregate.Type, ID: owner}
				problems = append(problems, heldElsewhere(p.change.Aggregate, c.field, holder, s.claims.AllowsAggregate(token.ActionRead, holder)))
				continue
			}
			taken[c.key] = c.owner
		}
	}
	return problems, nil
}

// heldElsewhere says that another aggregate holds a value, and which one, if the asker may read it.
func heldElsewhere(a event.AggregateID, field string, holder event.AggregateID, readable bool) *problem.Problem {
	if !readable {
		return aboutField(problem.Conflict, field, "%s: the value of the unique field %q is held by another aggregate", a, field).WithHint("use another value; a token that may read the other aggregate is told which it is")
	}
	return aboutField(problem.Conflict, field, "%s: the value of the unique field %q is held by %s", a, field, holder).WithHint("use another value, or change or unset it there first")
}

func aboutField(code problem.Code, field, format string, args ...any) *problem.Problem {
	p := problem.New(code, format, args...)
	p.Field = field
	return p
}

// schemaOf is the schema in force under this view; nil if the type has none.
func (v *view) schemaOf(aggregateType string) *schema.Schema {
	if event.IsReserved(aggregateType) {
		return schema.System(aggregateType)
	}
	if t := v.schemas[aggregateType]; t != nil {
		return t.current()
	}
	return nil
}
