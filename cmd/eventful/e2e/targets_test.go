package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/internal/opensearchtest"
	"github.com/eventfuldb/eventful/internal/postgrestest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// tables are what the plugins fill. They watch over it themselves: each effect is counted, and an event that comes before the one in front of it is noted.
const tables = `
CREATE TABLE patients (aggregate_type text, aggregate_id text, version bigint NOT NULL, text text, PRIMARY KEY (aggregate_type, aggregate_id));
CREATE TABLE changes (aggregate_type text, aggregate_id text, version bigint, text text CONSTRAINT wholesome CHECK (text NOT LIKE 'poison%'), PRIMARY KEY (aggregate_type, aggregate_id, version));
CREATE TABLE effects (number bigserial, of text, id text, version bigint);
CREATE TABLE disorder (id text, version bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO effects (of, id, version) VALUES (TG_TABLE_NAME, NEW.aggregate_id, NEW.version);
	RETURN NULL;
END $$;
CREATE FUNCTION orderly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.version > 1 AND NOT EXISTS (SELECT 1 FROM changes c WHERE c.aggregate_type = NEW.aggregate_type AND c.aggregate_id = NEW.aggregate_id AND c.version = NEW.version - 1) THEN
		INSERT INTO disorder VALUES (NEW.aggregate_id, NEW.version);
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER orderly BEFORE INSERT ON changes FOR EACH ROW EXECUTE FUNCTION orderly();
CREATE TRIGGER note AFTER INSERT OR UPDATE ON changes FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER INSERT OR UPDATE ON patients FOR EACH ROW EXECUTE FUNCTION note();`

// besieged is a site whose plugin-runners and targets are killed while rows come.
type besieged struct {
	*cluster
	random  *rand.Rand
	runners []*engine
	node    *opensearchtest.Node
	base    *postgrestest.Server
	rows    int // stored so far

	aggregates, each int // of patients, and rows of one import
}

// TestTargetsUnderKills kills plugin-runners and targets again and again while rows come. In the end a real OpenSearch holds the fold of the log, document by document, and a real PostgreSQL
// each event as a row and each state as a row, each effect once, in the order of each aggregate; what was parked meanwhile comes when its cause is mended.
func TestTargetsUnderKills(t *testing.T) {
	t.Parallel()
	kills, restarts, each, aggregates := 5, 1, 2000, 200
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		kills, restarts, aggregates = 50, 5, 2000
	}
	seed := disktest.Seed(t)
	b := besiege(t, rand.New(rand.NewPCG(seed, 0)))
	b.aggregates, b.each = aggregates, each
	for n := range kills {
		b.round(n%(kills/restarts) == kills/restarts-1)
	}
	rows, poisoned := b.rows, b.poisoned()
	if poisoned == 0 {
		t.Fatal("no row is one that the table refuses")
	}
	began := time.Now()
	untilWithin(t, 10*time.Minute, "all but what is refused arrives", func() bool {
		return b.count("SELECT count(*) FROM effects WHERE of = 'patients'") >= rows && b.count("SELECT count(*) FROM changes")+b.waiting() == rows
	})
	t.Logf("%d rows, %d kills of runners, %d restarts of each target; the last change came %s behind the last kill; %d changes are parked", rows, kills, restarts, time.Since(began).Round(time.Millisecond), b.waiting())
	b.exec("ALTER TABLE changes DROP CONSTRAINT wholesome")
	b.must("plugin:parked", "changes", "retry", "--all")
	untilWithin(t, 5*time.Minute, "what was parked arrives", func() bool { return b.count("SELECT count(*) FROM changes") == rows })
	b.audit()
	b.wantState(index{t, "http://" + b.node.Addr}, "everybody", aggregates)
	b.verify()
}

// besiege starts a site with three runners and three plugins: two tables and an index.
func besiege(t *testing.T, random *rand.Rand) *besieged {
	t.Helper()
	b := &besieged{random: random, node: opensearchtest.Start(t), base: postgrestest.Start(t)}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	b.cluster = newCluster(t, 1)
	b.exec(tables)
	b.engine("writer", "writer")
	b.engine("projector", "projector")
	for i := range 3 {
		b.runners = append(b.runners, b.engine("plugin-runner", fmt.Sprint("runner-", i)))
	}
	b.put("schema.yaml", "aggregate: patient\nevents:\n  note: {fields: [text, number]}\n")
	b.introduce(b.root + "/schema.yaml")
	b.put("search.yaml", "type: opensearch\noptions:\n  url: http://"+b.node.Addr+"\n  replicas: 0\n  partitions: 3\n  max-backoff: 500ms\n  mapping:\n    types: patient\n    target: everybody\n")
	b.put("password", b.base.Password)
	b.put("patients.yaml", "target: patients\nrules: [{fields: {text: state.text}}]\n")
	b.put("changes.yaml", "target: changes\ndocument: event\nrules: [{fields: {text: event.text}}]\n")
	url := fmt.Sprintf("--url=postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", postgrestest.User, b.base.Port)
	account := "--account=" + b.account
	b.must("plugin:config", "search", "--file=search.yaml", account)
	b.must("plugin:config", "patients", "--type=postgres", url, "--password-file=password", "--mapping=patients.yaml", "--partitions=2", "--max-backoff=500ms", account)
	b.must("plugin:config", "changes", "--type=postgres", url, "--password-file=password", "--mapping=changes.yaml", "--partitions=3", "--max-backoff=500ms", "--on-error=block", account)
	for _, name := range []string{"search", "patients", "changes"} {
		b.must("plugin:enable", name, account)
	}
	return b
}

// round imports rows, kills a runner somewhere in between, which comes back, and perhaps both targets.
func (b *besieged) round(targets bool) {
	b.t.Helper()
	name := fmt.Sprint("rows-", b.rows, ".csv")
	var text bytes.Buffer
	text.WriteString("who,what,text,number\n")
	for i := range b.each {
		number := b.rows + i
		word := "plain"
		if b.random.IntN(b.each) == 0 || i == b.each/2 && b.rows == 0 {
			word = "poison"
		}
		fmt.Fprintf(&text, "P%d,note,%s %d,%d\n", b.random.IntN(b.aggregates), word, number, number)
	}
	b.put(name, text.String())
	b.put("mapping.yaml", "id: who\nevent: {column: what}\nfields: {text: text, number: number}\n")
	before := b.count("SELECT count(*) FROM effects")
	importing := b.background("data:import", name, "--aggregate=patient", "--mapping=mapping.yaml")
	enough := 1 + b.random.IntN(b.each)
	untilWithin(b.t, 4*patience, "some changes arrive", func() bool { return b.count("SELECT count(*) FROM effects") >= before+enough })
	victim := b.runners[b.random.IntN(len(b.runners))]
	victim.kill()
	if targets {
		b.node.Kill()
		if err := b.base.Kill(); err != nil {
			b.t.Fatal(err)
		}
		if err := b.base.Run(); err != nil {
			b.t.Fatal(err)
		}
		b.node.Begin(b.t)
	}
	victim.start()
	untilWithin(b.t, 4*patience, "the rows are imported", importing.ended)
	if importing.failed() {
		b.t.Fatalf("import: %v\n%s", importing.err, importing.output.String())
	}
	b.rows += b.each
}

// poisoned is how many events the table refuses by itself.
func (b *besieged) poisoned() (n int) {
	for _, e := range b.log() {
		if strings.HasPrefix(e.text, "poison") {
			n++
		}
	}
	return n
}

// waiting is how many changes are parked.
func (b *besieged) waiting() int {
	b.t.Helper()
	var p client.Plugin
	b.ask(&p, "plugin:show", "changes")
	return int(p.Parked)
}

// fact is an event as the log has it, and as a row has it.
type fact struct {
	id      string
	version uint64
	text    string
}

func compareFacts(a, b fact) int {
	if c := strings.Compare(a.id, b.id); c != 0 {
		return c
	}
	return int(a.version) - int(b.version)
}

// log gives every event, by aggregate and version.
func (b *besieged) log() (all []fact) {
	b.t.Helper()
	c := b.client()
	for a, err := range c.List(context.Background(), "patient", client.Latest(), client.PageSize(1000)) {
		if err != nil {
			b.t.Fatal(err)
		}
		for e, err := range c.History(context.Background(), event.AggregateID{Type: "patient", ID: a.ID}, client.PageSize(1000)) {
			if err != nil {
				b.t.Fatal(err)
			}
			all = append(all, fact{a.ID, uint64(e.Version), *e.Fields["text"]})
		}
	}
	slices.SortFunc(all, compareFacts)
	return all
}

// audit holds the tables against the log: every event, no version left out, none twice, none before the one in front of it.
func (b *besieged) audit() {
	b.t.Helper()
	want := b.log()
	if got := b.facts("SELECT aggregate_id, version, text FROM changes"); !slices.Equal(got, want) {
		b.t.Errorf("rows of events: got %d, the log has %d, and they differ: %s", len(got), len(want), difference(got, want))
	}
	newest := slices.Clone(want[:0:0])
	for i, f := range want {
		if before := i > 0 && want[i-1].id == f.id; before && want[i-1].version+1 != f.version || !before && f.version != 1 {
			b.t.Errorf("the log leaves out a version before %v", f)
		}
		if i+1 == len(want) || want[i+1].id != f.id {
			newest = append(newest, f)
		}
	}
	if got := b.facts("SELECT aggregate_id, version, text FROM patients"); !slices.Equal(got, newest) {
		b.t.Errorf("rows of aggregates: got %d, the log has %d, and they differ: %s", len(got), len(newest), difference(got, newest))
	}
	for _, of := range []string{"changes", "patients"} {
		if got := b.count("SELECT count(*) FROM effects WHERE of = '" + of + "'"); got != len(want) {
			b.t.Errorf("%s: got %d effects of %d events", of, got, len(want))
		}
		if got := b.count("SELECT count(*) FROM (SELECT DISTINCT id, version FROM effects WHERE of = '" + of + "') d"); got != len(want) {
			b.t.Errorf("%s: got effects of %d of %d events", of, got, len(want))
		}
		if got := b.count("SELECT count(*) FROM (SELECT version - lag(version, 1, 0::bigint) OVER (PARTITION BY id ORDER BY number) AS step FROM effects WHERE of = '" + of + "') s WHERE step <> 1"); got != 0 {
			b.t.Errorf("%s: got %d effects out of order", of, got)
		}
	}
	if got := b.count("SELECT count(*) FROM disorder"); got != 0 {
		b.t.Errorf("the table saw %d events before those in front of them", got)
	}
}

func difference(got, want []fact) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("%v is missing", want[i])
		case i >= len(want) || got[i] != want[i]:
			return fmt.Sprintf("got %v at place %d, want %v", got[i], i, want[min(i, len(want)-1)])
		}
	}
	return ""
}

// query gives the rows of a statement.
func query[T any](b *besieged, statement string, scan pgx.RowToFunc[T]) []T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	c, err := pgx.Connect(ctx, b.base.Address("postgres", "sslmode=disable"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, statement)
	if err != nil {
		b.t.Fatalf("%s: %v", statement, err)
	}
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		b.t.Fatalf("%s: %v", statement, err)
	}
	return all
}

func (b *besieged) count(statement string) int {
	b.t.Helper()
	return query(b, statement, pgx.RowTo[int])[0]
}

func (b *besieged) facts(statement string) []fact {
	b.t.Helper()
	all := query(b, statement, func(r pgx.CollectableRow) (f fact, err error) { return f, r.Scan(&f.id, &f.version, &f.text) })
	slices.SortFunc(all, compareFacts)
	return all
}

func (b *besieged) exec(statements string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, b.base.Address("postgres", "sslmode=disable"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, statements); err != nil {
		b.t.Fatal(err)
	}
}
