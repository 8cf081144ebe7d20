package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/eventfuldb/eventful/internal/postgrestest"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/plugins/postgres"
)

// schemas are what the suite's changes are of.
func schemas(more ...string) []*schema.Schema {
	return []*schema.Schema{{Definition: schema.Definition{Aggregate: "patient", Events: map[string]schema.Event{
		"patient-admitted": {Fields: []string{"name", "ward"}}, "patient-updated": {Fields: append(more, "name", "ward", "age")},
	}}}}
}

// shared is the server of all tests but those that kill theirs; nil without PostgreSQL.
var shared *postgrestest.Server

func TestMain(m *testing.M) {
	if postgrestest.Available() == nil {
		var err error
		if shared, err = postgrestest.Launch(); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if shared != nil {
		if err := shared.Remove(); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// base is a database of a test.
type base struct {
	*postgrestest.Server
	t        *testing.T
	database string
}

// start gives the test a database of its own; without PostgreSQL it is skipped, or fails.
func start(t *testing.T) *base {
	t.Helper()
	t.Parallel()
	if shared == nil {
		return &base{postgrestest.Start(t), t, "postgres"}
	}
	b := &base{shared, t, "postgres"}
	name := strings.ToLower(t.Name())
	b.exec("CREATE DATABASE " + name)
	b.database = name
	return b
}

// exec runs statements on a connection of its own.
func (b *base) exec(statements ...string) {
	b.t.Helper()
	c := b.connect()
	defer c.Close(context.Background())
	for _, one := range statements {
		if _, err := c.Exec(b.t.Context(), one); err != nil {
			b.t.Fatalf("%s: %v", one, err)
		}
	}
}

func (b *base) connect() *pgx.Conn {
	b.t.Helper()
	c, err := pgx.Connect(b.t.Context(), b.Address(b.database, "sslmode=disable"))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// row gives the first row of a query, its columns as text with | between.
func (b *base) row(query string, arguments ...any) string {
	b.t.Helper()
	c := b.connect()
	defer c.Close(context.Background())
	rows, err := c.Query(b.t.Context(), query, append([]any{pgx.QueryExecModeSimpleProtocol}, arguments...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		if rows.Err() != nil {
			b.t.Fatal(rows.Err())
		}
		return ""
	}
	var parts []string
	for _, v := range rows.RawValues() {
		if v == nil {
			v = []byte("NULL")
		}
		parts = append(parts, string(v))
	}
	return strings.Join(parts, "|")
}

// rows is a mapping of aggregates into a table: each column a field of the state, or COLUMN=SOURCE.
func rows(table string, columns ...string) string {
	return mappingOf("aggregate", "state", table, columns)
}

// events is a mapping of events into a table.
func events(table string, columns ...string) string {
	return mappingOf("event", "event", table, columns)
}

func mappingOf(document, from, table string, columns []string) string {
	text := "document: " + document + "\ntarget: " + table + "\nrules:\n  - fields:\n"
	for _, c := range columns {
		name, source, named := strings.Cut(c, "=")
		if !named {
			source = from + "." + name
		}
		text += "      " + name + ": " + source + "\n"
	}
	return text
}

func (b *base) settings(more plugin.Values) plugin.Values {
	v := plugin.Values{"url": fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", postgrestest.User, b.Port, b.database), "password": b.Password, "mapping": rows("patients", "name")}
	for name, value := range more {
		v[name] = value
	}
	return v
}

func (b *base) tryOpen(options plugin.Values) (plugin.Plugin, error) {
	k := postgres.Kind()
	s := plugin.Settings{Name: "pg", Site: "here", Options: b.settings(options), Schemas: schemas()}
	var err error
	if s.Options, err = k.Examine(s); err != nil {
		return nil, err
	}
	return k.Open(b.t.Context(), s)
}

func (b *base) open(t *testing.T, options plugin.Values) plugin.Plugin {
	t.Helper()
	p, err := b.tryOpen(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

const patients = "CREATE TABLE patients (aggregate_type text, aggregate_id text, version bigint NOT NULL, name text, ward varchar(100), PRIMARY KEY (aggregate_type, aggregate_id))"

const changes = "CREATE TABLE changes (aggregate_type text, aggregate_id text, version bigint, what text, fields jsonb, at timestamptz, PRIMARY KEY (aggregate_type, aggregate_id, version))"

func TestConforms(t *testing.T) {
	b := start(t)
	b.exec(patients, changes)
	newest := func(table string) func(*testing.T, event.AggregateID) event.Version {
		return func(t *testing.T, a event.AggregateID) (v event.Version) {
			if _, err := fmt.Sscan(b.row("SELECT coalesce(max(version), 0) FROM "+table+" WHERE aggregate_type = $1 AND aggregate_id = $2", a.Type, a.ID), &v); err != nil {
				t.Error(err)
			}
			return v
		}
	}
	t.Run("aggregate", func(t *testing.T) {
		plugintest.Run(t, plugintest.Target{
			Kind: postgres.Kind(), Versioned: true, Deletes: true, Newest: newest("patients"),
			Open: func(t *testing.T) plugin.Plugin {
				return b.open(t, plugin.Values{"mapping": rows("patients", "name", "ward")})
			},
		})
	})
	t.Run("event", func(t *testing.T) {
		plugintest.Run(t, plugintest.Target{
			Kind: postgres.Kind(), Versioned: true, Newest: newest("changes"),
			Open: func(t *testing.T) plugin.Plugin {
				return b.open(t, plugin.Values{"mapping": events("public.changes", "what=meta.event", "at=meta.time"), "json": "fields"})
			},
		})
	})
	if n := b.row("SELECT count(*) FROM patients WHERE aggregate_type = 'eventful-test'") + b.row("SELECT count(*) FROM changes WHERE aggregate_type = 'eventful-test'") +
		b.row("SELECT count(*) FROM eventful_positions WHERE aggregate_type = 'eventful-test'"); n != "000" {
		t.Errorf("plugin:test left rows: %s", n)
	}
}

// deliver gives the status of each change.
func deliver(t *testing.T, p plugin.Plugin, changes ...plugin.Change) []plugin.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return p.Deliver(ctx, plugin.Batch{Changes: changes})
}

// TestValues: what a row holds, in the types of the table.
func TestValues(t *testing.T) {
	b := start(t)
	b.exec("CREATE TYPE mood AS ENUM ('good', 'bad')",
		`CREATE TABLE people (aggregate_type varchar(60), aggregate_id text, version bigint, "Name" char(9), age smallint, born date, mood mood, ok boolean, pay numeric(10,2), who text, at timestamptz, "all" jsonb,
			note text DEFAULT 'x' NOT NULL, UNIQUE (aggregate_id, aggregate_type))`)
	k := postgres.Kind()
	options, err := k.Examine(plugin.Settings{Schemas: schemas("born", "mood", "ok", "pay"), Options: b.settings(plugin.Values{"json": "all", "mapping": rows("people", "Name=state.name", "age", "born", "mood", "ok", "pay", "who=meta.actor", "at=meta.occurred_at")})})
	if err != nil {
		t.Fatal(err)
	}
	p, err := k.Open(t.Context(), plugin.Settings{Schemas: schemas("born", "mood", "ok", "pay"), Options: options})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := plugintest.Change("ä/1", 3, "age", "42", "born", "1999-12-31", "mood", "bad", "name", "Ada", "ok", "True", "pay", "10.5")
	at := event.Time(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC).UnixNano())
	c.Meta.OccurredAt = &at
	if o := deliver(t, p, c); o[0].Status != plugin.StatusDone {
		t.Fatal(o[0].Err)
	}
	want := `patient|ä/1|3|Ada      |42|1999-12-31|bad|t|10.50|dr.house|2026-01-02 03:04:05.000006+00|{"ok": "True", "age": "42", "pay": "10.5", "born": "1999-12-31", "mood": "bad", "name": "Ada"}|x`
	b.exec("ALTER DATABASE " + b.database + " SET TimeZone = 'UTC'")
	if got := b.row("SELECT * FROM people"); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if got := b.row("SELECT target, aggregate_id, version, position FROM eventful_positions"); got != "public.people|ä/1|3|"+c.Position.String() {
		t.Errorf("got position %s", got)
	}
	next := plugintest.Change("ä/1", 4, "name", "Eve\x00")
	if o := deliver(t, p, next); o[0].Status != plugin.StatusDone {
		t.Fatal(o[0].Err)
	}
	if got := b.row(`SELECT version, "Name", age, at, "all" FROM people`); got != "4|Eve\uFFFD     |NULL|NULL|{\"name\": \"Eve\uFFFD\"}" {
		t.Errorf("got %s", got)
	}
}

// TestForgotten: fields that are forgotten leave every row of their aggregate, and no other field or row does.
func TestForgotten(t *testing.T) {
	b := start(t)
	b.exec("CREATE TABLE people (aggregate_type text, aggregate_id text, version bigint, name text, ward text, everything json, PRIMARY KEY (aggregate_type, aggregate_id))", changes)
	aggregates, changes := b.open(t, plugin.Values{"mapping": rows("people", "name", "ward"), "json": "everything"}), b.open(t, plugin.Values{"mapping": events("changes", "what=event.name"), "json": "fields"})
	for _, p := range []plugin.Plugin{aggregates, changes} {
		o := deliver(t, p, plugintest.Change("a", 1, "name", "canary", "ward", "7"), plugintest.Change("b", 1, "name", "Eve", "ward", "8"), plugintest.Change("a", 2, "name", "canary", "ward", "9"), plugintest.Forget("a"), plugintest.Forget("none"))
		for i := range o {
			if o[i].Status != plugin.StatusDone {
				t.Errorf("change %d: got %s, %v", i, o[i].Status, o[i].Err)
			}
		}
	}
	if got := b.row("SELECT string_agg(p::text, ' ' ORDER BY p.aggregate_id) FROM people p"); got != `(patient,a,2,,9,"{""ward"": ""9""}") (patient,b,1,Eve,8,"{""name"":""Eve"",""ward"":""8""}")` {
		t.Errorf("got %s", got)
	}
	if got := b.row("SELECT string_agg(fields::text || coalesce(what, ''), ' ' ORDER BY aggregate_id, version) FROM changes"); got != `{"ward": "7"} {"ward": "9"} {"name": "Eve", "ward": "8"}Eve` {
		t.Errorf("got %s", got)
	}
}

// TestRefusedChanges: what does not fit the table is parked alone, named without its value; the rest of the batch is there.
func TestRefusedChanges(t *testing.T) {
	b := start(t)
	b.exec("CREATE TABLE ages (aggregate_type text, aggregate_id text, version bigint, age int CONSTRAINT adult CHECK (age >= 18), name varchar(10) NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id))",
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'canary5' THEN RAISE 'no %', NEW.name; END IF; RETURN NEW; END $$`,
		"CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON ages FOR EACH ROW EXECUTE FUNCTION refuse()")
	p := b.open(t, plugin.Values{"mapping": rows("ages", "age", "name")})
	if err := p.Test(t.Context()); err != nil {
		t.Errorf("a constraint that refuses the dummy: got %v", err)
	}
	for name, test := range map[string]struct{ fields, want string }{
		"type": {"age=canary1 name=x", "column age does not take the value as integer: PostgreSQL refused it: SQLSTATE 22P02"}, "range": {"age=99999999999 name=x", "column age"}, "check": {"age=17 name=canary2", "constraint adult"},
		"null": {"age=20", "column name"}, "long": {"age=20 name=canary3canary3", "SQLSTATE 22001"}, "trigger": {"age=20 name=canary5", "SQLSTATE P0001"},
	} {
		var fields []string
		for part := range strings.FieldsSeq(test.fields) {
			fields = append(fields, strings.SplitN(part, "=", 2)...)
		}
		first, bad, behind, other := plugintest.Change(name, 1, "age", "20", "name", "a"), plugintest.Change(name, 2, fields...), plugintest.Change(name, 3, "age", "21", "name", "b"), plugintest.Change(name+" other", 1, "age", "20", "name", "c")
		o := deliver(t, p, first, bad, behind, other)
		if o[0].Status != plugin.StatusDone || o[1].Status != plugin.StatusPark || o[2].Status != plugin.StatusRetry || o[3].Status != plugin.StatusDone {
			t.Errorf("%s: got %v", name, o)
			continue
		}
		if text := o[1].Err.Error(); !strings.Contains(text, test.want) || strings.Contains(text, "canary") {
			t.Errorf("%s: got %q, want %q", name, text, test.want)
		}
		if got := b.row("SELECT version FROM ages WHERE aggregate_id = $1", name); got != "1" {
			t.Errorf("%s: got version %s", name, got)
		}
		if o := deliver(t, p, behind); o[0].Status != plugin.StatusDone {
			t.Errorf("%s: the one behind: %v", name, o[0].Err)
		}
	}
}

// TestTablesThatDoNotFit are named with everything that is wrong, when the plugin is opened and when it is tried.
func TestTablesThatDoNotFit(t *testing.T) {
	b := start(t)
	b.exec("CREATE TABLE loose (aggregate_type int, aggregate_id text, version bigint GENERATED ALWAYS AS (1) STORED, must text NOT NULL)", "CREATE VIEW seen AS SELECT 1 AS version", patients)
	_, err := b.tryOpen(plugin.Values{"mapping": rows("loose", "name", "ward")})
	for _, want := range []string{"column aggregate_type is of type integer, it must be text", "column version is generated", "no column name", "no column ward", "column must wants a value",
		"no primary key or unique index over (aggregate_id, aggregate_type)", `CREATE TABLE "public"."loose" (`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	for _, table := range []string{"nowhere", "nowhere.patients", "seen", "Patients"} {
		_, err := b.tryOpen(plugin.Values{"mapping": rows(table, "name"), "json": "fields"})
		if err == nil || !strings.Contains(err.Error(), "there is no table") {
			t.Errorf("%s: got %v", table, err)
			continue
		}
		if table != "nowhere" {
			continue
		}
		_, statement, _ := strings.Cut(err.Error(), "\n")
		b.exec(statement) // what the error says makes a table that fits
		b.open(t, plugin.Values{"mapping": rows(table, "name"), "json": "fields"})
	}
	p := b.open(t, plugin.Values{"mapping": rows("patients", "name")})
	b.exec("ALTER TABLE patients DROP COLUMN name")
	if err := p.Test(t.Context()); err == nil || !strings.Contains(err.Error(), "no column name") {
		t.Errorf("a column that went: got %v", err)
	}
	if o := deliver(t, p, plugintest.Change("a", 1)); o[0].Status != plugin.StatusRetry {
		t.Errorf("a column that went: got %v", o)
	}
	b.exec("ALTER TABLE patients ADD name text", "COMMENT ON TABLE eventful_positions IS 'Format 2'")
	if _, err := b.tryOpen(plugin.Values{"mapping": rows("patients", "name")}); err == nil || !strings.Contains(err.Error(), "not of the format") {
		t.Errorf("another format: got %v", err)
	}
}

// TestAccess: TLS is verified unless the address says otherwise; wrong passwords and missing rights hold changes up, and no error shows the password.
func TestAccess(t *testing.T) {
	b := start(t)
	b.exec(patients, "CREATE ROLE reader LOGIN PASSWORD 'canary-of-reader'")
	address := func(user, query string) string {
		return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?%s", user, b.Port, b.database, query)
	}
	for _, test := range []struct{ url, password, ca, want string }{
		{address("reader", "sslmode=disable"), "canary-of-reader", "", "eventful_positions"},
		{address("test", ""), b.Password, "", "certificate"},
		{address("test", ""), b.Password, b.CA, ""},
		{address("test", "sslmode=verify-ca"), b.Password, b.CA, ""},
		{address("test", "sslmode=require"), b.Password, "", ""},
		{address("test", ""), "canary", b.CA, "password"},
		{"postgres://test@127.0.0.1:1/postgres", "canary", "", "connect"},
	} {
		options := plugin.Values{"url": test.url, "password": test.password}
		if test.ca != "" {
			options["ca"] = test.ca
		}
		p, err := b.tryOpen(options)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: got %v, want %q", test.url, err, test.want)
		}
		if err == nil {
			if err := p.Test(t.Context()); err != nil {
				t.Errorf("%s: %v", test.url, err)
			}
			p.Close()
		}
	}
	// What no table is to blame for is said once, and not for each of them.
	two := append(schemas(), &schema.Schema{Definition: schema.Definition{Aggregate: "bed", Events: map[string]schema.Event{"taken": {Fields: []string{"by"}}}}})
	_, err := postgres.Kind().Open(t.Context(), plugin.Settings{Name: "pg", Site: "here", Options: b.settings(plugin.Values{"url": address("test", "sslmode=disable"), "password": "canary", "mapping": "version: 1"}), Schemas: two})
	if err == nil || strings.Count(err.Error(), "password") != 1 {
		t.Errorf("two tables: got %v", err)
	}
	b.exec("GRANT SELECT, INSERT ON eventful_positions TO reader")
	p := b.open(t, plugin.Values{"url": address("reader", "sslmode=disable"), "password": "canary-of-reader"})
	if err := p.Test(t.Context()); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("without rights: got %v", err)
	}
	if o := deliver(t, p, plugintest.Change("a", 1)); o[0].Status != plugin.StatusRetry {
		t.Errorf("without rights: got %v", o)
	}
}

// TestOptionsThatAreWrong are named, and no secret is repeated.
func TestOptionsThatAreWrong(t *testing.T) {
	good := plugin.Values{"url": "postgres://u@h/db", "mapping": rows("t", "name")}
	for option, values := range map[string][]string{
		"url": {"http://h/db", "postgres://u@h:99999/db", "postgres://u@h:0/db", "postgres://h/db", "postgres://u@h", "postgres://u:canary@h/db", "postgres://u@h/db?sslmode=prefer", "postgres://u@h/db?sslkey=/etc/key", "postgres://u@h/db?host=/tmp",
			"postgres://u@h/db?password=canary", "postgres://u@h/db?service=x", "postgres://u@h/db?sslmode=disable&sslmode=require"},
		"mapping": {"", "- a", rows("a.b.c", "name"), rows("a b", "name"), rows("1a", "name"), rows("t-{log}", "name"), rows("t", "a.b=state.name"), rows("t", "a-b=state.name"), rows("t", "a=meta.nothing"),
			rows("t", "version=state.name"), rows("t", "nothing=state.colour"), rows("t", strings.Repeat("a", 64)+"=state.name"), "key: 'patient/{id}'\n",
			"rules: [{when: {if: event.name == 'x'}, fields: {ward: event.ward}}]"},
		"json": {"a b", "name", "version"}, "key-column": {"a b", "name"}, "connections": {"0", "65"}, "ca": {"none"}, "table": {"t"}, "columns": {"name"}, "rows": {"event"},
	} {
		for _, value := range values {
			v := plugin.Values{"on-error": "park"}
			for name, one := range good {
				v[name] = one
			}
			v[option] = value
			if _, err := examine(v); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("--%s=%s: got %v", option, value, err)
			}
		}
	}
	for _, v := range []plugin.Values{good, {"url": good["url"]}, {"url": good["url"], "mapping": "key: 'patient/{id}'", "key-column": "id"}, {"url": good["url"], "mapping": events("t", "name"), "json": "all", "pii": "true"}} {
		if _, err := examine(v); err != nil {
			t.Error(err)
		}
	}
	if _, err := examine(plugin.Values{"url": good["url"], "mapping": events("t", "name"), "json": "all", "key-column": "id", "pii": "true"}); err == nil {
		t.Error("rows that cannot forget were taken")
	}
}

// examine is what plugin:config does, with the options of every plugin that the kind looks at.
func examine(v plugin.Values) (plugin.Values, error) {
	return postgres.Kind().Examine(plugin.Settings{Options: v, Schemas: schemas()}, plugin.Option{Name: "on-error"}, plugin.Option{Name: "pii"})
}

// TestEffectsAreExactlyOnce kills the server while changes come, each again and again and some of them by two at a time, until all are acknowledged. The table counts what happens to it itself.
func TestEffectsAreExactlyOnce(t *testing.T) {
	const aggregates, versions, kills = 20, 30, 4
	t.Parallel()
	b := &base{postgrestest.Start(t), t, "postgres"}
	b.exec(patients, changes, "CREATE TABLE effects (id text, version bigint)",
		"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO effects VALUES (TG_TABLE_NAME || ' ' || NEW.aggregate_id, NEW.version); RETURN NULL; END $$",
		"CREATE TRIGGER note AFTER INSERT OR UPDATE ON patients FOR EACH ROW EXECUTE FUNCTION note()", "CREATE TRIGGER note AFTER INSERT OR UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION note()")
	var settled atomic.Int64
	failed := make(chan error, 4*aggregates)
	feed := func(p plugin.Plugin, id string) {
		for v := event.Version(1); v <= versions; {
			first := max(1, v-1) // the one before comes again
			batch := []plugin.Change{plugintest.Change(id, first, "name", fmt.Sprint(first))}
			if v > first {
				batch = append(batch, plugintest.Change(id, v, "name", fmt.Sprint(v)))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			o := p.Deliver(ctx, plugin.Batch{Changes: batch})
			cancel()
			switch last := o[len(o)-1]; {
			case last.Status == plugin.StatusDone:
				v++
				settled.Add(1)
			case last.Status == plugin.StatusPark || t.Context().Err() != nil:
				failed <- fmt.Errorf("%s version %d: %w", id, v, errors.Join(last.Err, t.Context().Err()))
				return
			}
		}
		failed <- nil
	}
	for _, options := range []plugin.Values{{}, {"mapping": events("changes", "what=event.name")}} {
		p := b.open(t, options)
		for i := range aggregates {
			go feed(p, fmt.Sprint("a", i))
			go feed(p, fmt.Sprint("a", i)) // a runner that slept, and another that took over
		}
	}
	const all = 4 * aggregates * versions
	for n := range int64(kills) {
		for deadline := time.Now().Add(time.Minute); settled.Load() < (n+1)*all/(kills+2); {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d after a minute", settled.Load(), all)
			}
			<-time.After(time.Millisecond)
		}
		if err := errors.Join(b.Kill(), b.Run()); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 * aggregates {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if got := b.row("SELECT count(*), count(DISTINCT (id, version)) FROM effects WHERE id LIKE 'changes%'"); got != fmt.Sprintf("%d|%d", aggregates*versions, aggregates*versions) {
		t.Errorf("rows of events: got %s effects", got)
	}
	if got := b.row("SELECT count(*) - count(DISTINCT (id, version)) FROM effects WHERE id LIKE 'patients%'"); got != "0" {
		t.Errorf("rows of aggregates: got %s effects twice", got)
	}
	if got := b.row("SELECT count(*) FROM patients WHERE version = $1 AND name = $2", versions, fmt.Sprint(versions)); got != fmt.Sprint(aggregates) {
		t.Errorf("got %s of %d aggregates at their newest version", got, aggregates)
	}
	if got := b.row("SELECT count(*) FROM patients p JOIN eventful_positions q ON q.target = 'public.patients' AND q.aggregate_id = p.aggregate_id WHERE q.version <> p.version OR q.position NOT LIKE 'patient%'"); got != "0" {
		t.Errorf("got %s positions that do not fit their rows", got)
	}
}
