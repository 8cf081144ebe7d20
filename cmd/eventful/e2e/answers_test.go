package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// A refusal with more failing checks than a message holds tells as many as do, and a state that no message holds is refused (below): neither is silence, which
// a sender, or the inbox, would take for an engine that is away.
func TestAnswersThatNoMessageHolds(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	var body strings.Builder
	for i := range 512 {
		body.WriteString(`,{"type":"patient","id":"` + strings.Repeat("x", 100) + strconv.Itoa(i) + `","events":[{"event":"note","fields":{"` + strings.Repeat("f", 60) + `":1`)
		for j := range 90 {
			body.WriteString(`,"` + strings.Repeat("f", 50) + strconv.Itoa(j) + `":1`)
		}
		body.WriteString(`}}]}`)
	}
	many := `{"commits":[` + body.String()[1:] + `]}`
	g.check(t, badRequest{subject: "cmd.patient", body: many, want: problem.Invalid})
	g.check(t, badRequest{subject: "adm.staged.add", body: many, want: problem.Invalid})
}

func TestAStateThatNoMessageHolds(t *testing.T) {
	t.Parallel()
	s := configuredSite(t)
	schema := filepath.Join(s.root, "schema.yaml")
	if err := os.WriteFile(schema, []byte("{aggregate: doc, events: {set: {fields: [f0, f1, f2, f3, f4, f5, f6, f7, f8]}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.open(schema)
	c := s.client()
	doc := event.AggregateID{Type: "doc", ID: "large"}
	for i := range 9 {
		fields := client.Fields{"f" + strconv.Itoa(i): strings.Repeat("x", 1_000_000)}
		if _, err := c.Command(context.Background(), client.Command{Aggregate: doc, Event: "set", Fields: fields}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Get(context.Background(), doc, client.Latest()); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("got %v, want a state that is too large for an answer refused", err)
	}
	for e, err := range c.History(context.Background(), doc) {
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Fields) != 1 {
			t.Errorf("got %d fields of version %d, want one", len(e.Fields), e.Version)
		}
	}
}
