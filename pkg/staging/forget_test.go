package staging_test

import (
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/staging"
)

func TestForget(t *testing.T) {
	s := newSite(t, nil)
	st := s.staging()
	ada, bert := s.caller("ada"), s.caller("bert")
	about := event.AggregateID{Type: "patient", ID: "A"}
	for _, c := range []staging.Caller{ada, bert} {
		for _, id := range []string{"A", "B", "A"} {
			if _, p := st.Add(t.Context(), again(c), []aggregate.Change{change("patient", id, "admitted", "name", "secret")}, false); p != nil {
				t.Fatal(p)
			}
		}
	}
	for _, dry := range []bool{true, false} {
		if n, p := st.Forget(t.Context(), about, dry); p != nil || n != 4 {
			t.Errorf("dry %v: got %d, %v, want 4 events of two actors", dry, n, p)
		}
	}
	if n, p := st.Forget(t.Context(), about, false); p != nil || n != 0 {
		t.Errorf("repeated: got %d, %v", n, p)
	}
	for _, c := range []staging.Caller{ada, bert} {
		list, p := st.List(t.Context(), again(c), 0, 10)
		if p != nil || len(list.Events) != 1 || list.Events[0].ID != "B" {
			t.Errorf("left: got %+v, %v, want the one of B", list, p)
		}
		if answer, p := st.Commit(t.Context(), again(c), staging.Context{}); p != nil || len(answer.Commits) != 1 {
			t.Errorf("commit of what is left: got %+v, %v", answer, p)
		}
	}
}

// A commit that was cut short anywhere, and is forgotten then, is stored once or not at all, and nothing of it stays staged.
func TestForgetBehindACommitThatWasCutShort(t *testing.T) {
	for _, f := range []fault{notThere, lost} {
		for at := 2; at <= 5; at++ {
			t.Run(fmt.Sprintf("%v at %d", f, at), func(t *testing.T) {
				s := newSite(t, nil)
				c := s.caller("ada")
				st := s.staging()
				for _, id := range []string{"A", "B"} {
					if _, p := st.Add(t.Context(), again(c), []aggregate.Change{change("patient", id, "admitted", "name", "secret")}, false); p != nil {
						t.Fatal(p)
					}
				}
				dying := &process{s: s, at: at - 1, fault: f}
				_, _ = dying.staging().Commit(t.Context(), again(c), staging.Context{})
				if _, p := st.Forget(t.Context(), event.AggregateID{Type: "patient", ID: "A"}, false); p != nil {
					t.Fatal(p)
				}
				list, p := st.List(t.Context(), again(c), 0, 10)
				if p != nil {
					t.Fatal(p)
				}
				for _, e := range list.Events {
					if e.ID == "A" {
						t.Errorf("still staged: %+v", e)
					}
				}
				if len(list.Events) > 0 {
					if _, p := st.Commit(t.Context(), again(c), staging.Context{}); p != nil {
						t.Errorf("commit of what is left: %v", p)
					}
				}
				count := map[string]int{}
				events, _ := s.stored("patient")
				for _, e := range events {
					if count[e]++; count[e] > 1 {
						t.Errorf("stored twice: %s", e)
					}
				}
			})
		}
	}
}
