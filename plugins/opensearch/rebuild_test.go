package opensearch_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/plugins/opensearch"
)

// While a new generation is filled readers have the old one, which goes on; with Publish they have the new one, and never none or both.
func TestRebuild(t *testing.T) {
	address := shared(t)
	s := settings(t, address)
	old := open(t, s)
	var all []plugin.Change
	for i := range 50 {
		all = append(all, plugintest.Change(fmt.Sprint("p", i), 1, "name", "old"))
	}
	done(t, old, all...)
	must(t, http.MethodPost, address+"/"+place(t)+"/_refresh", "")

	s.Generation = 1
	renewed := open(t, s)
	done(t, renewed, all[:30]...)
	done(t, old, plugintest.Change("p0", 2, "name", "live"))
	want(t, address, "p0", 2, `{"name":"live"}`)
	if got := count(t, address); got != "50" {
		t.Errorf("while it is filled: got %s documents, want 50", got)
	}
	done(t, renewed, append(all[30:], plugintest.Change("p0", 2, "name", "live"))...)
	seen := whilePublished(t, address, renewed.(plugin.Rebuilder))
	if len(seen) != 1 || seen["50"] == 0 {
		t.Errorf("readers saw these numbers of documents: %v, want 50 alone", seen)
	}
	if err := renewed.(plugin.Rebuilder).Publish(t.Context()); err != nil {
		t.Errorf("publish again: %v", err)
	}
	want(t, address, "p0", 2, `{"name":"live"}`)
	got := must(t, http.MethodGet, address+"/_alias", "") + must(t, http.MethodGet, address+"/_index_template", "")
	if strings.Contains(got, "eventful."+s.Name+".0") || !strings.Contains(got, "eventful."+s.Name+".1") {
		t.Errorf("something of the old generation is left, or the new one is missing: %s", got)
	}
	if o := deliver(t, old, plugintest.Change("p1", 2, "name", "late")); o[0].Status != plugin.StatusRetry {
		t.Errorf("the old generation still writes: %v", o)
	}
	again := open(t, s) // as another process does
	done(t, again, plugintest.Change("p1", 2, "name", "live"))
	want(t, address, "p1", 2, `{"name":"live"}`)
}

// A trial leaves indices, templates and what readers have as they were, in a generation that is filled, one that is not yet, and one whose index is gone.
func TestATrialLeavesNothing(t *testing.T) {
	address := shared(t)
	s := settings(t, address)
	try := func(what string, generation uint64) {
		t.Helper()
		s := s
		s.Trial, s.Generation = true, generation
		all := func() string {
			_, aliases := ask(t, http.MethodGet, address+"/eventful."+s.Name+".*/_alias", "")
			_, templates := ask(t, http.MethodGet, address+"/_index_template/eventful."+s.Name+"*", "")
			return aliases + templates
		}
		before := all()
		if err := open(t, s).Test(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := all(); got != before {
			t.Errorf("%s: got %s, want %s as before", what, got, before)
		}
	}
	try("before anything is there", 0)
	done(t, open(t, s), plugintest.Change("A", 1, "name", "Ada"))
	try("in use", 0)
	try("a generation that is not begun", 1)
	s.Generation = 1
	p := open(t, s)
	done(t, p, plugintest.Change("A", 1, "name", "Ada"))
	if err := p.(plugin.Rebuilder).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	try("rebuilt", 1)
	must(t, http.MethodDelete, address+"/eventful."+s.Name+".1."+place(t), "")
	try("its index is gone", 1)
	if status, _ := ask(t, http.MethodGet, address+"/"+place(t)+"/_count", ""); status != http.StatusNotFound {
		t.Errorf("readers have an index again: %d", status)
	}
	must(t, http.MethodPut, address+"/"+place(t), "")
	s.Trial = true
	if err := open(t, s).Test(t.Context()); err == nil || !strings.Contains(err.Error(), "is not this plugin's") {
		t.Errorf("an index of the alias's name: got %v", err)
	}
	must(t, http.MethodDelete, address+"/"+place(t), "")
}

func count(t testing.TB, address string) string {
	t.Helper()
	got := must(t, http.MethodGet, address+"/"+place(t)+"/_count", "")
	_, rest, _ := strings.Cut(got, `"count":`)
	number, _, _ := strings.Cut(rest, ",")
	return number
}

// whilePublished counts the documents that readers see without a pause until the new generation is theirs, and what they saw how often.
func whilePublished(t *testing.T, address string, p plugin.Rebuilder) map[string]int {
	seen, stop := map[string]int{}, make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			seen[count(t, address)]++
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	err := p.Publish(t.Context())
	close(stop)
	reader.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// Targets with a date get their indices as they come; one that comes behind Publish is shown, one of an unpublished generation is not.
func TestIndicesThatComeLater(t *testing.T) {
	address := shared(t)
	s := settings(t, address, "mapping", "types: patient\ndocument: event\ntarget: "+place(t)+"-{year}")
	at := func(id string, year string) plugin.Change {
		c := plugintest.Change(id, 1, "name", year)
		c.Meta.Time += map[string]event.Time{"2026": 0, "2027": 365 * 24 * 3600e9}[year]
		return c
	}
	done(t, open(t, s), at("A", "2026"))
	s.Generation = 1
	p := open(t, s)
	done(t, p, at("A", "2026"), at("B", "2027"))
	if status, _ := ask(t, http.MethodGet, address+"/"+place(t)+"-2027/_count", ""); status != http.StatusNotFound {
		t.Errorf("an index of an unpublished generation is shown: %d", status)
	}
	if err := p.(plugin.Rebuilder).Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, http.MethodGet, address+"/"+place(t)+"-2027/_count", "")
	c := at("C", "2027")
	c.Meta.Time += 365 * 24 * 3600e9
	done(t, p, c)
	must(t, http.MethodGet, address+"/"+place(t)+"-2028/_count", "")
}

func TestWhatIsOthers(t *testing.T) {
	address := shared(t)
	s := settings(t, address)
	open(t, s)
	for name, change := range map[string]func(*plugin.Settings){
		"belongs to site":          func(s *plugin.Settings) { s.Site = "there" },
		"and is not this plugin's": func(s *plugin.Settings) { s.Name = "another" },
		"replay testwhatisothers --rebuild": func(s *plugin.Settings) {
			s.Options["mapping"] = "types: patient\ntarget: " + place(t) + "\nrules: [{fields: {age: {from: state.age, type: keyword}}}]"
		},
	} {
		other := settings(t, address)
		change(&other)
		p, err := opensearch.Kind().Open(t.Context(), other)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
		if err == nil {
			_ = p.Close()
		}
	}
	other := settings(t, address)
	must(t, http.MethodPut, address+"/ev-concrete", "")
	other.Name, other.Options["mapping"] = "concrete", "types: patient\ntarget: ev-concrete"
	if _, err := opensearch.Kind().Open(t.Context(), other); err == nil || !strings.Contains(err.Error(), "alias") {
		t.Errorf("an index of the alias's name: got %v", err)
	}
	wider := settings(t, address) // a new field is added to the index that is there
	wider.Options["mapping"] = "types: patient\ntarget: " + place(t) + "\nrules: [{copy: state, fields: {more: meta.actor}}]"
	done(t, open(t, wider), plugintest.Change("A", 1, "name", "Ada"))
	want(t, address, "A", 1, `{"name":"Ada","more":"dr.house"}`)
}
