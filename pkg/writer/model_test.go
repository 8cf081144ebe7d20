package writer_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// modelSchemas are the types of the model test. visit has a log of its own; the others share one.
var modelSchemas = []string{
	`{"aggregate":"ward","log":"patient","events":{"opened":{}}}`,
	`{"aggregate":"user","log":"patient","fields":{"email":{"unique":true}},"events":{"registered":{"fields":["email"]},"left":{"deletes":true}}}`,
	`{"aggregate":"visit","events":{"made":{"fields":["note"]}}}`,
}

// model is the writer as a plain map would be: what every command must lead to, and what must be stored behind it.
type model struct {
	history  map[event.AggregateID][]string // each event as text, in the order of versions
	ended    map[event.AggregateID]bool
	holds    map[string]map[event.AggregateID]string // by type and field: the unique value that each aggregate has
	accepted map[string]modelAccepted                // by log and command id
	left     map[string]uint64                       // units of each token
}

type modelAccepted struct {
	content string
	first   []event.Version
}

func newModel() *model {
	return &model{
		history: map[event.AggregateID][]string{}, ended: map[event.AggregateID]bool{}, holds: map[string]map[event.AggregateID]string{},
		accepted: map[string]modelAccepted{}, left: map[string]uint64{},
	}
}

// modelLogs says in which log each type lies; others do not exist.
var modelLogs = map[string]string{"patient": "patient", "ward": "patient", "user": "patient", "visit": "visit"}

// verdict is what a command must come to: first versions, or one of the codes.
type verdict struct {
	codes    []problem.Code // empty: success
	repeated bool
	first    []event.Version
}

func refused(codes ...problem.Code) verdict { return verdict{codes: codes} }

// decide says what a command must come to now. It changes nothing.
func (m *model) decide(r writer.Request) verdict {
	if v, bad := m.malformed(r); bad {
		return v
	}
	key, content := modelKey(r)
	if a, there := m.accepted[key]; there {
		if a.content != content {
			return refused(problem.CommandIDReused)
		}
		return verdict{repeated: true, first: a.first}
	}
	var codes []problem.Code
	var units uint64
	v := verdict{}
	for _, c := range r.Command.Changes {
		units += uint64(len(c.Events))
		v.first = append(v.first, event.Version(len(m.history[c.Aggregate])+1))
		switch {
		case slices.ContainsFunc(c.Events, func(e aggregate.NewEvent) bool { return !fitsModel(c.Aggregate.Type, e) }):
			codes = append(codes, problem.Invalid, problem.NotFound)
		case !m.met(c):
			codes = append(codes, problem.Conflict)
		}
	}
	if len(codes) == 0 && !m.free(r) {
		codes = append(codes, problem.Conflict)
	}
	if len(codes) == 0 && units > m.left[r.Token] {
		codes = append(codes, problem.BudgetSpent)
	}
	v.codes = codes
	return v
}

// malformed is what is wrong with a command whatever is stored.
func (m *model) malformed(r writer.Request) (verdict, bool) {
	logs, seen := map[string]bool{}, map[event.AggregateID]bool{}
	for _, c := range r.Command.Changes {
		if len(c.Events) == 0 || seen[c.Aggregate] || c.Aggregate.ID == "" {
			return refused(problem.Malformed), true
		}
		seen[c.Aggregate] = true
	}
	for _, c := range r.Command.Changes {
		log := modelLogs[c.Aggregate.Type]
		switch {
		case event.IsReserved(c.Aggregate.Type):
			return refused(problem.Forbidden), true
		case log == "":
			return refused(problem.NotFound), true
		}
		if logs[log] = true; len(logs) > 1 {
			return refused(problem.Invalid), true
		}
	}
	return verdict{}, false
}

func fitsModel(typ string, e aggregate.NewEvent) bool {
	value := ""
	for _, f := range e.Fields {
		value = f.Value
	}
	switch typ + "/" + e.Type {
	case "patient/registered":
		return len(e.Fields) == 1 && len(value) <= 20
	case "patient/crp":
		return !strings.Contains(value, "x")
	case "patient/died", "ward/opened", "user/registered", "user/left", "visit/made":
		return true
	}
	return false
}

func (m *model) met(c aggregate.Change) bool {
	n := len(m.history[c.Aggregate])
	there := n > 0 && !m.ended[c.Aggregate]
	switch expected := c.Expected.String(); expected {
	case "any":
		return true
	case "none":
		return !there
	case "exists":
		return there
	default:
		return expected == fmt.Sprint(n)
	}
}

const modelUnique = "user"

// holdsBehind is who has which address when the events of a command have happened, and who took one.
func (m *model) holdsBehind(r writer.Request) (holds map[event.AggregateID]string, took []event.AggregateID) {
	holds = maps.Clone(m.holds[modelUnique])
	if holds == nil {
		holds = map[event.AggregateID]string{}
	}
	for _, c := range r.Command.Changes {
		if c.Aggregate.Type != "user" {
			continue
		}
		before, had := holds[c.Aggregate]
		for _, e := range c.Events {
			if e.Type == "left" {
				delete(holds, c.Aggregate)
			}
			for _, f := range e.Fields {
				if f.Set {
					holds[c.Aggregate] = f.Value
				} else {
					delete(holds, c.Aggregate)
				}
			}
		}
		if value, has := holds[c.Aggregate]; has && (!had || value != before) {
			took = append(took, c.Aggregate)
		}
	}
	return holds, took
}

// free reports whether nobody else has what the command takes.
func (m *model) free(r writer.Request) bool {
	holds, took := m.holdsBehind(r)
	for _, a := range took {
		for other, value := range holds {
			if other != a && value == holds[a] {
				return false
			}
		}
	}
	return true
}

// apply notes a command that was stored.
func (m *model) apply(r writer.Request, first []event.Version) {
	m.holds[modelUnique], _ = m.holdsBehind(r)
	for _, c := range r.Command.Changes {
		for _, e := range c.Events {
			m.history[c.Aggregate] = append(m.history[c.Aggregate], eventText(e.Type, e.Fields, r.Command.ID))
			m.ended[c.Aggregate] = e.Type == "died" || e.Type == "left"
			m.left[r.Token]--
		}
	}
	key, content := modelKey(r)
	m.accepted[key] = modelAccepted{content: content, first: first}
}

func modelKey(r writer.Request) (key, content string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Token)
	for _, c := range r.Command.Changes {
		fmt.Fprintf(&b, "%s %s\n", c.Aggregate, c.Expected)
		for _, e := range c.Events {
			fmt.Fprintln(&b, eventText(e.Type, e.Fields, ""))
		}
	}
	return modelLogs[r.Command.Changes[0].Aggregate.Type] + " " + r.Command.ID, b.String()
}

func eventText(eventType string, fields []event.Field, command string) string {
	var b strings.Builder
	b.WriteString(eventType)
	for _, f := range fields {
		fmt.Fprintf(&b, " %s=%q,%v", f.Name, f.Value, f.Set)
	}
	return b.String() + " by " + command
}

// histories are the events of every aggregate of a user's type, as the logs hold them.
func (s *site) histories(logs ...string) map[event.AggregateID][]string {
	s.t.Helper()
	out := map[event.AggregateID][]string{}
	for _, name := range logs {
		for _, c := range s.commits(name) {
			for i := range c.Events {
				fields, err := event.DecodePayload(c.Events[i].Payload)
				if err != nil {
					s.t.Fatal(err)
				}
				if !event.IsReserved(c.Aggregate.Type) {
					out[c.Aggregate] = append(out[c.Aggregate], eventText(c.Events[i].Type, fields, c.CommandID))
				}
			}
		}
	}
	return out
}
