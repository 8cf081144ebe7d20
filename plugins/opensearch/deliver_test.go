package opensearch_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/plugins/opensearch"
)

func TestConformance(t *testing.T) {
	address := shared(t)
	s := settings(t, address)
	plugintest.Run(t, plugintest.Target{
		Kind: opensearch.Kind(), Versioned: true, Deletes: true,
		Open: func(t *testing.T) plugin.Plugin { return open(t, s) },
		Newest: func(t *testing.T, a event.AggregateID) event.Version {
			v, _ := read(t, address, "ev-testconformance", a.ID)
			return v
		},
	})
}

// state makes a change whose state differs from its fields.
func state(c plugin.Change, pairs ...string) plugin.Change {
	c.State = &plugin.State{Fields: plugintest.Change("x", 1, pairs...).Fields}
	return c
}

func TestStatusDeceasedUpdatesExactlyTheMappedFields(t *testing.T) {
	address := shared(t)
	p := open(t, settings(t, address, "on-error", "block", "mapping", `types: patient
target: `+place(t)+`
rules:
  - when: {events: patient-admitted}
    fields: {name: event.name, admitted_by: meta.actor, age: event.age}
  - when: {events: patient-updated}
    fields: {condition: event.status}
  - when: {events: patient-updated, if: event.status == "deceased"}
    fields: {died: meta.version}
`))
	done(t, p, state(plugintest.Change("A", 1, "age", "070", "name", "Ada"), "age", "070", "name", "Ada"))
	want(t, address, "A", 1, `{"name":"Ada","admitted_by":"dr.house","age":70}`)
	deceased := state(plugintest.Change("A", 2, "status", "deceased", "ward", "7"), "age", "070", "name", "Ada", "status", "deceased", "ward", "7")
	deceased.Meta.Actor = "dr.wilson"
	done(t, p, deceased)
	want(t, address, "A", 2, `{"name":"Ada","admitted_by":"dr.house","age":70,"condition":"deceased","died":2}`)
	done(t, p, state(plugintest.Change("A", 1, "age", "070", "name", "Ada"), "age", "070", "name", "Ada"), deceased)
	want(t, address, "A", 2, `{"name":"Ada","admitted_by":"dr.house","age":70,"condition":"deceased","died":2}`)
	done(t, p, plugintest.Delete("A", 3), deceased)
	want(t, address, "A", 0, "")
}

// Whatever the order and however often changes come, the newest one stands.
func TestOutOfOrderAndRepeated(t *testing.T) {
	address := shared(t)
	p := open(t, settings(t, address))
	change := func(v event.Version) plugin.Change {
		if v == 4 {
			return plugintest.Delete("A", 4)
		}
		return plugintest.Change("A", v, "name", fmt.Sprint("n", v))
	}
	for _, step := range []struct{ deliver, want event.Version }{{3, 3}, {1, 3}, {3, 3}, {4, 0}, {2, 0}, {3, 0}, {4, 0}, {6, 6}, {4, 6}, {5, 6}} {
		done(t, p, change(step.deliver))
		fields := ""
		if step.want > 0 {
			fields = fmt.Sprintf(`{"name":"n%d"}`, step.want)
		}
		want(t, address, "A", step.want, fields)
	}
}

// A change that cannot be mapped is parked, and no other one.
func TestOneThatCannotBeMapped(t *testing.T) {
	address := shared(t)
	p := open(t, settings(t, address))
	outcomes := deliver(t, p, plugintest.Change("A", 1, "name", "Ada"), plugintest.Change("B", 1, "born", "9999999-01-01", "name", "secret"), plugintest.Change("C", 1, "age", "secret"),
		plugintest.Change("D", 1, "name", "Dan"))
	for i, status := range []plugin.Status{plugin.StatusDone, plugin.StatusPark, plugin.StatusPark, plugin.StatusDone} {
		if outcomes[i].Status != status {
			t.Errorf("change %d: got %s %v, want %s", i, outcomes[i].Status, outcomes[i].Err, status)
		}
		if err := outcomes[i].Err; err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "9999")) {
			t.Errorf("change %d: the error shows a value: %v", i, err)
		}
	}
	want(t, address, "D", 1, `{"name":"Dan"}`)
}

// A document that OpenSearch refuses parks its change and no other one; the cause names the field and shows no value. It arrives once the index is mended.
func TestMappingConflict(t *testing.T) {
	address := shared(t)
	s := settings(t, address)
	p := open(t, s)
	index := "eventful." + s.Name + ".0." + place(t)
	remake := func(ward string) {
		must(t, http.MethodDelete, address+"/"+index, "")
		must(t, http.MethodPut, address+"/"+index, fmt.Sprintf(`{"aliases": {"%s.write": {}, "%s": {}}, "mappings": {"dynamic": "strict", "properties": {"ward": {"type": %q}}}}`, index, place(t), ward))
	}
	changes := []plugin.Change{plugintest.Change("A", 1, "ward", "7"), plugintest.Change("B", 1, "ward", "secret"), plugintest.Change("C", 1, "ward", "9")}
	remake("long")
	outcomes := deliver(t, p, changes...)
	if o := outcomes[1]; o.Status != plugin.StatusPark || !strings.Contains(o.Err.Error(), "mapper_parsing_exception, field ward of type long") || strings.Contains(o.Err.Error(), "secret") {
		t.Errorf("got %s %v, want it parked for the field ward", o.Status, o.Err)
	}
	if outcomes[0].Status != plugin.StatusDone || outcomes[2].Status != plugin.StatusDone {
		t.Errorf("its neighbours: got %v", outcomes)
	}
	remake("keyword")
	done(t, p, changes...)
	want(t, address, "B", 1, `{"ward":"secret"}`)
}

// A write does not bring an index back that somebody removed: it would have other types, no alias, and nothing of what was in it.
func TestRemovedIndexStaysAway(t *testing.T) {
	address := shared(t)
	s := settings(t, address)
	p := open(t, s)
	done(t, p, plugintest.Change("A", 1, "ward", "7"))
	must(t, http.MethodDelete, address+"/eventful."+s.Name+".0."+place(t), "")
	for _, o := range deliver(t, p, plugintest.Change("A", 2, "ward", "8"), plugintest.Change("B", 1, "ward", "8")) {
		if o.Status != plugin.StatusRetry || !strings.Contains(o.Err.Error(), "404") {
			t.Errorf("got %s %v, want a retry that names 404", o.Status, o.Err)
		}
	}
	if got := must(t, http.MethodGet, address+"/_alias", ""); strings.Contains(got, "eventful."+s.Name+".") {
		t.Errorf("there is an index again: %s", got)
	}
}

func TestTestOfThePlugin(t *testing.T) {
	address := shared(t)
	p := open(t, settings(t, address))
	if err := p.Test(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, http.MethodPost, address+"/"+place(t)+"/_refresh", "")
	if got := must(t, http.MethodGet, address+"/"+place(t)+"/_count", ""); !strings.Contains(got, `"count":0,`) {
		t.Errorf("it left something: %s", got)
	}
}

func TestADocumentForEachEvent(t *testing.T) {
	address := shared(t)
	p := open(t, settings(t, address, "mapping", "types: patient\ndocument: event\ntarget: "+place(t)+"-{year}.{month}\nrules: [{copy: event, fields: {by: meta.actor}}]"))
	for range 2 {
		done(t, p, plugintest.Change("A", 1, "name", "Ada"), plugintest.Change("B", 1, "name", "Bob"))
		done(t, p, plugintest.Change("A", 2, "ward", "7"))
	}
	for id, fields := range map[string]string{"A/1": `{"name":"Ada","by":"dr.house"}`, "A/2": `{"ward":"7","by":"dr.house"}`, "B/1": `{"name":"Bob","by":"dr.house"}`} {
		if v, got := read(t, address, place(t)+"-2026.02", id); v == 0 || !sameJSON(t, got, fields) {
			t.Errorf("%s: got %d %s, want %s", id, v, got, fields)
		}
	}
}

// The types of the mapping are those of the index.
func TestIndexTemplate(t *testing.T) {
	address := shared(t)
	open(t, settings(t, address, "shards", "2", "refresh-interval", "5s"))
	got := must(t, http.MethodGet, address+"/"+place(t)+"?filter_path=*.mappings,*.settings.index.number_of_shards,*.settings.index.number_of_replicas,*.settings.index.refresh_interval", "")
	const index = "eventful.testindextemplate.0.ev-testindextemplate"
	if !sameJSON(t, got, `{"`+index+`":{"mappings":{"dynamic":"strict","_meta":{"eventful":{"format":1,"generation":0,"plugin":"testindextemplate","site":"here"}},
		"properties":{"age":{"type":"long"},"born":{"type":"date","format":"strict_date_optional_time"},"infected":{"type":"boolean"},"name":{"type":"keyword","ignore_above":8191},
		"status":{"type":"keyword","ignore_above":8191},"ward":{"type":"keyword","ignore_above":8191}}},
		"settings":{"index":{"number_of_shards":"2","number_of_replicas":"0","refresh_interval":"5s"}}}}`) {
		t.Error(got)
	}
}
