package writer_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

var replacedAt = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

func configAct(id string) writer.ConfigAct {
	return writer.ConfigAct{ID: id, Event: "dek-replaced", Issuer: "issuer", At: replacedAt, Fields: map[string]string{"user": "anna(1000)", "proved": "dek", "proof": "proof"}}
}

func (e *affected) enterConfig() *problem.Problem { return e.w.EnterConfig(e.ctx, configAct("A")) }

// enteredOnce holds that the act stands there once, as it was done.
func (e *affected) enteredOnce() error {
	e.t.Helper()
	if p := e.enterConfig(); p != nil {
		return p
	}
	return e.entered("A")
}

func (s *site) entered(ids ...string) error {
	found := map[string]int{}
	for _, c := range s.commits("eventful") {
		if c.Aggregate.Type != "eventful-config" {
			continue
		}
		found[c.Aggregate.ID]++
		e := c.Events[0]
		if c.Actor != "operator:local" || c.Issuer != "issuer" || len(c.Events) != 1 || e.OccurredAt == nil || int64(*e.OccurredAt) != replacedAt.UnixNano() {
			return fmt.Errorf("got %+v", c)
		}
	}
	for _, id := range ids {
		if found[id] != 1 {
			return fmt.Errorf("act %s stands there %d times", id, found[id])
		}
	}
	if len(found) != len(ids) {
		return fmt.Errorf("got %v, want %v", found, ids)
	}
	return nil
}

// TestConfigActsAreEnteredOnce: whichever process sends them, however often, and with answers that get lost.
func TestConfigActsAreEnteredOnce(t *testing.T) {
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.lead("a", "eventful")
	c.lines.setLose(func(_, _, verb string) bool { return verb == "config" && c.doors.coin() })
	var sending sync.WaitGroup
	var ids []string
	for i := range 10 {
		id := fmt.Sprint("act", i)
		ids = append(ids, id)
		for _, m := range []string{"a", "b", "b"} {
			sending.Go(func() {
				if p := c.members[m].w.EnterConfig(t.Context(), configAct(id)); p != nil {
					t.Errorf("%s by %s: %v", id, m, p)
				}
			})
		}
	}
	sending.Wait()
	c.leaveTo("eventful", func(m *member) bool { return m.name == "b" })
	for _, m := range c.members {
		if p := m.w.EnterConfig(t.Context(), configAct("act0")); p != nil {
			t.Errorf("once more: %v", p)
		}
		families, err := m.metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "eventful_writer_refused_total" {
				t.Errorf("%s counts %v, want none: it is no conflict that an act comes again", m.name, f.GetMetric())
			}
		}
	}
	if err := c.boss.entered(ids...); err != nil {
		t.Error(err)
	}
}

// TestBadConfigActs: another writer process may be broken, or of another version.
func TestBadConfigActs(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	for name, change := range map[string]func(*writer.ConfigAct){
		"no id":         func(a *writer.ConfigAct) { a.ID = "" },
		"another event": func(a *writer.ConfigAct) { a.Event = "key-added" },
		"no proof":      func(a *writer.ConfigAct) { a.Fields = map[string]string{"user": "anna"} },
		"another field": func(a *writer.ConfigAct) {
			a.Fields = map[string]string{"user": "a", "proved": "b", "proof": "c", "x": "y"}
		},
		"a field too big": func(a *writer.ConfigAct) {
			a.Fields = map[string]string{"user": "a", "proved": "b", "proof": strings.Repeat("c", 2<<20)}
		},
	} {
		a := configAct("A")
		change(&a)
		if p := s.w.EnterConfig(t.Context(), a); p == nil || p.Code == problem.Unavailable || p.Code == problem.UnknownOutcome {
			t.Errorf("%s: got %v, want that it is refused for good", name, p)
		}
	}
	if err := s.entered(); err != nil {
		t.Error(err)
	}
}
