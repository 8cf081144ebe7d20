package sieve_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/pkg/plugin/sieve"
	"github.com/eventfuldb/eventful/pkg/schema"
)

func schemas(t *testing.T) []*schema.Schema {
	s, err := schema.Compile(schema.Definition{Aggregate: "patient", Fields: map[string]schema.Field{"crp": {Type: schema.Decimal}, "name": {PII: true}},
		Events: map[string]schema.Event{"patient-admitted": {Fields: []string{"name"}}, "patient-updated": {Fields: []string{"crp", "status", "name"}}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := schema.Compile(schema.Definition{Aggregate: "bed", Events: map[string]schema.Event{"taken": {}}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return []*schema.Schema{other, s}
}

// wire is a target that keeps the data of what it is handed, and refuses what says so.
type wire struct{ got []string }

func (w *wire) Deliver(_ context.Context, b plugin.Batch) (outcomes []plugin.Outcome) {
	for i := range b.Changes {
		w.got = append(w.got, string(plugin.AppendData(nil, &b.Changes[i])))
		outcomes = append(outcomes, plugin.Done())
		if f, ok := b.Changes[i].Field("status"); ok && f.Value == "later" {
			outcomes[i] = plugin.Retry(errors.New("later"))
		}
	}
	return outcomes
}

func (*wire) Test(context.Context) error { return nil }
func (*wire) Close() error               { return nil }

func kind(w *wire) *plugin.Kind {
	return sieve.Kind(&plugin.Kind{Name: "wire", Ordered: true, Open: func(context.Context, plugin.Settings) (plugin.Plugin, error) { return w, nil }})
}

var state = plugin.Option{Name: "state", Form: plugin.Boolean, Default: "false"}

// handed gives the statuses and the data of what a target gets under a mapping.
func handed(t *testing.T, mapping string, changes ...plugin.Change) (statuses, data string) {
	t.Helper()
	w := &wire{}
	k, s := kind(w), plugin.Settings{Schemas: schemas(t), Options: plugin.Values{"state": "true"}}
	if mapping != "" {
		s.Options["mapping"] = mapping
	}
	options, err := k.Examine(s, state)
	if err != nil {
		t.Fatal(err)
	}
	s.Options = options
	p, err := k.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, o := range p.Deliver(t.Context(), plugin.Batch{Changes: changes}) {
		all = append(all, o.Status.String())
	}
	return strings.Join(all, " "), strings.Join(w.got, "\n")
}

func TestWhatIsHandedOn(t *testing.T) {
	bed := plugintest.Change("b", 1)
	bed.Aggregate, bed.EventType, bed.State = event.AggregateID{Type: "bed", ID: "1"}, "taken", nil
	admitted, sick, died := plugintest.Change("a", 1, "name", "Ada"), plugintest.Change("a", 2, "crp", "21.50", "status", "sick"), plugintest.Change("a", 3, "status", "deceased")
	for _, c := range []*plugin.Change{&admitted, &sick, &died} {
		c.State = nil
	}
	forget := plugintest.Forget("a")
	for name, test := range map[string]struct {
		mapping        string
		statuses, data string
	}{
		"no mapping": {"", "done done done done done", `{"fields":{}}
{"fields":{"name":"Ada"}}
{"fields":{"crp":"21.50","status":"sick"}}
{"fields":{"status":"deceased"}}
{"fields":{"name":null}}`},
		"types": {"types: bed", "done done done done done", `{"fields":{}}`},
		"whole events by condition": {"rules: [{when: {events: patient-updated, if: event.crp > 20}}]", "done done done done done", `{"fields":{"crp":"21.50","status":"sick"}}
{"fields":{"name":null}}`},
		"fields": {"types: patient\nrules:\n- {when: {events: patient-updated}, fields: {lab.crp: event.crp, lab.unit: {constant: mg/l}, status: event.status, by: meta.actor}}\n- {when: {events: patient-admitted}, fields: {who.name: event.name}}",
			"done done done done done", `{"fields":{"who":{"name":"Ada"}}}
{"fields":{"by":"dr.house","lab":{"crp":21.50,"unit":"mg/l"},"status":"sick"}}
{"fields":{"by":"dr.house","lab":{"unit":"mg/l"},"status":"deceased"}}
{"fields":{"who":{"name":null}}}`},
	} {
		statuses, data := handed(t, test.mapping, bed, admitted, sick, died, forget)
		if statuses != test.statuses || data != test.data {
			t.Errorf("%s: got %s\n%s\nwant %s\n%s", name, statuses, data, test.statuses, test.data)
		}
	}
}

// TestOrderUnderASieve: what stands behind a change that cannot be mapped comes again, and outcomes are those of the changes that were handed on.
func TestOrderUnderASieve(t *testing.T) {
	const mapping = "types: patient\nrules: [{when: {events: patient-updated}, fields: {crp: event.crp}}]"
	statuses, data := handed(t, mapping, plugintest.Change("a", 2, "crp", "canary"), plugintest.Change("a", 3, "crp", "1"), plugintest.Change("b", 1), plugintest.Change("b", 2, "status", "later"), plugintest.Change("c", 2, "crp", "2"))
	if statuses != "park retry done retry done" || data != "{\"fields\":{}}\n{\"fields\":{\"crp\":2}}" {
		t.Errorf("got %s\n%s", statuses, data)
	}
}

func TestMappingsThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "it is empty",
		"target: x":                         "has no target",
		"key: '{id}'":                       "has no key",
		"document: aggregate":               "document is event",
		"delete: {events: patient-updated}": "never deleted",
		"rules: [{when: {events: patient-updated}}, {when: {events: patient-admitted}, fields: {a: event.name}}]": "one rule hands events on whole",
		"rules: [{fields: {a: event.colour}}]": "no field of these events",
		"rules: [{fields: {a: state.name}}]":   "give --state",
		"rules: [{when: {if: state.crp > 1}}]": "give --state",
	} {
		_, err := kind(nil).Examine(plugin.Settings{Schemas: schemas(t), Options: plugin.Values{"mapping": text}}, state)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestShown: a mapping is shown with everything written out, and what is shown means the same.
func TestShown(t *testing.T) {
	for _, text := range []string{"types: patient", "rules: [{when: {events: patient-updated, if: event.crp > 20}}]", "types: patient\nrules: [{copy: event, rename: {crp: lab}}]"} {
		s := plugin.Settings{Schemas: schemas(t), Options: plugin.Values{"mapping": text}}
		shown := kind(nil).Show(s)["mapping"]
		if again := kind(nil).Show(plugin.Settings{Schemas: s.Schemas, Options: plugin.Values{"mapping": shown}})["mapping"]; again != shown || !strings.Contains(shown, "version: \"1\"") {
			t.Errorf("got\n%s, then\n%s", shown, again)
		}
	}
}
