package writer_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const userSchema = `{"aggregate":"user","fields":{"email":{"unique":%v}},"events":{"registered":{"fields":["email","n"]},"left":{"deletes":true}}}`

// user is a change of one user's e-mail address; "-" unsets it.
func user(id, email string) aggregate.Change {
	f := event.Field{Name: "email", Value: email, Set: true}
	if email == "-" {
		f = event.Field{Name: "email"}
	}
	return aggregate.Change{Aggregate: event.AggregateID{Type: "user", ID: id}, Events: []aggregate.NewEvent{{Type: "registered", Fields: []event.Field{f}}}}
}

func TestOneOfManyRegistrationsSucceeds(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(userSchema, true))
	jwt := s.token(1000)
	var waits []<-chan outcome
	for i := range 100 {
		waits = append(waits, s.send(change(jwt, fmt.Sprint("r", i), user(fmt.Sprint("u", i), "a@example.org"))))
	}
	won := ""
	for i, w := range waits {
		o := s.wait(w)
		if o.problem == nil {
			if won != "" {
				t.Fatalf("u%d and %s both have the address", i, won)
			}
			won = fmt.Sprint("u", i)
			continue
		}
		wantCode(t, o, problem.Conflict)
		if o.problem.Field != "email" || !strings.Contains(o.problem.Detail, "held by another aggregate") || strings.Contains(o.problem.Detail, "example.org") {
			t.Errorf("got %+v, want the field, and neither its owner, whom this token may not read, nor the value", o.problem)
		}
	}
	if got := len(s.stored("user")); won == "" || got != 1 {
		t.Errorf("got %d commands stored, winner %q; want one", got, won)
	}
}

func TestUniqueValuesMove(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(userSchema, true))
	jwt := s.token(1000)
	left := func(id string) aggregate.Change {
		return aggregate.Change{Aggregate: event.AggregateID{Type: "user", ID: id}, Events: []aggregate.NewEvent{{Type: "left"}}}
	}
	steps := []struct {
		name    string
		changes []aggregate.Change
		code    problem.Code
	}{
		{"taken", []aggregate.Change{user("a", "x")}, ""},
		{"the same by the same", []aggregate.Change{user("a", "x")}, ""},
		{"held", []aggregate.Change{user("b", "x")}, problem.Conflict},
		{"another", []aggregate.Change{user("b", "y")}, ""},
		{"changed", []aggregate.Change{user("a", "z")}, ""},
		{"released by the change", []aggregate.Change{user("c", "x")}, ""},
		{"swapped in one transaction", []aggregate.Change{user("a", "y"), user("b", "z")}, ""},
		{"swapped back, the other way round", []aggregate.Change{user("b", "y"), user("a", "z")}, ""},
		{"held behind the swap", []aggregate.Change{user("d", "y")}, problem.Conflict},
		{"twice in one transaction", []aggregate.Change{user("d", "w"), user("e", "w")}, problem.Conflict},
		{"unset", []aggregate.Change{user("b", "-")}, ""},
		{"released by unsetting", []aggregate.Change{user("d", "y")}, ""},
		{"ended", []aggregate.Change{left("a")}, ""},
		{"released by the end", []aggregate.Change{user("e", "z")}, ""},
		{"too long", []aggregate.Change{user("f", strings.Repeat("x", 1025))}, problem.TooLarge},
	}
	for _, step := range steps {
		o := s.do(change(jwt, "", step.changes...))
		if step.code != "" {
			if o.problem == nil || o.problem.Code != step.code {
				t.Fatalf("%s: got %+v, want %s", step.name, o, step.code)
			}
		} else if o.problem != nil {
			t.Fatalf("%s: got %v", step.name, o.problem)
		}
	}
	held := func() {
		t.Helper()
		for _, email := range []string{"x", "y", "z"} {
			wantCode(t, s.do(change(jwt, "", user("q", email))), problem.Conflict)
		}
	}
	held()
	s.restart()
	held()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.stateDir("user")); err != nil {
		t.Fatal(err)
	}
	s.start()
	held()
	s.must(change(jwt, "", user("q", "w")))
}

func TestSwitchingUniquenessOnChecksWhatIsStored(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(userSchema, false))
	jwt := s.token(1000)
	for i, email := range []string{"x", "y", "x", "z"} {
		s.must(change(jwt, "", user(fmt.Sprint("u", i), email)))
	}
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(fmt.Sprintf(userSchema, true))); p != nil {
		t.Fatal(p)
	}
	checks, p := s.w.CheckMigration(t.Context(), "user")
	if p != nil || len(checks) != 1 || len(checks[0].Samples) != 1 || !strings.Contains(checks[0].Samples[0], "user/u0") {
		t.Fatalf("got %+v, %v; want the one duplicate", checks, p)
	}
	_, p = s.w.Migrate(t.Context(), s.admin, "user")
	wantCode(t, outcome{problem: p}, problem.Conflict)
	s.untilTaken(jwt, user("u2", "w"))
	if _, p := s.w.Migrate(t.Context(), s.admin, "user"); p != nil {
		t.Fatal(p)
	}
	s.untilTaken(jwt, user("u4", "v"))
	wantCode(t, s.do(change(jwt, "", user("u5", "y"))), problem.Conflict)
}

// A dry run counts the aggregates that share values, and names them in the order in which the migration is refused for them.
func TestDuplicatesAreCountedAndInOrder(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(userSchema, false))
	jwt := s.token(1000)
	for _, id := range []string{"u5", "u1", "u4", "u2", "u3", "solo"} {
		email := "x"
		switch id {
		case "u2", "u5":
			email = "y"
		case "solo":
			email = "z"
		}
		s.must(change(jwt, "", user(id, email)))
	}
	if _, p := s.w.DraftSchema(t.Context(), s.admin, []byte(fmt.Sprintf(userSchema, true))); p != nil {
		t.Fatal(p)
	}
	want := []string{`user/u1 and user/u3 hold the same value of "email"`, `user/u3 and user/u4 hold the same value of "email"`, `user/u2 and user/u5 hold the same value of "email"`}
	for range 5 {
		checks, p := s.w.CheckMigration(t.Context(), "user")
		if p != nil || len(checks) != 1 {
			t.Fatalf("got %+v, %v", checks, p)
		}
		if diff := cmp.Diff(want, checks[0].Samples); diff != "" || checks[0].Colliding != 5 {
			t.Errorf("got %d aggregates, want 5; samples (-want +got):\n%s", checks[0].Colliding, diff)
		}
		_, p = s.w.Migrate(t.Context(), s.admin, "user")
		wantCode(t, outcome{problem: p}, problem.Conflict)
		var refused []string
		for _, one := range p.Problems {
			refused = append(refused, one.Detail)
		}
		if diff := cmp.Diff(want, refused); diff != "" {
			t.Errorf("the migration (-want +got):\n%s", diff)
		}
	}
}

// Events from before the rule may have given one value to several aggregates, one after the other: who holds it when the rule comes keeps it.
func TestValuesThatMovedBeforeTheRuleStayHeld(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(userSchema, false))
	jwt := s.token(1000)
	s.must(change(jwt, "", user("solo", "x")))
	s.must(change(jwt, "", user("moved", "x")))
	s.must(change(jwt, "", user("moved", "y")))
	s.must(change(jwt, "", user("ended", "x")))
	s.must(change(jwt, "", aggregate.Change{Aggregate: event.AggregateID{Type: "user", ID: "ended"}, Events: []aggregate.NewEvent{{Type: "left"}}}))
	s.migrate(fmt.Sprintf(userSchema, true))
	held := func() {
		t.Helper()
		s.untilTaken(jwt, user("probe", "free"))
		for _, email := range []string{"x", "y"} {
			wantCode(t, s.do(change(jwt, "", user("thief", email))), problem.Conflict)
		}
	}
	held()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.stateDir("user")); err != nil {
		t.Fatal(err)
	}
	s.start()
	held()
	s.must(change(jwt, "", user("solo", "z")))
	s.must(change(jwt, "", user("thief", "x")))
}

// untilTaken sends a change until the log has recovered for other unique fields.
func (s *site) untilTaken(jwt string, c aggregate.Change) {
	s.t.Helper()
	id := fmt.Sprint("c-", commandIDs.Add(1))
	for range 1_000_000 {
		switch o := s.do(writer.Request{Token: jwt, Command: aggregate.Command{ID: id, Changes: []aggregate.Change{c}}}); {
		case o.problem == nil:
			return
		case o.problem.Code != problem.Unavailable:
			s.t.Fatal(o.problem)
		}
	}
	s.t.Fatal("the log did not take commands again")
}

// TestHoldersAreToldToReaders: who holds a value is told to a token that may read that aggregate, and to no other, in dry runs too.
func TestHoldersAreToldToReaders(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(userSchema, true))
	s.must(change(s.token(1), "first", user("holder", "a@example.org")))
	reader := []token.Action{token.ActionWrite, token.ActionRead}
	for name, c := range map[string]struct {
		actions []token.Action
		only    []event.AggregateID
		told    bool
	}{
		"writer":           {actions: []token.Action{token.ActionWrite}},
		"reader":           {actions: reader, told: true},
		"of another alone": {actions: reader, only: []event.AggregateID{{Type: "user", ID: "u"}}},
		"of this one too":  {actions: reader, only: []event.AggregateID{{Type: "user", ID: "u"}, {Type: "user", ID: "holder"}}, told: true},
	} {
		jwt, _, err := token.Mint(s.keySeed, s.account, token.Claims{
			IdentifierType: "user", IdentifierID: "mallory", Aggregates: []string{token.All}, Actions: c.actions, AggregateIDs: c.only, Limit: 9, Expires: time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, dry := range []bool{false, true} {
			r := change(jwt, fmt.Sprint(strings.ReplaceAll(name, " ", "-"), dry), user("u", "a@example.org"))
			r.Command.DryRun = dry
			o := s.do(r)
			wantCode(t, o, problem.Conflict)
			if told := strings.Contains(fmt.Sprint(o.problem.Detail, o.problem.Hint), "holder"); told != c.told || o.problem.Field != "email" {
				t.Errorf("%s, dry run %v: got %+v, want the holder named: %v", name, dry, o.problem, c.told)
			}
		}
	}
}

// A refused transaction tells every check that fails, of whichever kind, and of which aggregate: first what no repeat cures. What a refused change would
// give up counts as given up, so that nothing is told to fail which would pass with the rest mended.
func TestEveryFailingCheckIsTold(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(fmt.Sprintf(userSchema, true))
	jwt := s.token(1000)
	s.must(change(jwt, "", user("u1", "a@example.org"), user("u2", "b@example.org")))
	expecting := func(c aggregate.Change, e aggregate.Expected) aggregate.Change {
		c.Expected = e
		return c
	}
	unknown := aggregate.Change{Aggregate: event.AggregateID{Type: "user", ID: "u4"}, Expected: aggregate.Exists, Events: []aggregate.NewEvent{{Type: "nosuch"}}}
	o := s.do(change(jwt, "", expecting(user("u1", "c@example.org"), aggregate.None), user("u3", "b@example.org"), unknown, user("u5", "a@example.org"), user("u6", "c@example.org")))
	wantCode(t, o, problem.Invalid)
	var got []string
	for _, p := range o.problem.Problems {
		about, _, _ := strings.Cut(p.Detail, ":")
		got = append(got, fmt.Sprint(about, " ", p.Code, " ", p.Field, p.Expected))
	}
	want := []string{"user/u4 invalid ", "user/u1 conflict none", "user/u4 conflict exists", "user/u3 conflict email", "user/u6 conflict email"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: checks that are told to fail (-want +got):\n%s", o.problem.Detail, diff)
	}
	if got := len(s.stored("user")); got != 1 {
		t.Errorf("got %d commands stored, want the first alone", got)
	}
}
