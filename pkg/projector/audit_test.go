package projector_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// acts asks for all pages of what is wanted, and gives "actor event type/id" of each act.
func acts(t *testing.T, p *projector.Projector, want projector.ActsWanted) (out []string) {
	t.Helper()
	for pages := 0; ; pages++ {
		page, err := p.Acts(t.Context(), want)
		if err != nil || pages > 50 {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, a := range page.Acts {
			out = append(out, a.Actor+" "+a.Event.Event+" "+a.Type+"/"+a.ID)
		}
		if want.Cursor = page.Cursor; want.Cursor == "" {
			return out
		}
	}
}

// Acts come in the order of the log, from the index and from what is not in it yet, each once; filters leave out the others.
func TestActs(t *testing.T) {
	h := newHarness(t)
	h.verifyAtEnd()
	b := h.log(event.Reserved)
	act := func(actor, kind, id, eventType string) {
		b.Block(verifytest.Commit{Aggregate: verifytest.Aggregate(kind, id), Actor: actor, Events: []verifytest.Event{{Type: eventType}}})
	}
	var all []string
	var p *projector.Projector
	for i := range 10 {
		name := fmt.Sprintf("T%d", i)
		act("auth-key:one", "eventful-token", name, "token-issued")
		act("user:anna", "eventful-token", name, "budget-granted")
		act("auth-key:two", "eventful-schema", "patient", "schema-drafted")
		all = append(all, "auth-key:one token-issued eventful-token/"+name, "auth-key:two schema-drafted eventful-schema/patient")
		if i == 4 { // the first half is in the index, the second in memory
			h.start()
			h.current()
			h.stop()
			p = h.start()
		}
	}
	h.log("patient").Block(one("A", "crp"))
	h.current()
	for name, test := range map[string]struct {
		want projector.ActsWanted
		got  []string
	}{
		"all":                  {projector.ActsWanted{Take: 3}, all},
		"one actor":            {projector.ActsWanted{Actor: "auth-key:one", Take: 1}, every(all, 0)},
		"an actor's beginning": {projector.ActsWanted{Actor: "auth-key:o…", Take: 1}, every(all, 0)},
		"no beginning":         {projector.ActsWanted{Actor: "auth-key:o"}, nil},
		"about a type":         {projector.ActsWanted{About: event.AggregateID{Type: "patient"}}, every(all, 1)},
		"of a type":            {projector.ActsWanted{About: event.AggregateID{Type: "eventful-token"}}, every(all, 0)},
		"about one":            {projector.ActsWanted{About: verifytest.Aggregate("eventful-token", "T7"), Units: true}, []string{all[14], "user:anna budget-granted eventful-token/T7"}},
		"that may be seen":     {projector.ActsWanted{May: func(a event.AggregateID) bool { return a.Type == "eventful-schema" }}, every(all, 1)},
		"since the future":     {projector.ActsWanted{Since: time.Now().Add(100 * 365 * 24 * time.Hour)}, nil},
		"until the beginning":  {projector.ActsWanted{Until: time.Unix(1, 0)}, nil},
	} {
		if diff := cmp.Diff(test.got, acts(t, p, test.want)); diff != "" {
			t.Errorf("%s: diff (-want +got):\n%s", name, diff)
		}
	}
	page, err := p.Acts(t.Context(), projector.ActsWanted{Take: 7})
	if err != nil {
		t.Fatal(err)
	}
	since, err := time.Parse(time.RFC3339Nano, page.Acts[5].Time)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[5:], acts(t, p, projector.ActsWanted{Since: since})); diff != "" {
		t.Errorf("since the sixth: diff (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[:5], acts(t, p, projector.ActsWanted{Until: since})); diff != "" {
		t.Errorf("until the sixth: diff (-want +got):\n%s", diff)
	}
	for _, cursor := range []string{"x", "AAAA", "====", "patient"} {
		if _, err := p.Acts(t.Context(), projector.ActsWanted{Cursor: cursor}); !errors.Is(err, &problem.Problem{Code: problem.Malformed}) {
			t.Errorf("cursor %q: got %v, want malformed", cursor, err)
		}
	}
}

func every(all []string, which int) (out []string) {
	for i := which; i < len(all); i += 2 {
		out = append(out, all[i])
	}
	return out
}
