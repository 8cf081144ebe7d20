package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/opensearchtest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// index is a reader of an alias in OpenSearch.
type index struct {
	t       *testing.T
	address string
}

// ask gives status and answer; it refreshes first, so that searches see what was acknowledged.
func (x index) ask(path, body string) (status int, answer string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, x.address+path, strings.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error() // the node is away
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

// documents are those of an alias by key, as texts; nil: it cannot be searched now.
func (x index) documents(alias string) map[string]map[string]any {
	x.t.Helper()
	x.ask("/"+alias+"/_refresh", "{}")
	status, text := x.ask("/"+alias+"/_search", `{"size": 10000, "query": {"match_all": {}}, "version": true}`)
	var said struct {
		Hits struct {
			Hits []struct {
				ID      string         `json:"_id"`
				Version uint64         `json:"_version"`
				Source  map[string]any `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	if status != http.StatusOK || json.Unmarshal([]byte(text), &said) != nil {
		return nil
	}
	all := map[string]map[string]any{}
	for _, hit := range said.Hits.Hits {
		hit.Source["_version"] = hit.Version
		all[hit.ID] = hit.Source
	}
	return all
}

// wantState holds documents against the states of the log, one by one.
func (s *site) wantState(x index, alias string, aggregates int) {
	s.t.Helper()
	want, c := map[string]map[string]any{}, s.client()
	for a, err := range c.List(context.Background(), "patient", client.Latest(), client.PageSize(1000)) {
		if err != nil {
			s.t.Fatal(err)
		}
		state, err := c.Get(context.Background(), event.AggregateID{Type: "patient", ID: a.ID}, client.Latest())
		if err != nil {
			s.t.Fatal(err)
		}
		fields := map[string]any{"_version": uint64(state.Version)}
		for name, value := range state.Fields {
			fields[name] = value
		}
		want[a.ID] = fields
	}
	if len(want) != aggregates {
		s.t.Fatalf("the log has %d aggregates, want %d", len(want), aggregates)
	}
	var differ string
	untilWithin(s.t, patience, "the documents are the states of the log", func() bool {
		got := x.documents(alias)
		for id, fields := range want {
			if fmt.Sprint(got[id]) != fmt.Sprint(fields) {
				differ = fmt.Sprintf("%s: got %v, want %v", id, got[id], fields)
				return false
			}
		}
		return len(got) == len(want)
	})
	if s.t.Failed() {
		s.t.Log(differ)
	}
}

// TestOpenSearch brings a log into a real OpenSearch node, kills the server and the node meanwhile, fills a new index while rows come and searches go on, and forgets.
func TestOpenSearch(t *testing.T) {
	t.Parallel()
	node := opensearchtest.Start(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	const rows, aggregates = 1200, 40
	s := configuredSite(t)
	s.put("secret.yaml", secretSchema)
	s.open(filepath.Join(s.root, "secret.yaml"))
	x := index{t, "http://" + node.Addr}
	s.put("plugin.yaml", "type: opensearch\noptions:\n  url: "+x.address+"\n  replicas: 0\n  pii: true\n  partitions: 2\n  max-backoff: 500ms\n  mapping:\n    types: patient\n    target: everybody\n")
	s.must("plugin:config", "search", "--file=plugin.yaml")
	s.must("plugin:test", "search")
	if text := s.must("plugin:show", "search"); !strings.Contains(text, "from: state.ward, type: keyword") {
		t.Errorf("got %s, want the mapping written out", text)
	}
	s.must("plugin:enable", "search")
	s.importNotes(rows, aggregates, "first")
	node.Kill()
	s.wantEvents(rows)
	node.Begin(t)
	s.wantState(x, "everybody", aggregates)

	ended := x.searches("everybody", aggregates)
	s.must("plugin:replay", "search", "--rebuild")
	s.kill()
	s.start()
	s.importNotes(rows, aggregates, "second")
	until(t, "the new index takes over", func() bool {
		var p client.Plugin
		if err := json.Unmarshal([]byte(s.must("plugin:show", "search", "-o", "json")), &p); err != nil {
			t.Fatal(err)
		}
		return p.Generation == 1 && !p.Rebuilding
	})
	s.wantState(x, "everybody", aggregates)
	ended()
	if _, text := x.ask("/_cat/indices/eventful.*?h=index", ""); strings.Contains(text, "eventful.search.0.") {
		t.Errorf("the former index is there still: %s", text)
	}

	id := "patient/P 3"
	if got := fmt.Sprint(x.documents("everybody")["P 3"]); !strings.Contains(got, "Canary") {
		t.Fatalf("got %s, want the value that is to be forgotten", got)
	}
	s.must("data:forget", id, "--yes")
	until(t, "the document forgets too", func() bool {
		got := fmt.Sprint(x.documents("everybody")["P 3"])
		return strings.Contains(got, "ward") && !strings.Contains(got, "Canary")
	})
}

// importNotes imports rows for patients P 0, P 1 …, in turns.
func (s *site) importNotes(rows, aggregates int, mark string) {
	s.t.Helper()
	var text bytes.Buffer
	text.WriteString("who,what,name,ward\n")
	for i := range rows {
		fmt.Fprintf(&text, "P %d,came,Canary %s,%s %d\n", i%aggregates, mark, mark, i)
	}
	s.put(mark+".csv", text.String())
	s.put("mapping.yaml", "id: who\nevent: {column: what}\nfields: {name: name, ward: ward}\n")
	s.must("data:import", mark+".csv", "--aggregate=patient", "--mapping=mapping.yaml")
}

// wantEvents waits until the log has so many events of patients.
func (s *site) wantEvents(n int) {
	s.t.Helper()
	c := s.client()
	until(s.t, "the log has the events", func() bool {
		total := uint64(0)
		for a, err := range c.List(context.Background(), "patient", client.Latest(), client.PageSize(1000)) {
			if err != nil {
				s.t.Fatal(err)
			}
			total += uint64(a.Version)
		}
		return total == uint64(n)
	})
}

// searches searches until it is told to end, and fails the test for one that does not find every document.
func (x index) searches(alias string, documents int) (ended func()) {
	stop, done := make(chan struct{}), make(chan string, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- ""
				return
			case <-time.After(5 * time.Millisecond): // the rate of a reader
			}
			if status, text := x.ask("/"+alias+"/_count", ""); status != http.StatusOK || !strings.Contains(text, fmt.Sprintf(`"count":%d,`, documents)) {
				done <- fmt.Sprintf("search %d: got %d %s", n, status, text)
				return
			}
		}
	}()
	return func() {
		x.t.Helper()
		close(stop)
		if wrong := <-done; wrong != "" {
			x.t.Error(wrong)
		}
	}
}
