package opensearch_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

// What a real node cannot be made to answer to _bulk: everything else goes to the real node.
func TestStrangeAnswers(t *testing.T) {
	to, err := url.Parse(shared(t))
	if err != nil {
		t.Fatal(err)
	}
	var answer atomic.Pointer[func(w http.ResponseWriter)]
	proxy := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strange := answer.Load(); strange != nil && r.URL.Path == "/_bulk" {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
			(*strange)(w)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	p := open(t, settings(t, s.URL))
	text := func(status int, body string, headers ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	item := func(id string, status int, kind string) string {
		return fmt.Sprintf(`{"index":{"_id":%q,"status":%d,"error":{"type":%q,"reason":"a value: secret"}}}`, id, status, kind)
	}
	ok := `{"index":{"_id":"A","status":201}}`
	okB, okC := strings.Replace(ok, "A", "B", 1), strings.Replace(ok, "A", "C", 1)
	two := func(b string) string { return `{"items":[` + ok + `,` + b + `]}` }
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter)
		want   [2]plugin.Status
		after  time.Duration
	}{
		"garbage":            {text(200, "<html>hello</html>"), both(plugin.StatusRetry), 0},
		"nothing":            {text(200, ""), both(plugin.StatusRetry), 0},
		"another JSON":       {text(200, `{"items":{"a":1}}`), both(plugin.StatusRetry), 0},
		"half":               {text(200, two(item("B", 201, ""))[:40]), both(plugin.StatusRetry), 0},
		"as usual":           {text(200, two(okB)), both(plugin.StatusDone), 0},
		"as usual, cut off":  {text(200, two(okB)[:len(two(okB))-1]), both(plugin.StatusRetry), 0},
		"as usual, and more": {text(200, two(okB)+"x"), both(plugin.StatusRetry), 0},
		"in another order":   {text(200, `{"items":[`+okB+`,`+ok+`]}`), both(plugin.StatusRetry), 0},
		"of a third one":     {text(200, two(okC)), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"an unknown status":  {text(200, two(strings.Replace(okB, "201", "2010", 1))), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"half a document's":  {text(200, `{"items":[`+ok+`]}`), both(plugin.StatusRetry), 0},
		"one too many":       {text(200, two(ok+","+ok)), both(plugin.StatusRetry), 0},
		"of other documents": {text(200, two(item("C", 201, ""))), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"of another action":  {text(200, two(`{"delete":{"_id":"B","status":404}}`)), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"without a status":   {text(200, two(`{"index":{"_id":"B"}}`)), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"broken off": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, two(ok)[:10])
		}, both(plugin.StatusRetry), 0},
		"connection closed":      {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, both(plugin.StatusRetry), 0},
		"busy":                   {text(429, `{"error":{"type":"circuit_breaking_exception","reason":"x"},"status":429}`, "Retry-After", "7"), both(plugin.StatusRetry), 7 * time.Second},
		"busy for a year":        {text(503, "", "Retry-After", "31536000"), both(plugin.StatusRetry), time.Minute},
		"a gateway's page":       {text(502, "<html>bad gateway</html>"), both(plugin.StatusRetry), 0},
		"another text":           {text(500, `{"error":"no handler found"}`), both(plugin.StatusRetry), 0},
		"a redirection":          {text(301, "", "Location", "http://127.0.0.1:1/"), both(plugin.StatusRetry), 0},
		"no such thing":          {text(404, "{}"), both(plugin.StatusRetry), 0},
		"one is busy":            {text(200, two(item("B", 429, "es_rejected_execution_exception"))), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"one has no shard":       {text(200, two(item("B", 503, "unavailable_shards_exception"))), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"one is closed":          {text(200, two(item("B", 400, "index_closed_exception"))), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"one may not":            {text(200, two(item("B", 403, "security_exception"))), [2]plugin.Status{plugin.StatusDone, plugin.StatusRetry}, 0},
		"one is stale":           {text(200, two(item("B", 409, "version_conflict_engine_exception"))), both(plugin.StatusDone), 0},
		"one does not fit":       {text(200, two(item("B", 400, "document_parsing_exception"))), [2]plugin.Status{plugin.StatusDone, plugin.StatusPark}, 0},
		"the whole is too large": {text(413, ""), both(plugin.StatusPark), 0},
		"the whole is wrong":     {text(400, `{"error":{"type":"illegal_argument_exception","reason":"a value: secret"}}`), both(plugin.StatusPark), 0},
	} {
		answer.Store(&test.answer)
		outcomes := deliver(t, p, plugintest.Change("A", 1, "name", "Ada"), plugintest.Change("B", 1, "name", "Bob"))
		for i, o := range outcomes {
			if o.Status != test.want[i] || o.After != test.after && o.Status == plugin.StatusRetry || o.Status != plugin.StatusDone && o.Err == nil {
				t.Errorf("%s, change %d: got %s after %s, %v; want %s after %s", name, i, o.Status, o.After, o.Err, test.want[i], test.after)
			}
			if o.Err != nil && strings.Contains(o.Err.Error(), "secret") {
				t.Errorf("%s: the error shows a value: %v", name, o.Err)
			}
		}
	}
	answer.Store(nil)
	done(t, p, plugintest.Change("A", 1, "name", "Ada"), plugintest.Change("B", 1, "name", "Bob"))
}

func both(s plugin.Status) [2]plugin.Status { return [2]plugin.Status{s, s} }
