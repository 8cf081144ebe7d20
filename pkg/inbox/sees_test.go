package inbox_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/streams"
)

// TestRefusedCommandsAreSeenByRight: the name of the actor alone opens nothing, as whoever holds an auth key can name any.
func TestRefusedCommandsAreSeenByRight(t *testing.T) {
	o := newOffice(t, func(context.Context, string, nats.Header, []byte) *problem.Problem {
		return problem.New(problem.Invalid, "no")
	}, nil)
	stop := o.run()
	header := nats.Header{streams.HeaderToken: {"token-of-ada"}}
	refused := func(n int) { until(t, "it is refused", func() bool { return len(o.entries()) == n }) }
	o.put(event.AggregateID{Type: "patient", ID: "A"}, `{"name":"Ada"}`)
	refused(1)
	o.raw("inbox.cmd.bed", header, `{"commits":[{"type":"bed","id":"1","events":[{"event":"taken"}]},{"type":"patient","id":"A","events":[{"event":"crp"}]}]}`)
	refused(2)
	o.raw("inbox.cmd.bed", header, `{"commits":[{"type":"bed","id":"1"`)
	refused(3)
	stop()
	write, both := []token.Action{token.ActionWrite}, []token.Action{token.ActionWrite, token.ActionRead}
	for name, c := range map[string]struct {
		change func(*token.Claims)
		want   []uint64
	}{
		"its own token":              {func(*token.Claims) {}, []uint64{1, 2, 3}},
		"of the same key":            {func(c *token.Claims) { c.ID = "other" }, []uint64{1, 2, 3}},
		"of the same key, patients":  {func(c *token.Claims) { c.ID, c.Aggregates = "other", []string{"patient"} }, []uint64{1}},
		"of the same key, beds":      {func(c *token.Claims) { c.ID, c.Aggregates = "other", []string{"bed"} }, nil},
		"of the same key, patient B": {func(c *token.Claims) { c.ID, c.AggregateIDs = "other", []event.AggregateID{{Type: "patient", ID: "B"}} }, nil},
		"of the same key, patient A": {func(c *token.Claims) { c.ID, c.AggregateIDs = "other", []event.AggregateID{{Type: "patient", ID: "A"}} }, []uint64{1}},
		"of another key":             {func(c *token.Claims) { c.ID, c.Issuer, c.Actions = "other", "other", write }, nil},
		"of another key, beds": {func(c *token.Claims) {
			c.ID, c.Issuer, c.Actions, c.Aggregates = "other", "other", both, []string{"bed"}
		}, nil},
		"of another key that may read":     {func(c *token.Claims) { c.ID, c.Issuer, c.Actions = "other", "other", both }, []uint64{1, 2}},
		"of somebody else, who may do all": {func(c *token.Claims) { c.IdentifierID, c.Actions = "eve", both }, nil},
	} {
		who := caller("ada")
		c.change(who.Claims)
		page, p := o.engine.List(t.Context(), who, 0, 10)
		if p != nil {
			t.Fatal(p)
		}
		var got []uint64
		for _, e := range page.Refused {
			got = append(got, e.Number)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: listed (-want +got):\n%s", name, diff)
		}
		for n := uint64(1); n <= 3; n++ {
			if slices.Contains(c.want, n) {
				continue
			}
			_, showing := o.engine.Show(t.Context(), who, n)
			_, retrying := o.engine.Retry(t.Context(), who, n)
			_, purging := o.engine.Purge(t.Context(), who, n, "")
			for act, p := range map[string]*problem.Problem{"show": showing, "retry": retrying, "purge": purging} {
				if p == nil || p.Code != problem.NotFound {
					t.Errorf("%s: %s %d: got %v, want not_found", name, act, n, p)
				}
			}
		}
		if len(c.want) == 0 {
			if done, p := o.engine.Purge(t.Context(), who, 0, ""); p != nil || done.Purged != 0 {
				t.Errorf("%s: purge all: got %v, %v, want none", name, done, p)
			}
		}
	}
	if len(o.acts) != 0 {
		t.Errorf("got %v on record, want nothing, as nothing was done", o.acts)
	}
	o.purgesAreOnRecord()
}

// purgesAreOnRecord: what cannot be recorded is not done.
func (o *office) purgesAreOnRecord() {
	o.t.Helper()
	o.unrecorded = problem.New(problem.Unavailable, "the system log has no writer")
	_, purging := o.engine.Purge(o.t.Context(), caller("ada"), 1, "")
	_, retrying := o.engine.Retry(o.t.Context(), caller("ada"), 2)
	if len(o.entries()) != 3 || purging == nil || retrying == nil {
		o.t.Errorf("without a record: got %v, %v and %d refused commands, want problems and 3", purging, retrying, len(o.entries()))
	}
	o.unrecorded, o.acts = nil, nil
	if _, p := o.engine.Retry(o.t.Context(), caller("ada"), 2); p != nil {
		o.t.Error(p)
	}
	var who inbox.Caller = admin()
	if done, p := o.engine.Purge(o.t.Context(), who, 0, ""); p != nil || done.Purged != 2 {
		o.t.Errorf("purge all: got %v, %v, want 2", done, p)
	}
	want := []string{"user:ada refused-retried 2 user:ada", "user:admin refused-purged 1 user:ada", "user:admin refused-purged 3 user:ada"}
	if diff := cmp.Diff(want, o.acts); diff != "" {
		o.t.Errorf("on record (-want +got):\n%s", diff)
	}
}
