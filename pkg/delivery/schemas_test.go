package delivery_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// A plugin whose configuration names what a later schema has lost goes on behind a restart as it did before, and with what was changed since where nothing is lost.
func TestAFieldThatIsLost(t *testing.T) {
	t.Parallel()
	sink := newTarget()
	k := sink.kind(false)
	k.Check = func(s plugin.Settings) []error {
		if of := s.Schema("patient"); of == nil || !slices.Contains(of.Events["came"].Fields, "crp") {
			return []error{errors.New("came has no field crp")}
		}
		return nil
	}
	var opened []plugin.Settings
	open := k.Open
	k.Open = func(ctx context.Context, s plugin.Settings) (plugin.Plugin, error) {
		if problems := k.Check(s); len(problems) > 0 {
			return nil, errors.Join(problems...)
		}
		opened = append(opened, s)
		return open(ctx, s)
	}
	w := newWorld(t, k)
	w.write(5, 5)
	w.configure("sink", nil)
	_, stop := w.runner()
	w.arrived(sink)
	w.migrate("bed", `{"aggregate":"bed","log":"patient","fields":{},"events":{"taken":{}}}`, "1")
	w.migrate("patient", `{"aggregate":"patient","log":"patient","fields":{"name":{"pii":true},"crp":{},"more":{}},"events":{"came":{"fields":["crp","more","name"]},"left":{"deletes":true}}}`, "2")
	stop()
	_, stop = w.runner()
	w.write(5, 5)
	w.arrived(sink)
	w.migrate("patient", `{"aggregate":"patient","log":"patient","fields":{"name":{"pii":true}},"events":{"came":{"fields":["name"]},"left":{"deletes":true}}}`, "3")
	stop()
	e, stop := w.runner()
	w.write(5, 5)
	w.arrived(sink)
	w.until("it can be tried", func() bool { return e.Try(t.Context(), "sink") == nil })
	stop()
	if n := opened[1].Schema("patient").Version; n != 2 {
		t.Errorf("with nothing lost: got version %d, want the newest, 2", n)
	}
	last := opened[len(opened)-1]
	if n := last.Schema("patient").Version; n != 1 || last.Schema("bed") == nil {
		t.Errorf("with a field lost: got version %d and %v, want 1, which it was configured under, and the types that came since", n, last.Schema("bed"))
	}
}

// migrate records a schema.
func (w *world) migrate(aggregateType, definition, version string) {
	w.t.Helper()
	w.act(schema.SystemSchema, aggregateType, "schema-migrated", map[string]string{"definition": definition, "digest": schema.Digest([]byte(definition)).String(), "version": version, "log": "patient"})
}
