package importer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

const fullMapping = `
id: case
event:
  column: activity
  values: { ER Triage: er-triage, "CRP": crp }
occurred-at: { column: time, layout: "2006-01-02 15:04", zone: Europe/Amsterdam }
fields:
  Age: age
  Infected: { field: infected, values: &bool { True: "true", False: "false" }, omit: [empty, false] }
  Note: { field: note, omit: [] }
  Shock: { field: shock, values: *bool }
token: group
`

// details are the failing checks of an error, one a line.
func details(err error) string {
	p := problem.From(err)
	var b strings.Builder
	for _, one := range append([]*problem.Problem{p}, p.Problems...) {
		b.WriteString(one.Detail + "\n")
	}
	return b.String()
}

func TestParseMapping(t *testing.T) {
	got, err := importer.ParseMapping([]byte(fullMapping))
	if err != nil {
		t.Fatal(err)
	}
	bools := map[string]string{"True": "true", "False": "false"}
	want := &importer.Mapping{
		ID:         "case",
		Event:      importer.EventMapping{Column: "activity", Values: map[string]string{"ER Triage": "er-triage", "CRP": "crp"}},
		OccurredAt: &importer.TimeMapping{Column: "time", Layout: "2006-01-02 15:04", Zone: got.OccurredAt.Zone},
		Fields: []importer.FieldMapping{
			{Column: "Age", Field: "age", OmitEmpty: true},
			{Column: "Infected", Field: "infected", Values: bools, OmitEmpty: true, OmitFalse: true},
			{Column: "Note", Field: "note"},
			{Column: "Shock", Field: "shock", Values: bools, OmitEmpty: true},
		},
		Token: "group",
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); diff != "" {
		t.Errorf("mapping (-want +got):\n%s", diff)
	}
	if got.OccurredAt.Zone.String() != "Europe/Amsterdam" {
		t.Errorf("zone: got %s, want Europe/Amsterdam", got.OccurredAt.Zone)
	}
}

// TestParseMappingNamesEverything: one mapping with every kind of mistake; all are listed with their lines.
func TestParseMappingNamesEverything(t *testing.T) {
	_, err := importer.ParseMapping([]byte(`id: ""
event: { column: activity, values: { a: Not-Allowed, b: } }
occured-at: time
occurred-at: { column: time, layout: "02-01 15:04", zone: Mars/Base }
fields:
  Age: 1age
  Old: { field: x, omit: [nothing] }
  New: { field: x, valuez: {} }
  Age: age
token: [a]
`))
	got := details(err)
	for _, want := range []string{
		"line 1: id must be a text", "line 2: event type \"Not-Allowed\"", `line 2: event: values: "b" must be given a text`, `line 3: the mapping has no key "occured-at"`,
		`zone "Mars/Base"`, `line 6: fields: "Age": field "1age"`, "omit knows empty and false, not \"nothing\"", `has no key "valuez"`,
		`the columns "Old" and "New" both give the field "x"`, `line 9: fields: the key "Age" stands twice`, "line 10: token must be a text",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got no %q in:\n%s", want, got)
		}
	}
}

func TestParseMappingRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "the mapping is empty",
		"a: [":                                 "no YAML",
		"- id":                                 "must be a YAML mapping",
		"event: {always: x}":                   "lacks the key id",
		"id: a":                                "lacks the key event",
		"id: a\nevent: {}":                     "event lacks the key column",
		"id: a\nevent: crp":                    "event must be a YAML mapping",
		"id: a\n---\nid: b":                    "more than one YAML document",
		"id: a\nevent: {always: x, column: y}": "always stands alone",
		"id: a\nevent: {always: x}\noccurred-at: {column: t, layout: 2006-01-02}":       "holds no offset",
		"id: a\nevent: {always: x}\noccurred-at: {column: t, layout: ISO8601}":          "does not hold year",
		"id: a\nevent: {always: x}\noccurred-at: {column: t, layout: \"15:04Z07:00\"}":  "does not hold year",
		"id: a\nevent: {always: x}\noccurred-at: {column: t, layout: rfc3339, zone: 1}": "is no zone",
		"id: a\nevent: {column: c, values: {}}":                                         "values is empty",
	} {
		if _, err := importer.ParseMapping([]byte(in)); problem.From(err).Code != problem.Malformed || !strings.Contains(details(err), want) {
			t.Errorf("mapping %q: got %v, want %q", in, err, want)
		}
	}
}

func TestCheckAgainstHeaderAndSchema(t *testing.T) {
	m, err := importer.ParseMapping([]byte(fullMapping))
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{"age", "infected", "note", "shock"}
	good := schema.Definition{Aggregate: "patient", Events: map[string]schema.Event{"er-triage": {Fields: fields, Required: []string{"shock"}}, "crp": {}, "other": {Required: []string{"zzz"}}}}
	header := []string{"case", "activity", "time", "Age", "Infected", "Note", "Shock", "group", "more"}
	if err := m.Check(header, good); err != nil {
		t.Errorf("got %v, want no problem", err)
	}
	if err := m.Check(nil, good); err != nil {
		t.Errorf("without a header: got %v, want no problem", err)
	}
	bad := schema.Definition{Aggregate: "patient", Events: map[string]schema.Event{"er-triage": {Fields: fields[:3], Required: []string{"weight"}}, "crp": {Removed: true}}}
	got := details(m.Check([]string{"case", "activity", "time", "Infected", "Note", "Note", "Shock"}, bad))
	for _, want := range []string{
		`fields: the file has no column "Age"`, `token: the file has no column "group"`, `has the column "Note" 2 times`, `has no event "crp"`,
		`"er-triage" requires the field "weight"`, `"Shock" gives the field "shock", which no event`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got no %q in:\n%s", want, got)
		}
	}
}

func TestParseTokens(t *testing.T) {
	got, err := importer.ParseTokens([]byte("A: tok.a\n\"?\": tok.q\nN: tok.n\n"))
	if diff := cmp.Diff(map[string]string{"A": "tok.a", "?": "tok.q", "N": "tok.n"}, got); err != nil || diff != "" {
		t.Errorf("error %v, tokens (-want +got):\n%s", err, diff)
	}
	for _, in := range []string{"", "secret-token", "A: {b: secret-token}", "A: \"\"", "[secret-token]"} {
		if _, err := importer.ParseTokens([]byte(in)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("tokens %q: got %v, want an error that shows no token", in, err)
		}
	}
}

func FuzzParseMapping(f *testing.F) {
	f.Add(fullMapping)
	f.Add("id: a\nevent: {always: x}\n")
	f.Add("&a [*a]")
	f.Add("id: &a {b: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := importer.ParseMapping([]byte(text)); err == nil && (m.ID == "" || m.Event.Column == "" && m.Event.Always == "") {
			t.Fatalf("mapping %q: accepted without id or event", text)
		}
	})
}
