package opensearch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/internal/opensearchtest"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/plugins/opensearch"
)

// node is shared by the tests that leave it as it was: a start takes some seconds. Each test has indices of its own, by the name of its plugin.
var node struct {
	sync.Mutex
	*opensearchtest.Node
}

func TestMain(m *testing.M) {
	status := m.Run()
	if node.Node != nil {
		if err := node.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// shared gives the address of the shared node.
func shared(t testing.TB) string {
	t.Helper()
	opensearchtest.Dir(t) // skips
	node.Lock()
	defer node.Unlock()
	if node.Node == nil {
		node.Node = opensearchtest.Launch(t)
	}
	return "http://" + node.Addr
}

func schemas(t testing.TB) []*schema.Schema {
	t.Helper()
	s, err := schema.Compile(schema.Definition{Aggregate: "patient", Fields: map[string]schema.Field{"age": {Type: schema.Integer}, "born": {Type: schema.Date}, "infected": {Type: schema.Bool}}, Events: map[string]schema.Event{
		"patient-admitted": {Fields: []string{"name", "ward", "age", "born"}}, "patient-updated": {Fields: []string{"name", "ward", "status", "infected"}}, "patient-erased": {Deletes: true},
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return []*schema.Schema{s}
}

// place is the reader's alias of a test.
func place(t testing.TB) string {
	return "ev-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name()))
}

// settings are checked options of a plugin whose name and target are the test's own.
func settings(t testing.TB, address string, options ...string) plugin.Settings {
	t.Helper()
	given := plugin.Values{"url": address, "replicas": "0", "mapping": "types: patient\ntarget: " + place(t)}
	for i := 0; i < len(options); i += 2 {
		given[options[i]] = options[i+1]
	}
	s := plugin.Settings{Name: place(t)[3:], Site: "here", Options: given, Schemas: schemas(t), Log: zerolog.New(zerolog.NewTestWriter(t))}
	var err error
	if s.Options, err = opensearch.Kind().Examine(s, plugin.Option{Name: "on-error", Default: "park"}); err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, s plugin.Settings) plugin.Plugin {
	t.Helper()
	p, err := opensearch.Kind().Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ask makes a request to the node and gives status and body.
func ask(t testing.TB, method, address, body string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func must(t testing.TB, method, address, body string) string {
	t.Helper()
	status, answer := ask(t, method, address, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %s", method, address, status, answer)
	}
	return answer
}

// read gives version and source of a document; 0 if it is not there.
func read(t testing.TB, address, alias, id string) (event.Version, string) {
	t.Helper()
	status, answer := ask(t, http.MethodGet, address+"/"+alias+"/_doc/"+url.PathEscape(id), "")
	if status == http.StatusNotFound {
		return 0, ""
	}
	var doc struct {
		Version event.Version   `json:"_version"`
		Source  json.RawMessage `json:"_source"`
	}
	if err := json.Unmarshal([]byte(answer), &doc); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return doc.Version, string(doc.Source)
}

func want(t testing.TB, address, id string, version event.Version, fields string) {
	t.Helper()
	v, source := read(t, address, place(t), id)
	if v != version || !sameJSON(t, source, fields) {
		t.Errorf("%s: got version %d %s, want version %d %s", id, v, source, version, fields)
	}
}

func sameJSON(t testing.TB, a, b string) bool {
	t.Helper()
	if a == b {
		return true
	}
	var canonical [2]bytes.Buffer
	for i, s := range []string{a, b} {
		var v any
		if err := json.Unmarshal([]byte(s), &v); err != nil {
			return false
		}
		if err := json.NewEncoder(&canonical[i]).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	return canonical[0].String() == canonical[1].String()
}

// deliver gives the outcomes of one batch.
func deliver(t testing.TB, p plugin.Plugin, changes ...plugin.Change) []plugin.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	outcomes := p.Deliver(ctx, plugin.Batch{Changes: changes})
	if len(outcomes) != len(changes) {
		t.Fatalf("got %d outcomes for %d changes", len(outcomes), len(changes))
	}
	return outcomes
}

// done delivers and wants every change to arrive.
func done(t testing.TB, p plugin.Plugin, changes ...plugin.Change) {
	t.Helper()
	for i, o := range deliver(t, p, changes...) {
		if o.Status != plugin.StatusDone {
			t.Fatalf("%s version %d: got %s, %v", changes[i].Aggregate, changes[i].Version, o.Status, o.Err)
		}
	}
}
