package staging_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

func TestCommitIsOneTransaction(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada", func(c *token.Claims) { c.Limit = 4 })
	s.mustAdd(ada, expecting(aggregate.None, change("patient", "A", "admitted", "name", "Ada")), change("bed", "12", "taken", "by", "A"),
		change("patient", "A", "crp", "crp", "1.10"), change("bed", "12", "freed"))
	if events, _ := s.stored("patient"); len(events) > 0 {
		t.Errorf("got %q stored by staging, want nothing", events)
	}
	answer, p := s.staging().Commit(t.Context(), again(ada), staging.Context{})
	if p != nil {
		t.Fatal(p)
	}
	if len(answer.Commits) != 2 || answer.Commits[0].Version != 2 || answer.Commits[1].Version != 2 || answer.Left != 0 || answer.Repeated {
		t.Errorf("got %+v, want two aggregates at version 2", answer)
	}
	events, commands := s.stored("patient")
	if diff := cmp.Diff([]string{"patient/A admitted", "patient/A crp", "bed/12 taken", "bed/12 freed"}, events); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if len(slices.Compact(commands)) != 1 || commands[0] != answer.Command {
		t.Errorf("got commands %q, want one: %s", commands, answer.Command)
	}
	if left := s.staged(ada); len(left) > 0 {
		t.Errorf("got %q staged behind the commit, want nothing", left)
	}
}

// Staging checks without spending: a token of one unit may stage as often as it likes, and commit one event.
func TestStagingSpendsNoBudget(t *testing.T) {
	s := newSite(t, nil)
	poor := s.caller("poor", func(c *token.Claims) { c.Limit = 1 })
	for range 5 {
		s.mustAdd(poor, change("patient", "A", "crp", "crp", "1"))
		if _, p := s.staging().Discard(t.Context(), again(poor), nil); p != nil {
			t.Fatal(p)
		}
	}
	s.mustAdd(poor, change("patient", "A", "crp", "crp", "1"))
	if _, p := s.staging().Add(t.Context(), again(poor), []aggregate.Change{change("patient", "A", "crp", "crp", "1")}, false); p == nil || p.Code != problem.BudgetSpent {
		t.Errorf("stage more than the budget: got %v, want budget_spent", p)
	}
	if _, p := s.staging().Commit(t.Context(), again(poor), staging.Context{}); p != nil {
		t.Error(p)
	}
}

func TestStagingRefuses(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	if _, p := s.execute(t.Context(), writer.Request{Token: ada.Token, Command: aggregate.Command{ID: "first", Changes: []aggregate.Change{change("patient", "A", "admitted")}}}); p != nil {
		t.Fatal(p)
	}
	s.mustAdd(ada, expecting(aggregate.Exactly(1), change("patient", "A", "crp", "crp", "1")))
	many := change("patient", "B", "crp", "crp", "1")
	for range aggregate.MaxEvents - 1 {
		many.Events = append(many.Events, many.Events[0])
	}
	var wide []aggregate.Change
	for i := range aggregate.MaxChanges {
		wide = append(wide, change("patient", fmt.Sprint("P", i), "crp", "crp", "1"))
	}
	for _, c := range []struct {
		what    string
		changes []aggregate.Change
		code    problem.Code
		says    string
	}{
		{"another log", []aggregate.Change{change("lab", "7", "sample")}, problem.Invalid, "a transaction lies in one log"},
		{"no type", []aggregate.Change{change("nurse", "7", "hired")}, problem.NotFound, "nurse"},
		{"a reserved type", []aggregate.Change{change("eventful-token", "7", "token-issued")}, problem.Forbidden, "eventful-token"},
		{"the schema", []aggregate.Change{change("patient", "A", "crp", "crp", "high")}, problem.Invalid, "decimal"},
		{"a conflict", []aggregate.Change{expecting(aggregate.None, change("patient", "A", "crp", "crp", "1"))}, problem.Conflict, "expected version 1"},
		{"an expected version", []aggregate.Change{expecting(aggregate.Exactly(7), change("bed", "1", "freed"))}, problem.Conflict, "bed/1"},
		{"an id", []aggregate.Change{change("patient", "", "crp", "crp", "1")}, problem.Malformed, "id"},
		{"no change", nil, problem.Malformed, "no aggregate"},
		{"events", []aggregate.Change{many}, problem.TooLarge, "4097 events"},
		{"aggregates", wide, problem.TooLarge, "513 aggregates"},
		{"bytes", []aggregate.Change{change("bed", "A", "taken", "by", strings.Repeat("x", 1_040_000))}, problem.TooLarge, "bytes in the log"},
	} {
		_, p := s.staging().Add(t.Context(), again(ada), c.changes, false)
		if p == nil || p.Code != c.code || !strings.Contains(p.Detail, c.says) {
			t.Errorf("%s: got %v, want %s with %q", c.what, p, c.code, c.says)
		}
	}
	reader := s.caller("ada", func(c *token.Claims) { c.Actions, c.Limit = []token.Action{token.ActionRead}, 0 })
	if _, p := s.staging().Add(t.Context(), reader, []aggregate.Change{change("patient", "A", "admitted")}, false); p == nil || p.Code != problem.Forbidden {
		t.Errorf("a reader stages: got %v, want forbidden", p)
	}
	if got := s.staged(ada); len(got) != 1 {
		t.Errorf("got %q staged, want the first one alone", got)
	}
}

// Nothing of it can be read, moved to another actor, or found by a name, without the keys.
func TestSealed(t *testing.T) {
	s := newSite(t, nil)
	ada, bob := s.caller("ada"), s.caller("bob")
	s.mustAdd(ada, change("patient", "secret-id", "admitted", "name", "secret-name"))
	s.mustAdd(bob, change("patient", "B", "admitted"))
	values := s.bucket.Values()
	if len(values) != 2 {
		t.Fatalf("got %d values, want one for each actor", len(values))
	}
	var keys []string
	for key, value := range values {
		keys = append(keys, key)
		for _, text := range []string{"secret-id", "secret-name", "ada", "bob", "patient", "admitted"} {
			if bytes.Contains(value, []byte(text)) || strings.Contains(key, text) {
				t.Errorf("%s stands in the bucket", text)
			}
		}
	}
	// Whoever may write the bucket exchanges the two.
	for i, key := range keys {
		_, revision, _ := s.bucket.Get(t.Context(), key)
		if err := s.bucket.Put(t.Context(), key, values[keys[1-i]], revision); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []staging.Caller{ada, bob} {
		if _, p := s.staging().List(t.Context(), again(who), 0, 10); p == nil || p.Code != problem.Damaged {
			t.Errorf("exchanged: got %v, want damaged", p)
		}
		if _, p := s.staging().Commit(t.Context(), again(who), staging.Context{}); p == nil || p.Code != problem.Damaged {
			t.Errorf("commit what was exchanged: got %v, want damaged", p)
		}
		if _, p := s.staging().Discard(t.Context(), again(who), nil); p != nil {
			t.Errorf("discard what cannot be opened: got %v, want nil", p)
		}
		if got := s.staged(who); len(got) > 0 {
			t.Errorf("got %q staged, want nothing", got)
		}
	}
}

// Two sessions that stage at the same time lose nothing, and a repeat of a request stages nothing twice.
func TestSessionsStageAtOnce(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	var running sync.WaitGroup
	for session := range 6 {
		running.Go(func() {
			for i := range 5 {
				c := again(ada)
				for range 2 {
					if _, p := s.staging().Add(t.Context(), c, []aggregate.Change{change("patient", fmt.Sprint(session, "-", i), "admitted")}, false); p != nil {
						t.Error(p)
					}
				}
			}
		})
	}
	running.Wait()
	got := s.staged(ada)
	slices.Sort(got)
	if len(got) != 30 || len(slices.Compact(got)) != 30 {
		t.Errorf("got %d events staged, want 30 different ones: %q", len(got), got)
	}
}

// Commits at the same time, while others stage: everything is stored once.
func TestCommitsAtOnce(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	var running sync.WaitGroup
	var staged atomic.Int64
	for session := range 4 {
		running.Go(func() {
			for i := range 8 {
				id := fmt.Sprint("P", i%3)
				if _, p := s.staging().Add(t.Context(), again(ada), []aggregate.Change{change("patient", id, "admitted", "name", fmt.Sprint(session, i))}, false); p != nil {
					t.Errorf("stage: %v", p)
					return
				}
				staged.Add(1)
				if i%2 == 1 {
					if _, p := s.staging().Commit(t.Context(), again(ada), staging.Context{}); p != nil && p.Code != problem.NotFound {
						t.Errorf("commit: %v", p)
					}
				}
			}
		})
	}
	running.Wait()
	if _, p := s.staging().Commit(t.Context(), again(ada), staging.Context{}); p != nil && p.Code != problem.NotFound {
		t.Error(p)
	}
	if events, _ := s.stored("patient"); len(events) != int(staged.Load()) {
		t.Errorf("got %d events stored, want %d", len(events), staged.Load())
	}
	if got := s.staged(ada); len(got) > 0 {
		t.Errorf("got %q staged, want nothing", got)
	}
}

// A refused commit leaves everything as it was, and tells all failing checks at once.
func TestRefusedCommitLeavesTheStaging(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	s.mustAdd(ada, expecting(aggregate.None, change("patient", "A", "admitted")), expecting(aggregate.None, change("bed", "1", "taken")), change("patient", "C", "admitted"))
	before := s.staged(ada)
	for i, c := range []aggregate.Change{change("patient", "A", "admitted"), change("bed", "1", "taken")} {
		if _, p := s.execute(t.Context(), writer.Request{Token: ada.Token, Command: aggregate.Command{ID: fmt.Sprint("other-", i), Changes: []aggregate.Change{c}}}); p != nil {
			t.Fatal(p)
		}
	}
	_, p := s.staging().Commit(t.Context(), again(ada), staging.Context{})
	if p == nil || p.Code != problem.Conflict || len(p.Problems) != 2 {
		t.Errorf("got %v, want a conflict with two failing checks", p)
	}
	if diff := cmp.Diff(before, s.staged(ada)); diff != "" {
		t.Errorf("staged behind a refused commit (-want +got):\n%s", diff)
	}
	for _, id := range []event.AggregateID{{Type: "patient", ID: "A"}, {Type: "bed", ID: "1"}} {
		if _, p := s.staging().Discard(t.Context(), again(ada), &id); p != nil {
			t.Fatal(p)
		}
	}
	if _, p := s.staging().Commit(t.Context(), again(ada), staging.Context{}); p != nil {
		t.Errorf("commit the rest: %v", p)
	}
}

// The answer was lost and the client asks again, when something else is staged already: it gets the first answer, and commits nothing else.
func TestRepeatedCommit(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	s.mustAdd(ada, change("patient", "A", "admitted"))
	request := again(ada)
	first, p := s.staging().Commit(t.Context(), request, staging.Context{})
	if p != nil {
		t.Fatal(p)
	}
	s.mustAdd(ada, change("patient", "B", "admitted"))
	second, p := s.staging().Commit(t.Context(), request, staging.Context{})
	if p != nil || !second.Repeated || second.Command != first.Command || second.Left != 1 || second.Commits[0].Root != first.Commits[0].Root {
		t.Errorf("got %+v, %v, want the first answer again: %+v", second, p, first)
	}
	if got := s.staged(ada); len(got) != 1 {
		t.Errorf("got %q staged, want patient/B", got)
	}
}

// TestCommitAfterEveryCrash ends the process at each of its side effects, not persisted and persisted with the answer lost. Whoever comes next commits,
// stages more first, or discards.
func TestCommitAfterEveryCrash(t *testing.T) {
	s := newSite(t, nil)
	n := 0
	for _, f := range []fault{notThere, lost} {
		for _, next := range []string{"commit", "same request", "stage and commit", "discard", "commit elsewhere first"} {
			for at := 1; ; at++ {
				n++
				if !s.crashed(fmt.Sprintf("p%d", n), at, f, next) {
					break
				}
				if at > 10 {
					t.Fatal("a commit has more than 10 side effects")
				}
			}
		}
	}
}

// crashed runs one commit that ends at a side effect, and what comes next; false: the commit has fewer side effects.
func (s *site) crashed(person string, at int, f fault, next string) bool {
	t := s.t
	t.Helper()
	what := fmt.Sprintf("side effect %d, fault %d, then %s", at, f, next)
	who := s.caller(person)
	s.mustAdd(who, change("patient", person, "admitted"), change("bed", person, "taken"), change("patient", person, "crp", "crp", "1"))
	request := again(who)
	p := &process{s: s, at: at, fault: f}
	_, refused := p.staging().Commit(t.Context(), request, staging.Context{})
	if !p.dead() {
		if refused != nil {
			t.Errorf("%s: got %v, want a commit", what, refused)
		}
		return false
	}
	if refused == nil {
		t.Errorf("%s: got an answer from a process that has ended", what)
	}
	want := 3
	switch next {
	case "same request":
		s.mustCommit(what, request)
	case "stage and commit":
		s.mustAdd(who, change("patient", person, "crp", "crp", "2"))
		s.mustCommit(what, again(who))
		want = 4
	case "discard":
		if _, p := s.staging().Discard(t.Context(), again(who), nil); p != nil {
			t.Errorf("%s: %v", what, p)
		}
		want = s.count(person) // none or all, and no more from now on
		if want != 0 && want != 3 {
			t.Errorf("%s: got %d events, want none or all", what, want)
		}
		if _, p := s.staging().Commit(t.Context(), again(who), staging.Context{}); p == nil || p.Code != problem.NotFound {
			t.Errorf("%s: commit: got %v, want that nothing is staged", what, p)
		}
	case "commit elsewhere first":
		if _, p := s.execute(t.Context(), writer.Request{Token: who.Token, Command: aggregate.Command{ID: "other-" + person, Changes: []aggregate.Change{change("bed", person, "freed")}}}); p != nil {
			t.Fatal(p)
		}
		s.mustCommit(what, again(who))
		want = 4
	default:
		s.mustCommit(what, again(who))
	}
	if got := s.count(person); got != want {
		t.Errorf("%s: got %d events stored, want %d", what, got, want)
	}
	if left := s.staged(who); len(left) > 0 {
		t.Errorf("%s: got %q staged, want nothing", what, left)
	}
	return true
}

func (s *site) mustCommit(what string, c staging.Caller) {
	s.t.Helper()
	_, p := s.staging().Commit(s.t.Context(), c, staging.Context{})
	if p != nil && p.Code != problem.NotFound { // the commit that was cut short had stored and cleared everything
		s.t.Errorf("%s: %v", what, p)
	}
}

// count is the number of stored events of aggregates with this id.
func (s *site) count(id string) (n int) {
	events, _ := s.stored("patient")
	for _, e := range events {
		if strings.Contains(e, "/"+id+" ") {
			n++
		}
	}
	return n
}

// The server was away longer than command ids are remembered, or a million commands came in between: what a commit that was cut short has stored is found by the
// versions that it moved.
func TestCommitBehindTheWindow(t *testing.T) {
	var ahead atomic.Int64
	s := newSite(t, func(c *writer.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	for i, more := range []int{0, 3} {
		person := fmt.Sprint("w", i)
		who := s.caller(person)
		s.mustAdd(who, change("patient", person, "admitted"), change("patient", person, "crp", "crp", "1"))
		p := &process{s: s, at: 3, fault: notThere} // noted, stored, not cleared
		if _, refused := p.staging().Commit(t.Context(), again(who), staging.Context{}); refused == nil || s.count(person) != 2 {
			t.Fatalf("got %v and %d events, want a commit that is stored and not cleared", refused, s.count(person))
		}
		ahead.Add(int64(25 * time.Hour))
		for j := range more {
			c := change("patient", person, "crp", "crp", fmt.Sprint(j))
			if _, p := s.execute(t.Context(), writer.Request{Token: who.Token, Command: aggregate.Command{ID: fmt.Sprint("more-", i, "-", j), Changes: []aggregate.Change{c}}}); p != nil {
				t.Fatal(p)
			}
		}
		answer, refused := s.staging().Commit(t.Context(), again(who), staging.Context{})
		if refused != nil || !answer.Repeated || answer.Commits[0].Version != 2 {
			t.Errorf("got %+v, %v, want that version 2 was stored earlier", answer, refused)
		}
		if got := s.count(person); got != 2+more {
			t.Errorf("got %d events, want %d", got, 2+more)
		}
	}
}

// More was stored since than a conflict names: nobody can tell any more whether the commit is stored, so it is not stored again.
func TestCommitFarBehindTheWindow(t *testing.T) {
	var ahead atomic.Int64
	s := newSite(t, func(c *writer.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	who := s.caller("far")
	s.mustAdd(who, change("patient", "far", "admitted"))
	p := &process{s: s, at: 3, fault: notThere} // noted, stored, not cleared
	if _, refused := p.staging().Commit(t.Context(), again(who), staging.Context{}); refused == nil || s.count("far") != 1 {
		t.Fatalf("got %v and %d events, want a commit that is stored and not cleared", refused, s.count("far"))
	}
	ahead.Add(int64(25 * time.Hour))
	const more = 30
	for j := range more {
		c := change("patient", "far", "crp", "crp", fmt.Sprint(j))
		if _, p := s.execute(t.Context(), writer.Request{Token: who.Token, Command: aggregate.Command{ID: fmt.Sprint("more-", j), Changes: []aggregate.Change{c}}}); p != nil {
			t.Fatal(p)
		}
	}
	answer, refused := s.staging().Commit(t.Context(), again(who), staging.Context{})
	if refused == nil || refused.Code != problem.Conflict || !strings.Contains(refused.Hint, "discard") || s.count("far") != 1+more {
		t.Errorf("got %+v, %v and %d events, want it refused with a way out, and %d events", answer, refused, s.count("far"), 1+more)
	}
}

// Somebody stages while the commit is stored and not yet cleared: it stays staged.
func TestStagedWhileCommitting(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	s.mustAdd(ada, change("patient", "A", "admitted"))
	st := s.stagingOn(s.bucket, func(ctx context.Context, r writer.Request) (*writer.Answer, *problem.Problem) {
		answer, p := s.execute(ctx, r)
		if !r.Command.DryRun {
			s.mustAdd(ada, change("patient", "B", "admitted"))
		}
		return answer, p
	})
	answer, p := st.Commit(t.Context(), again(ada), staging.Context{})
	if p != nil || len(answer.Commits) != 1 {
		t.Fatalf("got %+v, %v, want the commit of patient/A", answer, p)
	}
	if diff := cmp.Diff([]string{"patient/B admitted"}, s.staged(ada)); diff != "" {
		t.Errorf("staged (-want +got):\n%s", diff)
	}
	second, p := s.staging().Commit(t.Context(), again(ada), staging.Context{})
	if p != nil || second.Command == answer.Command {
		t.Errorf("got %+v, %v, want another command than %s", second, p, answer.Command)
	}
	if events, _ := s.stored("patient"); !slices.Equal(events, []string{"patient/A admitted", "patient/B admitted"}) {
		t.Errorf("got %q stored, want each once", events)
	}
}

// A token for some aggregates shows and drops only those.
func TestNarrowTokens(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	s.mustAdd(ada, change("patient", "A", "admitted"), change("bed", "1", "taken"), change("bed", "2", "taken"))
	beds := s.caller("ada", func(c *token.Claims) { c.Aggregates = []string{"bed"} })
	list, p := s.staging().List(t.Context(), again(beds), 0, 10)
	if p != nil || len(list.Events) != 2 || list.Hidden != 1 {
		t.Errorf("got %+v, %v, want two beds and one hidden event", list, p)
	}
	if _, p := s.staging().Discard(t.Context(), again(beds), nil); p == nil || p.Code != problem.Forbidden {
		t.Errorf("discard everything: got %v, want forbidden", p)
	}
	if d, p := s.staging().Discard(t.Context(), again(beds), &event.AggregateID{Type: "bed", ID: "2"}); p != nil || d.Left != 2 {
		t.Errorf("discard a bed: got %+v, %v", d, p)
	}
	if _, p := s.staging().Commit(t.Context(), again(beds), staging.Context{}); p == nil || p.Code != problem.Forbidden {
		t.Errorf("commit: got %v, want forbidden", p)
	}
	if got := s.staged(ada); len(got) != 2 {
		t.Errorf("got %q staged, want two events", got)
	}
}

// The name of an actor opens nothing: a token of another type, or of another auth key that may not read, is not told that anything is staged.
func TestForeignTokensSeeNothing(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	s.mustAdd(ada, change("patient", "A", "admitted"))
	for name, change := range map[string]func(*token.Claims){
		"another type":        func(c *token.Claims) { c.Aggregates = []string{"bed"} },
		"another aggregate":   func(c *token.Claims) { c.AggregateIDs = []event.AggregateID{{Type: "patient", ID: "B"}} },
		"another key":         func(c *token.Claims) { c.Issuer = "another" },
		"another key and bed": func(c *token.Claims) { c.Issuer, c.Aggregates = "another", []string{"bed"} },
	} {
		claims := *ada.Claims
		change(&claims)
		who := again(ada)
		who.Claims = &claims
		list, p := s.staging().List(t.Context(), who, 0, 10)
		if p != nil || len(list.Events) != 0 || list.Hidden != 0 || list.Command != "" {
			t.Errorf("%s: got %+v, %v, want an empty list", name, list, p)
		}
		if _, p := s.staging().Discard(t.Context(), again(who), nil); p == nil || p.Code != problem.NotFound {
			t.Errorf("%s: discard: got %v, want not_found", name, p)
		}
	}
	claims := *ada.Claims
	claims.Issuer, claims.Actions = "another", []token.Action{token.ActionWrite, token.ActionRead}
	reader := again(ada)
	reader.Claims = &claims
	if list, p := s.staging().List(t.Context(), reader, 0, 10); p != nil || len(list.Events) != 1 {
		t.Errorf("another key that may read: got %+v, %v, want one event", list, p)
	}
}

func TestListPages(t *testing.T) {
	s := newSite(t, nil)
	ada := s.caller("ada")
	for i := range 5 {
		s.mustAdd(ada, change("patient", fmt.Sprint(i), "admitted", "name", strings.Repeat("x", 60_000)))
	}
	var seen []string
	for after, pages := uint64(0), 0; ; pages++ {
		list, p := s.staging().List(t.Context(), again(ada), after, 4)
		if p != nil || len(list.Events) == 0 || len(list.Events) > 2 || pages > 3 {
			t.Fatalf("page %d: got %d events, %v, want one or two", pages, len(list.Events), p)
		}
		for _, e := range list.Events {
			seen = append(seen, e.ID)
		}
		if after = list.Cursor; after == 0 {
			break
		}
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "3", "4"}, seen); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}
