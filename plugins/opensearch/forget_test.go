package opensearch_test

import (
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/plugins/opensearch"
)

// When the encrypted fields of an aggregate are forgotten its document loses them, keeps its version and all else, and a late change does not bring them back.
func TestForgotten(t *testing.T) {
	address := shared(t)
	s := settings(t, address)
	secret, err := schema.Compile(schema.Definition{Aggregate: "patient", Fields: map[string]schema.Field{"name": {PII: true}}, Events: map[string]schema.Event{
		"patient-admitted": {Fields: []string{"name", "ward"}}, "patient-updated": {Fields: []string{"name", "ward"}}, "patient-erased": {Deletes: true},
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.Schemas = []*schema.Schema{secret}
	p := open(t, s)
	first, second := plugintest.Change("A", 1, "name", "Ada", "ward", "7"), state(plugintest.Change("A", 2, "ward", "8"), "name", "Ada", "ward", "8")
	done(t, p, first, plugintest.Change("B", 1, "name", "Bea"), plugintest.Delete("C", 1))
	done(t, p, second)
	done(t, p, plugintest.Forget("A"), plugintest.Forget("C"), plugintest.Forget("D"))
	want(t, address, "A", 2, `{"ward":"8"}`)
	want(t, address, "B", 1, `{"name":"Bea"}`)
	want(t, address, "C", 0, "")
	want(t, address, "D", 0, "")
	late, again := second, plugintest.Forget("A")
	late.Again, again.Again = true, true
	done(t, p, late) // by a process that was paused with it
	done(t, p, again)
	want(t, address, "A", 2, `{"ward":"8"}`)
	done(t, p, state(plugintest.Change("A", 3, "ward", "9"), "ward", "9"))
	want(t, address, "A", 3, `{"ward":"9"}`)
}

// plugin:show writes a mapping out, and what it shows is taken again; secret options are not its business.
func TestShow(t *testing.T) {
	s := settings(t, "http://127.0.0.1:1")
	shown := opensearch.Kind().Show(s)
	if !strings.Contains(shown["mapping"], "from: state.ward, type: keyword") || shown["url"] != "http://127.0.0.1:1" {
		t.Errorf("got %v", shown)
	}
	s.Options = shown
	if again := opensearch.Kind().Show(s); again["mapping"] != shown["mapping"] {
		t.Errorf("shown again it is %s", again["mapping"])
	}
	if _, err := opensearch.Kind().Examine(s, plugin.Option{Name: "on-error", Default: "park"}); err != nil {
		t.Errorf("what is shown is not taken: %v", err)
	}
}
