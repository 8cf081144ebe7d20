package mapping_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
	"github.com/eventfuldb/eventful/pkg/schema"
)

func schemas(t testing.TB) []*schema.Schema {
	t.Helper()
	var out []*schema.Schema
	for _, d := range []schema.Definition{
		{Aggregate: "patient", Fields: map[string]schema.Field{
			"age": {Type: schema.Integer}, "crp": {Type: schema.Decimal}, "born": {Type: schema.Date}, "infected": {Type: schema.Bool}, "ssn": {PII: true},
			"ward": {Type: schema.Enum, Values: []string{"A", "B"}}, "seen": {Type: schema.DateTime},
		}, Events: map[string]schema.Event{
			"patient-registered": {Fields: []string{"name", "age", "born", "ssn"}},
			"patient-updated":    {Fields: []string{"status", "ward", "infected", "crp", "seen"}},
			"patient-erased":     {Deletes: true},
		}},
		{Aggregate: "bed", Fields: map[string]schema.Field{"age": {Type: schema.Decimal}}, Events: map[string]schema.Event{"taken": {Fields: []string{"ward", "age"}}}},
	} {
		s, err := schema.Compile(d, 1)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func compile(t testing.TB, text string) *mapping.Mapping {
	t.Helper()
	m, err := mapping.Compile([]byte(text), schemas(t), mapping.Target{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func set(pairs ...string) (fields []event.Field) {
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, event.Field{Name: pairs[i], Value: pairs[i+1], Set: true})
	}
	return fields
}

func change(eventType string, version event.Version, fields, state []event.Field) *plugin.Change {
	return &plugin.Change{
		Aggregate: event.AggregateID{Type: "patient", ID: "Ä 1"}, Version: version, EventType: eventType, Deletes: eventType == "patient-erased", Fields: fields,
		State: &plugin.State{Fields: state}, Position: event.Position{Log: "patient", Sequence: 3},
		Meta: plugin.Meta{Site: "here", Actor: "doctor:who", Time: event.Time(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC).UnixNano())},
	}
}

func ended(c *plugin.Change) *plugin.Change {
	c.Deletes = true
	return c
}

// document writes an effect as one line: action target key {set} -unset whole.
func document(e mapping.Effect) string {
	b := []byte(string(e.Action) + " " + e.Target + " " + e.Key + " {")
	for i, c := range e.Set {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = c.Value.AppendJSON(append(b, c.Name+":"...))
	}
	b = append(b, '}')
	for _, name := range e.Unset {
		b = append(b, " -"+name...)
	}
	if e.Whole {
		b = append(b, " whole"...)
	}
	return string(b)
}

func TestMap(t *testing.T) {
	for name, test := range map[string]struct {
		mapping string
		change  *plugin.Change
		want    string
	}{
		"status: deceased updates exactly the mapped fields": {
			`rules: [{when: {events: patient-updated}, fields: {condition: event.status}}, {when: {events: patient-registered}, fields: {name: event.name, by: meta.actor}}]
types: patient`,
			change("patient-updated", 2, set("status", "deceased", "ward", "A"), set("name", "Ada")), `write patient Ä 1 {condition:"deceased", name:"Ada"}`,
		},
		"what the state gives as well makes the document whole": {
			`rules: [{when: {events: patient-updated}, fields: {condition: event.status}}, {when: {events: patient-registered}, fields: {name: event.name, age: event.age}}]
types: patient`,
			change("patient-updated", 2, set("status", "deceased", "ward", "A"), set("name", "Ada", "status", "deceased", "ward", "A")), `write patient Ä 1 {condition:"deceased", name:"Ada"} -age whole`,
		},
		"an event that does not give the field leaves it": {
			"types: [patient]\nrules: [{fields: {condition: event.status}}]", change("patient-updated", 2, set("ward", "A"), set("status", "ill", "ward", "A")), `write patient Ä 1 {condition:"ill"} whole`,
		},
		"a field that depends on a condition is left": {
			"types: [patient]\nrules: [{fields: {ward: event.ward}}, {when: {if: event.status == 'dead'}, fields: {died: meta.time}}]", change("patient-updated", 2, nil, nil), `write patient Ä 1 {} -ward`,
		},
		"a rollback brings fields back, whatever events a rule names": {
			"types: [patient]\nrules: [{when: {events: patient-updated}, fields: {s: event.status, by: meta.actor}}, {when: {events: patient-registered}, fields: {n: state.name}}, {fields: {last: meta.actor}}]",
			change("eventful-rolled-back", 4, set("status", "ill"), set("name", "Ada", "status", "ill")), `write patient Ä 1 {last:"doctor:who", n:"Ada", s:"ill"}`,
		},
		"a rollback to before the beginning deletes": {
			"types: [patient]\ndelete: {events: patient-updated}", ended(change("eventful-rolled-back-ended", 4, nil, nil)), "remove patient Ä 1 {} whole",
		},
		"a rollback deletes nothing else": {
			"types: [patient]\ndelete: {events: patient-updated}\nrules: [{fields: {n: state.name}}]", change("eventful-rolled-back", 4, nil, set("name", "Ada")), `write patient Ä 1 {n:"Ada"} whole`,
		},
		"a type that never has the field": {
			"rules: [{when: {types: bed}, fields: {a: event.ward}}, {when: {types: patient}, fields: {b: event.ward}}]", change("patient-updated", 2, nil, set("ward", "A")), `write patient Ä 1 {b:"A"} -a whole`,
		},
		"an event that unsets the field takes it out": {
			"types: patient\nrules: [{fields: {condition: event.status}}]", change("patient-updated", 2, []event.Field{{Name: "status"}}, nil), `write patient Ä 1 {} -condition whole`,
		},
		"state gives all, and what is not there is taken out": {
			"types: patient\nrules: [{fields: {n: state.name, a: state.age, i: state.infected, b: state.born, c: state.crp}}]",
			change("patient-updated", 2, nil, set("age", "007", "born", "2001-02-03", "crp", "1.10", "infected", "true")), `write patient Ä 1 {a:7, b:"2001-02-03", c:1.10, i:true} -n whole`,
		},
		"no rules copy the state": {
			"types: patient", change("patient-updated", 2, nil, set("name", "Ada \"Ü\"\n")), `write patient Ä 1 {name:"Ada \"Ü\"\n"} -age -born -crp -infected -seen -ssn -status -ward whole`,
		},
		"copy with rename and except": {
			"types: patient\nrules: [{when: {events: patient-updated}, copy: event, except: [crp, seen, infected], rename: {status: state}}]",
			change("patient-updated", 2, set("status", "ok", "ward", "B"), nil), `write patient Ä 1 {state:"ok", ward:"B"} whole`,
		},
		"constants and types": {
			`types: patient
rules: [{fields: {a: {constant: 12}, b: {constant: "12"}, c: {constant: true}, d: {constant: 1.5}, e: {constant: 12, type: keyword}, f: {from: meta.version, type: keyword}, g: meta.time}}]`,
			change("patient-updated", 2, nil, nil), `write patient Ä 1 {a:12, b:"12", c:true, d:1.5, e:"12", f:"2", g:"2026-01-02T03:04:05.000000006Z"} whole`,
		},
		"templates": {
			"types: patient\ntarget: h-{type}-{log}-{site}\nkey: '{type}/{id}'", change("patient-updated", 2, nil, nil),
			"write h-patient-patient-here patient/Ä 1 {} -age -born -crp -infected -name -seen -ssn -status -ward whole",
		},
		"a document for each event": {
			"types: patient\ndocument: event\ntarget: log-{year}-{month}-{day}\nrules: [{fields: {s: event.status, w: event.ward}}]", change("patient-updated", 2, set("status", "ok"), nil),
			`write log-2026-01-02 Ä 1/2 {s:"ok"} whole`,
		},
		"an event that ends the aggregate deletes":    {"types: patient", change("patient-erased", 3, nil, nil), "remove patient Ä 1 {} whole"},
		"unless it must not":                          {"types: patient\ndelete: never\nrules: [{fields: {n: state.name}}]", change("patient-erased", 3, nil, nil), "write patient Ä 1 {} -n whole"},
		"another event deletes":                       {"types: patient\ndelete: {events: patient-updated, if: event.status == 'gone'}", change("patient-updated", 3, set("status", "gone"), nil), "remove patient Ä 1 {} whole"},
		"another event does not delete":               {"types: patient\ndelete: {events: patient-registered}\nrules: [{fields: {n: state.name}}]", change("patient-erased", 3, nil, nil), "write patient Ä 1 {} -n whole"},
		"no rule is about the event":                  {"types: patient\nrules: [{when: {events: patient-registered}, copy: event}]", change("patient-updated", 3, nil, nil), "nothing   {}"},
		"no rule is about the type":                   {"types: bed", change("patient-updated", 3, nil, nil), "nothing   {}"},
		"the later rule wins":                         {"types: patient\nrules: [{fields: {s: event.status}}, {when: {if: 'event.status == \"dead\"'}, fields: {s: {constant: gone}}}]", change("patient-updated", 3, set("status", "dead"), nil), `write patient Ä 1 {s:"gone"} whole`},
		"an earlier one stays if the later has none":  {"types: patient\nrules: [{fields: {s: event.ward}}, {fields: {s: event.status}}]", change("patient-updated", 3, set("ward", "A"), nil), `write patient Ä 1 {s:"A"} whole`},
		"types that differ need one that fits all":    {"types: [patient, bed]\nrules: [{fields: {a: {from: state.age, type: decimal}}}]", change("patient-updated", 3, nil, set("age", "3")), "write patient Ä 1 {a:3} whole"},
		"types are told apart where they share a key": {"types: [patient, bed]\ntarget: all\nrules: [{fields: {w: state.ward}}]", change("patient-updated", 3, nil, nil), "write all patient/Ä 1 {} -w whole"},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := compile(t, test.mapping).Map(test.change)
			if err != nil {
				t.Fatal(err)
			}
			if got := document(e); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	full := change("patient-updated", 7, set("crp", "20.5", "infected", "false", "status", "ill", "ward", "A"), set("age", "70", "name", "Ada"))
	for text, want := range map[string]bool{
		`event.status == "ill"`: true, `event.status != "ill"`: false, `event.crp > 20 && state.age >= 70`: true, `event.crp == 20.5`: true, `state.age == 70`: true,
		`event.infected`: false, `not event.infected`: true, `event.infected == false`: true, `event.status in ["ill", "dead"]`: true, `state.age in [60, 70]`: true,
		`meta.actor startsWith "doctor:"`: true, `meta.version > 6`: true, `lower(state.name) == "ada"`: true, `len(state.name) == 3`: true, `state.name matches "^A.a$"`: true,
		`state.born == nil`: true, `state.born != nil`: false, `state.name != nil`: true, `event.seen > "2026"`: false, `not (event.seen > "2026")`: false,
		`(state.born ?? "none") == "none"`: true, `event.crp > 20 ? event.ward == "A" : false`: true, `state.crp > 3`: false, `meta.occurred_at == nil`: true, `meta.time > "2026"`: true,
	} {
		m := compile(t, "types: patient\nrules: [{when: {if: '"+text+"'}, fields: {x: meta.id}}]")
		if e, err := m.Map(full); err != nil || (e.Action == mapping.Write) != want {
			t.Errorf("%s: got %s, %v, want %t", text, e.Action, err, want)
		}
	}
}

func TestWhatCannotBeMapped(t *testing.T) {
	for name, test := range map[string]struct {
		mapping string
		change  *plugin.Change
		want    string
	}{
		"a value that is not of its type": {"types: patient\nrules: [{fields: {n: {from: state.name, type: integer}}}]", change("patient-updated", 1, nil, set("name", "secret")), "n from state.name: the value is not of the type integer"},
		"a number beyond 64 bits":         {"types: patient\nrules: [{fields: {a: state.age}}]", change("patient-updated", 1, nil, set("age", "9223372036854775808")), "a from state.age: the value is not of the type integer"},
		"a key that is too long":          {"types: patient\nkey: '" + strings.Repeat("k", 600) + "/{id}'", change("patient-updated", 1, nil, nil), "the key has 605 bytes"},
	} {
		e, err := compile(t, test.mapping).Map(test.change)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") || e.Action != mapping.Nothing {
			t.Errorf("%s: got %v %v, want %q", name, e, err, test.want)
		}
	}
}

func TestKeeps(t *testing.T) {
	for text, want := range map[string]bool{
		"types: patient": false, "types: patient\ndocument: event": false, "types: patient\nrules: [{fields: {a: event.age}}]": false,
		"types: patient\nrules: [{fields: {a: state.age, b: meta.actor}}]":                                                                      false,
		"types: patient\nrules: [{when: {if: state.age > 3}, fields: {a: state.age, b: meta.actor}}]":                                           false,
		"types: patient\nrules: [{copy: state}, {when: {events: patient-erased}, fields: {b: meta.id}}]":                                        true,
		"types: patient\nrules: [{copy: state}, {when: {if: state.age > 3}, fields: {b: {constant: 1}}}]":                                       true,
		"types: patient\nrules: [{when: {events: patient-updated}, fields: {a: event.ward, b: event.status}}]":                                  false,
		"types: patient\nrules: [{when: {events: patient-registered}, fields: {a: event.age}}, {when: {events: patient-updated}, copy: event}]": false,
		"types: patient\nrules: [{when: {events: patient-updated, if: event.ward == 'A'}, fields: {a: event.ward}}]":                            true,
		"types: patient\nrules: [{fields: {a: event.ward}}, {when: {if: event.ward == 'A'}, fields: {a: {constant: B}}}]":                       true,
		"types: patient\nrules: [{when: {events: patient-registered}, fields: {a: state.ward}}, {copy: state}]":                                 true,
	} {
		if got := compile(t, text).Keeps(); got != want {
			t.Errorf("%s: got %t, want %t", text, got, want)
		}
	}
}

func TestColumns(t *testing.T) {
	want := []mapping.Column{{"age", mapping.Integer}, {"born", mapping.Date}, {"crp", mapping.Decimal}, {"infected", mapping.Boolean}, {"name", mapping.Keyword},
		{"seen", mapping.Date}, {"ssn", mapping.Keyword}, {"status", mapping.Keyword}, {"ward", mapping.Keyword}}
	if diff := cmp.Diff(want, compile(t, "types: patient").Columns()); diff != "" {
		t.Error(diff)
	}
}

func TestShownBackIsTheSame(t *testing.T) {
	for _, text := range []string{
		"types: patient", "document: event\ntypes: [patient]\ntarget: x-{year}", "types: patient\ndelete: never", "types: patient\ndelete: {events: patient-updated, if: event.ward == 'A'}",
		"rules: [{when: {types: bed}, copy: state, rename: {age: a}}, {when: {events: [taken, patient-erased], if: 'meta.actor != \"x\"'}, fields: {k: {constant: 'no'}, l: {constant: 2, type: decimal}}}]",
	} {
		m := compile(t, text)
		shown, err := m.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := compile(t, string(shown)).YAML()
		if diff := cmp.Diff(string(shown), string(again)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
}

func TestShown(t *testing.T) {
	shown, err := compile(t, "types: patient\nrules: [{when: {events: patient-updated}, copy: event, except: [crp, seen]}, {fields: {by: meta.actor, v: {constant: 1}}}]").YAML()
	want := `version: "1"
document: aggregate
types: [patient]
target: '{type}'
key: '{id}'
rules:
  - when:
      events: [patient-updated]
    fields:
      infected: {from: event.infected, type: boolean}
      status: {from: event.status, type: keyword}
      ward: {from: event.ward, type: keyword}
  - fields:
      by: {from: meta.actor, type: keyword}
      v: {constant: "1", type: integer}
`
	if diff := cmp.Diff(want, string(shown)); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// What comes from an encrypted field, or depends on one, is taken out when it is forgotten; nothing else is.
func TestForgotten(t *testing.T) {
	forget := change("eventful-forgotten", 0, nil, nil)
	forget.State, forget.Forgotten, forget.Fields = nil, true, []event.Field{{Name: "ssn"}}
	for text, want := range map[string][]string{
		"types: patient":                         {"ssn"},
		"rules: [{fields: {number: event.ssn}}]": {"number"},
		"types: patient\nrules:\n  - fields: {a: event.age, b: state.ssn}\n  - {when: {if: state.ssn == \"1\"}, fields: {c: {constant: true}, d: meta.actor}}": {"b", "c", "d"},
		"types: patient\nrules: [{copy: state, except: [ssn]}]": nil,
		"types: bed": nil,
		"document: event\ntypes: patient\nrules: [{copy: event}]": nil,
	} {
		e, err := compile(t, text).Map(forget)
		action := mapping.Forget
		if want == nil {
			action = mapping.Nothing
		}
		if err != nil || e.Action != action || !cmp.Equal(e.Unset, want) || len(e.Set) > 0 {
			t.Errorf("%s: got %+v, %v, want %s of %v", text, e, err, action, want)
		}
	}
}

// Without rules a mapping is about the types that the plugin gets; one that says more is taken at its word.
func TestTypesOfThePlugin(t *testing.T) {
	for _, one := range []struct {
		text    string
		types   []string
		want    []string
		columns int
	}{
		{"version: 1", []string{"bed"}, []string{"bed"}, 2},
		{"version: 1", []string{"gone", "bed"}, []string{"bed"}, 2},
		{"types: patient", []string{"bed"}, []string{"patient"}, 9},
		{"rules: [{when: {events: taken}, copy: event}, {when: {events: patient-updated}, fields: {crp: event.crp}}]", []string{"bed"}, []string{"bed", "patient"}, 3},
	} {
		m, err := mapping.Compile([]byte(one.text), schemas(t), mapping.Target{Types: one.types})
		if err != nil {
			t.Fatalf("%s: %v", one.text, err)
		}
		if diff := cmp.Diff(one.want, m.Types); diff != "" {
			t.Errorf("%s, of types %v: %s", one.text, one.types, diff)
		}
		if n := len(m.Columns()); n != one.columns {
			t.Errorf("%s, of types %v: got %d columns, want %d", one.text, one.types, n, one.columns)
		}
	}
}
