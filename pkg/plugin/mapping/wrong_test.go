package mapping_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// Everything that is wrong is told at once, each with its line.
func TestAllProblemsAtOnce(t *testing.T) {
	const text = `version: 2
document: row
types: [patient, person]
target: "{type}-{colour}"
key: "{type"
colour: red
rules:
  - when: {events: [patient-updated, patient-upated], if: event.stauts == "x", types: [bed]}
    fields:
      a: event.stauts
      b: deceased
      c: {from: state.ward, type: boolean}
      d: {from: state.infected, type: date}
      e: {from: meta.colour}
      f: {constant: x, type: integer}
      g: {from: state.name, constant: y}
      h: {from: state.name, type: colour}
      _id: state.name
      i: {constant: [1]}
  - copy: state
    rename: {nme: x, name: ""}
    except: [cpr]
    fields:
      a: {constant: true}
      a: state.name
      j.k: state.name
      j: state.name
  - when: {events: []}
  - 7
delete: sometimes
`
	problems := mapping.Check([]byte(text), schemas(t), mapping.Target{})
	all := ""
	for _, p := range problems {
		all += p.Error() + "\n"
	}
	for _, want := range []string{
		"line 1: version 2", "line 2: document is aggregate or event", `line 3: there is no aggregate type "person"; known are bed, patient`, "line 4: target: there is no placeholder {colour}",
		"line 5: key: a placeholder is a name", `line 6: the mapping has no key "colour"`, `line 8: there is no event type "patient-upated"`, "line 8: if: event.stauts is no field of these events; known are status",
		`line 8: "bed" is none of the mapping's types`, "line 10: a: event.stauts is no field of these events; known are status", `line 11: b: "deceased" is none of event.FIELD`,
		"line 12: c: state.ward is of the type enum in the schema and cannot become boolean", "line 13: d: state.infected is of the type bool in the schema and cannot become date",
		"line 14: e: there is no meta.colour", "line 15: f: the constant is not of the type integer", "line 16: g wants one of from and constant", `line 17: h: there is no type "colour"`,
		`line 18: "_id" is no field of a document`, "line 19: i: constant must be a text", "line 21: rename: nme is no field", "line 21: rename: name must be a text", "line 22: except: cpr is no field",
		`line 25: fields: the key "a" stands twice`, "line 28: when: events is empty", "line 28: the rule gives nothing", "line 29: the rule must be a list of keys", "line 30: delete is never",
		"line 1: j is a field, so it cannot hold the field j.k",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if t.Failed() {
		t.Log("\n" + all)
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "it is empty",
		"\t":                                   "no YAML",
		"[a, b]":                               "must be a list of keys",
		"types: patient\n---\ntypes: patient":  "more than one YAML document",
		"rules: &r [*r]":                       "anchors (&) and aliases (*) are not allowed",
		"a: &a [x, x]\nb: &b [*a, *a]":         "anchors (&)",
		"rules: []":                            "at least one rule",
		"types: patient\nkey: x":               "it wants {id}",
		"types: patient\nkey: '{id}{version}'": "neither {version} nor {leaf}",
		"types: [patient, bed]\ntarget: all\nkey: '{id}'\nrules: [{fields: {a: meta.id}}]":                            "key or target wants {type}",
		"types: [patient, bed]\ntarget: all\nkey: '{type}-{id}'\nrules: [{fields: {a: meta.id}}]":                     "between {type} and {id}",
		"types: [patient, bed]\ntarget: all\nkey: '{id}{type}'\nrules: [{fields: {a: meta.id}}]":                      "between {id} and {type}",
		"types: patient\ndocument: event\nkey: '{id}'":                                                                "events would share a document",
		"types: patient\ndocument: event\nkey: '{id}{version}'":                                                       "between {id} and {version}",
		"types: patient\ntarget: 'x-{year}'":                                                                          "no placeholder {year}",
		"types: patient\ndocument: event\ndelete: {events: patient-erased}":                                           "never deleted",
		"types: patient\ndocument: event\nrules: [{fields: {s: event.ssn}}]":                                          "is encrypted",
		"rules: [{fields: {a: state.age}}]":                                                                           "different types in different aggregate types",
		"types: patient\nrules: [{fields: {a: state.age}}, {fields: {a: state.name}}]":                                "of the type keyword here and integer in another rule",
		"types: patient\nrules: [{except: [age], fields: {a: state.age}}]":                                            "belong to copy",
		"types: patient\nrules: [{copy: all}]":                                                                        "copy is state or event",
		"types: patient\nrules: [{fields: {a: {from: meta.time, type: integer}}}]":                                    "meta.time is date and cannot become integer",
		"types: patient\nrules: [{when: {if: 'now() > 3'}, copy: state}]":                                             "no function",
		"types: patient\nrules: [{when: {if: 'all(1..1000000, true)'}, copy: state}]":                                 "if:",
		"types: patient\nrules: [{when: {if: '1 in 1..1000000'}, copy: state}]":                                       "ranges",
		"types: patient\nrules: [{when: {if: 'event[meta.id] == 1'}, copy: state}]":                                   "written event.FIELD",
		"types: patient\nrules: [{when: {if: 'event.status matches event.ward'}, copy: state}]":                       "wants a text in quotes",
		"types: patient\nrules: [{when: {if: 'let x = 1; true'}, copy: state}]":                                       "conditions do not have",
		"types: patient\nrules: [{when: {if: 'env.x == 1'}, copy: state}]":                                            `there is no "env"`,
		"types: patient\nrules: [{when: {if: 'event.status > 3'}, copy: state}]":                                      "no condition",
		"types: patient\nrules: [{when: {if: 'event.status'}, copy: state}]":                                          "no condition",
		"types: patient\nrules: [{when: {if: '1 +'}, copy: state}]":                                                   "no condition",
		"types: patient\nrules: [{when: {if: 'event.status == \"" + strings.Repeat("x", 1000) + "\"'}, copy: state}]": "at most 1000",
		"types: patient\nrules: [{when: {if: '" + strings.Repeat("not ", 240) + "true'}, copy: state}]":               "at most 200",
		"types: patient\nrules: [" + strings.Repeat("{copy: state},", 65) + "]":                                       "at most 64",
		"types: patient\nrules: [{fields: {" + strings.Repeat("a", 200) + ": meta.id}}]":                              "is no field of a document",
		"types: patient\nrules: [{fields: {a..b: meta.id}}]":                                                          "is no field of a document",
	} {
		_, err := mapping.Compile([]byte(text), schemas(t), mapping.Target{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestWithoutSchemas(t *testing.T) {
	if _, err := mapping.Compile([]byte("document: event"), nil, mapping.Target{}); err == nil || !strings.Contains(err.Error(), "no aggregate type yet") {
		t.Errorf("got %v", err)
	}
}

// What is huge, nested deeply, or wrong a million times is refused at once.
func TestHugeIsRefusedQuickly(t *testing.T) {
	fields := func(n int, value string) string {
		var b strings.Builder
		b.WriteString("types: patient\nrules:\n- fields:\n")
		for i := range n {
			fmt.Fprintf(&b, "    f%d: %s\n", i, value)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"10 MB":           "types: patient\n# " + strings.Repeat("x", 10<<20),
		"deep":            strings.Repeat("[", mapping.MaxBytes),
		"deep mapping":    strings.Repeat("{a: ", mapping.MaxBytes/5),
		"many fields":     fields(10000, "meta.id"),
		"many problems":   fields(9000, "x"),
		"a bomb":          "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nrules: [*c,*c,*c,*c,*c,*c,*c,*c,*c]",
		"deep expression": "types: patient\nrules: [{when: {if: '" + strings.Repeat("(", 999) + "'}, copy: state}]",
	} {
		began := time.Now()
		problems := mapping.Check([]byte(text), schemas(t), mapping.Target{})
		if took := time.Since(began); len(problems) == 0 || len(problems) > mapping.MaxProblems+1 || took > 5*time.Second {
			t.Errorf("%s: got %d problems in %s", name, len(problems), took)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		"types: patient", "document: event\ntypes: [patient]\ntarget: x-{year}\nkey: '{leaf}'", "types: patient\ndelete: {events: patient-updated, if: event.ward == 'A'}",
		"rules: [{when: {types: bed}, copy: state, rename: {age: a}, except: [ward]}, {fields: {k: {constant: 'no'}, l: {from: meta.version, type: keyword}}}]",
		"a: &a [*a]", "types: patient\nrules: [{when: {if: 'len(state.name) > 3 ? event.crp > 2 : true'}, copy: event}]",
	} {
		f.Add(seed)
	}
	known := schemas(f)
	f.Fuzz(func(t *testing.T, text string) { checkCompile(t, text, known) })
}

func checkCompile(t *testing.T, text string, known []*schema.Schema) {
	m, err := mapping.Compile([]byte(text), known, mapping.Target{})
	if err != nil {
		return
	}
	shown, err := m.YAML()
	if err != nil {
		t.Fatalf("show: %v", err)
	}
	if len(shown) > mapping.MaxBytes {
		return
	}
	again, err := mapping.Compile(shown, known, mapping.Target{})
	if err != nil {
		t.Fatalf("shown back it does not compile: %v\n%s", err, shown)
	}
	if twice, err := again.YAML(); err != nil || string(twice) != string(shown) {
		t.Errorf("got %s\nwant %s (%v)", twice, shown, err)
	}
	for _, c := range []string{"patient-registered", "patient-updated", "patient-erased"} {
		change := change(c, 3, set("crp", "1", "status", "x"), set("age", "3", "name", "n"))
		one, err := m.Map(change)
		two, err2 := again.Map(change)
		if (err == nil) != (err2 == nil) || document(one) != document(two) {
			t.Errorf("%s: got %s %v, want %s %v", c, document(two), err2, document(one), err)
		}
	}
}

func BenchmarkMap(b *testing.B) {
	m := compile(b, "types: patient\nrules: [{when: {events: patient-updated}, copy: state}]")
	c := change("patient-updated", 2, nil, set("age", "7", "born", "2001-02-03", "crp", "1.10", "infected", "true", "name", "Ada", "status", "ok", "ward", "A"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Map(c); err != nil {
			b.Fatal(err)
		}
	}
}
