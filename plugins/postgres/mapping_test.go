package postgres_test

import (
	"os"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/plugins/postgres"
)

// hospital has two aggregate types, with fields of all sorts.
func hospital(t *testing.T) (all []*schema.Schema) {
	for _, d := range []schema.Definition{
		{Aggregate: "patient", Fields: map[string]schema.Field{"crp": {Type: schema.Decimal}, "age": {Type: schema.Integer}, "infected": {Type: schema.Bool}, "seen": {Type: schema.DateTime}, "born": {Type: schema.Date}, "ssn": {PII: true}},
			Events: map[string]schema.Event{"patient-admitted": {Fields: []string{"name", "age", "born", "ssn"}}, "patient-updated": {Fields: []string{"name", "status", "crp", "infected", "seen"}}, "patient-erased": {Deletes: true}}},
		{Aggregate: "blood-test", Events: map[string]schema.Event{"taken": {Fields: []string{"result"}}}},
	} {
		s, err := schema.Compile(d, 1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// mapped opens the plugin with a mapping.
func (b *base) mapped(t *testing.T, text string, more ...string) (plugin.Plugin, error) {
	t.Helper()
	v := plugin.Values{"mapping": text}
	for i := 0; i < len(more); i += 2 {
		v[more[i]] = more[i+1]
	}
	k := postgres.Kind()
	s := plugin.Settings{Name: "pg", Site: "here", Options: b.settings(v), Schemas: hospital(t)}
	options, err := k.Examine(s, plugin.Option{Name: "on-error"})
	if err != nil {
		t.Fatal(err)
	}
	s.Options = options
	p, err := k.Open(t.Context(), s)
	if err == nil {
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return p, err
}

func (b *base) mustMap(t *testing.T, text string, more ...string) plugin.Plugin {
	t.Helper()
	p, err := b.mapped(t, text, more...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantDone(t *testing.T, p plugin.Plugin, changes ...plugin.Change) {
	t.Helper()
	for i, o := range deliver(t, p, changes...) {
		if o.Status != plugin.StatusDone {
			t.Errorf("version %d: got %s, %v", changes[i].Version, o.Status, o.Err)
		}
	}
}

// TestMappedFieldsAlone: a rule with a condition writes exactly its columns; others of the row stay, and nothing late or repeated takes them back.
func TestMappedFieldsAlone(t *testing.T) {
	b := start(t)
	b.exec("CREATE TABLE wards (aggregate_type text, aggregate_id text, version bigint, condition text, died timestamptz, closed boolean, by text, kept text DEFAULT 'theirs', PRIMARY KEY (aggregate_type, aggregate_id))")
	p := b.mustMap(t, `
types: patient
target: wards
rules:
  - when: {events: patient-updated}
    fields: {condition: event.status, by: meta.actor}
  - when: {events: patient-updated, if: event.status == "deceased"}
    fields: {died: meta.time, closed: {constant: true}}
`, "on-error", "block")
	admitted, sick, died, noted := plugintest.Change("a", 1, "name", "Ada"), plugintest.Change("a", 2, "status", "sick"), plugintest.Change("a", 3, "status", "deceased"), plugintest.Change("a", 4, "name", "Ada L.")
	noted.State = &plugin.State{Fields: append(died.State.Fields[:0:0], noted.Fields[0], died.Fields[0])}
	other := plugintest.Change("a", 1)
	other.Aggregate, other.EventType = event.AggregateID{Type: "blood-test", ID: "a"}, "taken"
	wantDone(t, p, admitted, sick, other)
	const query = "SELECT aggregate_type, version, condition, died IS NOT NULL, closed, by, kept FROM wards"
	if got := b.row(query); got != "patient|2|sick|f|NULL|dr.house|theirs" {
		t.Errorf("got %s", got)
	}
	b.exec("UPDATE wards SET kept = 'written by somebody else'")
	wantDone(t, p, died, noted, sick, died, admitted)
	if got := b.row(query); got != "patient|4|deceased|t|t|dr.house|written by somebody else" {
		t.Errorf("got %s", got)
	}
	if got := b.row("SELECT count(*) FROM wards"); got != "1" {
		t.Errorf("got %s rows", got)
	}
	wantDone(t, p, plugintest.Delete("a", 5), noted)
	if got := b.row("SELECT count(*) FROM wards"); got != "0" {
		t.Errorf("a deleted aggregate has %s rows", got)
	}
}

// TestKeyColumn: a table of somebody's own, told by the key of the mapping; the same versions guard it.
func TestKeyColumn(t *testing.T) {
	b := start(t)
	b.exec(`CREATE TABLE "pat-ients" (no varchar(80) PRIMARY KEY, full_name text, everything jsonb)`, "CREATE TABLE log (no text PRIMARY KEY, what text)")
	p := b.mustMap(t, "types: patient\ntarget: pat-ients\nkey: 'P-{id}'\nrules: [{fields: {full_name: state.name}}]", "key-column", "no", "json", "everything")
	e := b.mustMap(t, "types: patient\ndocument: event\ntarget: log\nkey: '{leaf}'\nrules: [{when: {events: patient-updated}, fields: {what: event.name}}]", "key-column", "no")
	if err := p.Test(t.Context()); err != nil {
		t.Error(err)
	}
	one, two := plugintest.Change("ä 1", 1, "name", "Ada", "ssn", "canary"), plugintest.Change("ä 1", 2, "name", "Ada L.", "ssn", "canary")
	wantDone(t, p, one, two, one)
	wantDone(t, e, one, two, two)
	if got := b.row(`SELECT no, full_name, everything FROM "pat-ients"`); got != `P-ä 1|Ada L.|{"ssn": "canary", "name": "Ada L."}` {
		t.Errorf("got %s", got)
	}
	if got := b.row("SELECT no, what FROM log"); got != two.Leaf.String()+"|Ada L." {
		t.Errorf("got %s", got)
	}
	forget := plugintest.Forget("ä 1")
	forget.Fields = []event.Field{{Name: "ssn"}} // the mapping has no column from it, the object does
	wantDone(t, p, forget)
	if got := b.row(`SELECT no, full_name, everything FROM "pat-ients"`); got != `P-ä 1|Ada L.|{"name": "Ada L."}` {
		t.Errorf("forgotten: got %s", got)
	}
	wantDone(t, p, plugintest.Delete("ä 1", 3))
	if got := b.row(`SELECT count(*) FROM "pat-ients"`); got != "0" {
		t.Errorf("a deleted aggregate has %s rows", got)
	}
}

// TestColumnTypes: values become what the columns are, and what can never fit is an error before anything is delivered. Without a mapping each type has a table of its name.
func TestColumnTypes(t *testing.T) {
	b := start(t)
	_, err := b.mapped(t, "version: 1")
	if err == nil {
		t.Fatal("tables that are not there were taken")
	}
	var made int
	for line := range strings.Lines(err.Error()) {
		if strings.HasPrefix(line, "CREATE TABLE ") {
			b.exec(line)
			made++
		}
	}
	if made != 2 {
		t.Fatalf("got %d statements in\n%v", made, err)
	}
	p := b.mustMap(t, "version: 1")
	if err := p.Test(t.Context()); err != nil {
		t.Error(err)
	}
	wantDone(t, p, plugintest.Change("a", 1, "age", "007", "born", "1999-12-31", "crp", "1.50", "infected", "True", "name", "Ada", "seen", "2026-01-02T01:00:00+02:00"))
	b.exec("ALTER DATABASE " + b.database + " SET TimeZone = 'UTC'")
	if got := b.row("SELECT age, born, crp, infected, name, seen, ssn FROM patient"); got != "7|1999-12-31 00:00:00+00|1.50|t|Ada|2026-01-01 23:00:00+00|NULL" {
		t.Errorf("got %s", got)
	}
	bad := plugintest.Change("b", 1, "age", "canary")
	if o := deliver(t, p, bad, plugintest.Change("b", 2, "age", "1"), plugintest.Change("c", 1, "age", "1")); o[0].Status != plugin.StatusPark || o[1].Status != plugin.StatusRetry || o[2].Status != plugin.StatusDone ||
		!strings.Contains(o[0].Err.Error(), "age") || strings.Contains(o[0].Err.Error(), "canary") {
		t.Errorf("an event of an older schema: got %v", o)
	}
	b.exec("CREATE TABLE odd (aggregate_type text, aggregate_id text, version bigint, seen timestamp, doc jsonb, n json, age date, infected int, crp boolean, PRIMARY KEY (aggregate_type, aggregate_id))")
	p = b.mustMap(t, "types: patient\ntarget: odd\nrules: [{fields: {seen: state.seen, doc: state.name, n: state.age}}]")
	wantDone(t, p, plugintest.Change("a", 1, "age", "007", "name", "a\"\x00", "seen", "2026-01-02T01:00:00+02:00"))
	if got := b.row("SELECT seen, doc, n FROM odd"); got != "2026-01-01 23:00:00|\"a\\\"\uFFFD\"|7" {
		t.Errorf("got %s", got)
	}
	_, err = b.mapped(t, "types: patient\ntarget: odd\nrules: [{fields: {age: state.age, infected: state.infected, crp: state.crp}}]")
	for _, want := range []string{"column age is of type date, which takes nothing that is integer", "column infected is of type integer, which takes nothing that is boolean", "column crp is of type boolean, which takes nothing that is decimal"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

// TestTheManual: what the manual shows is taken.
func TestTheManual(t *testing.T) {
	page, err := os.ReadFile("../../docs/plugins-postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	s, err := schema.Compile(schema.Definition{Aggregate: "patient", Fields: map[string]schema.Field{"crp": {Type: schema.Decimal}}, Events: map[string]schema.Event{"patient-updated": {Fields: []string{"crp", "ward", "status"}}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t)
	_, statement, _ := strings.Cut(string(page), "\n    CREATE")
	statement, _, _ = strings.Cut(statement, "\n\n")
	b.exec("CREATE" + statement)
	k := postgres.Kind()
	settings := plugin.Settings{Name: "pg", Schemas: []*schema.Schema{s}, Options: b.settings(plugin.Values{"mapping": text, "on-error": "block"})}
	if settings.Options, err = k.Examine(settings, plugin.Option{Name: "on-error"}); err != nil {
		t.Fatal(err)
	}
	p, err := k.Open(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wantDone(t, p, plugintest.Change("a", 1, "crp", "1.5", "ward", "7"))
	if got := b.row("SELECT crp, ward, died FROM patients"); got != "1.5|7|NULL" {
		t.Errorf("got %s", got)
	}
}

// TestOlderConfiguration is refused by name, and does nothing to the tables.
func TestOlderConfiguration(t *testing.T) {
	_, err := postgres.Kind().Open(t.Context(), plugin.Settings{Options: plugin.Values{"url": "postgres://u@127.0.0.1:1/x", "table": "t", "columns": "name", "rows": "aggregate"}})
	if err == nil || !strings.Contains(err.Error(), "--mapping") {
		t.Errorf("got %v", err)
	}
}
