package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

func TestDefinitionsOfYAML(t *testing.T) {
	got, err := definitionsOf([]byte(`
# a comment
aggregate: patient
snapshot-threshold: 25
fields:
  level: {type: enum, values: ["1", low, "yes"]}
  mail: &mail {type: email, max-length: 20}
  other: *mail
events:
  crp: {fields: [level, mail]}
  on: {}
---
- {aggregate: bed, events: {taken: {deletes: true}}}
- {"aggregate": "ward", "events": {"opened": {}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	mail := schema.Field{Type: schema.Email, MaxLength: 20}
	want := []schema.Definition{
		{Aggregate: "patient", SnapshotThreshold: 25,
			Fields: map[string]schema.Field{"level": {Type: schema.Enum, Values: []string{"1", "low", "yes"}}, "mail": mail, "other": mail},
			Events: map[string]schema.Event{"crp": {Fields: []string{"level", "mail"}}, "on": {}}},
		{Aggregate: "bed", Events: map[string]schema.Event{"taken": {Deletes: true}}},
		{Aggregate: "ward", Events: map[string]schema.Event{"opened": {}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
}

func TestBadSchemaFiles(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x]\n"
	for _, pair := range []string{"ba", "cb", "dc", "ed", "fe", "gf", "hg"} {
		name, inner := pair[:1], "*"+pair[1:]
		bomb += name + ": &" + name + " [" + strings.Repeat(inner+", ", 9) + inner + "]\n"
	}
	for name, text := range map[string]string{
		"empty": "", "a comment": "# nothing", "a word": "patient", "cut": "aggregate: [", "twice": "aggregate: a\naggregate: b\nevents: {x: {}}",
		"merge": "x: &x {aggregate: a}\ny:\n  <<: *x\n", "no name": "[a]: b", "a bomb": bomb, "itself": "a: &a [*a]",
		"deep": strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "NUL": "aggregate: \"a\\0b\"\nevents: {x: {}}",
	} {
		_, err := definitionsOf([]byte(text))
		var p *problem.Problem
		if !errors.As(err, &p) || len(err.Error()) > 1000 {
			t.Errorf("%s: got %.200v, want a problem", name, err)
		}
	}
}

func FuzzDefinitionsOf(f *testing.F) {
	f.Add([]byte("aggregate: a\nevents: {x: {fields: [b], required: [b]}}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("--- \n? [a]\n: <<"))
	f.Fuzz(func(t *testing.T, text []byte) {
		definitions, err := definitionsOf(text)
		if err != nil {
			return
		}
		for _, d := range definitions {
			again, err := definitionsOf(d.Canonical())
			if err != nil || len(again) != 1 || string(again[0].Canonical()) != string(d.Canonical()) {
				t.Errorf("%s came back as %+v (%v)", d.Canonical(), again, err)
			}
		}
	})
}
