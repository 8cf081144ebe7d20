package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/plugins/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "sixteen characters, and more"

// loopback is where receivers of tests are.
const loopback = "127.0.0.0/8,::1"

func open(t *testing.T, options plugin.Values) plugin.Plugin {
	t.Helper()
	return plugintest.Open(t, webhook.Kind(), plugin.Settings{Name: "hook", Site: "here", Options: options})
}

// received is a request as the receiver got it.
type received struct {
	header http.Header
	body   []byte
}

// attributes gives the CloudEvent without its data, and the data, by the rules of the HTTP binding.
func (r *received) attributes(t *testing.T) (attributes map[string]string, data json.RawMessage) {
	t.Helper()
	attributes = map[string]string{}
	if strings.HasPrefix(r.header.Get("Content-Type"), "application/cloudevents+json") {
		whole := map[string]json.RawMessage{}
		if err := json.Unmarshal(r.body, &whole); err != nil {
			t.Fatal(err)
		}
		for name, value := range whole {
			var text string
			if name == "data" || name == "datacontenttype" {
				continue
			}
			if json.Unmarshal(value, &text) != nil {
				text = string(value)
			}
			attributes[name] = text
		}
		return attributes, whole["data"]
	}
	for name, values := range r.header {
		if name, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			text, err := url.PathUnescape(values[0])
			if err != nil {
				t.Fatal(err)
			}
			attributes[name] = text
		}
	}
	return attributes, r.body
}

// receiver is a real HTTP server. It answers each request as answer says; nil: 204.
type receiver struct {
	*httptest.Server

	mu     sync.Mutex // guards what follows
	got    []received
	answer http.HandlerFunc
}

func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.got = append(r.got, received{request.Header.Clone(), body})
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, request)
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

func (r *receiver) newest(t *testing.T, a event.AggregateID) (v event.Version) {
	for _, one := range r.all() {
		attributes, _ := one.attributes(t)
		if attributes["subject"] != a.String() || attributes["aggregatetype"] != a.Type || attributes["forgotten"] == "true" {
			continue
		}
		if _, err := fmt.Sscan(attributes["aggregateversion"], &v); err != nil {
			t.Fatal(err)
		}
		if attributes["deletes"] == "true" {
			v = 0
		}
	}
	return v
}

func TestConforms(t *testing.T) {
	for _, mode := range []string{"structured", "binary"} {
		t.Run(mode, func(t *testing.T) {
			r := newReceiver(t, nil)
			plugintest.Run(t, plugintest.Target{
				Kind: webhook.Kind(), Deletes: true, Newest: r.newest,
				Open: func(t *testing.T) plugin.Plugin {
					return open(t, plugin.Values{"url": r.URL + "/in", "mode": mode, "secret": secret, "allow-networks": loopback})
				},
			})
		})
	}
}

// TestModesSayTheSame: what a receiver reads out of either mode is the same CloudEvent.
func TestModesSayTheSame(t *testing.T) {
	c := plugintest.Change("id ä/\"%\x7f 100%", 7, "name", "Ada \u2028 \"")
	c.Meta.Correlation, c.Meta.Causation, c.Meta.Traceparent, c.Again = "case 1", "ü", "00-1-2-01", true
	var texts []string
	for _, mode := range []string{"structured", "binary"} {
		r := newReceiver(t, nil)
		p := open(t, plugin.Values{"url": r.URL, "mode": mode, "allow-networks": loopback, "headers": "Authorization: Bearer abc\nX-More: 1"})
		if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{c}}); o[0].Status != plugin.StatusDone {
			t.Fatal(o[0].Err)
		}
		one := r.all()[0]
		if one.header.Get("Authorization") != "Bearer abc" || one.header.Get("X-More") != "1" || one.header.Get("Eventful-Signature") != "" {
			t.Errorf("got headers %v", one.header)
		}
		attributes, data := one.attributes(t)
		if attributes["subject"] != c.Aggregate.String() || attributes["id"] != c.Leaf.String() || attributes["specversion"] != "1.0" {
			t.Errorf("%s: got %v", mode, attributes)
		}
		text, err := json.Marshal([]any{attributes, data})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if texts[0] != texts[1] {
		t.Errorf("the modes differ:\n%s\n%s", texts[0], texts[1])
	}
}

// TestOptionsThatAreWrong are named all at once, and no secret is repeated.
func TestOptionsThatAreWrong(t *testing.T) {
	_, err := webhook.Kind().Examine(plugin.Settings{Options: plugin.Values{
		"url": "ftp://x", "mode": "both", "secret": "hush-hush", "headers": "Canary", "ca": "none", "allow-networks": "10.0.0.1/8", "requests": "0",
		"request-timeout": "1h", "park-status": "404,200",
	}})
	if err == nil {
		t.Fatal("everything was taken")
	}
	for _, want := range []string{"--url:", "--mode:", "--secret:", "--headers:", "--ca:", "--allow-networks:", "--requests:", "--request-timeout:", "--park-status:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "Canary") {
		t.Errorf("the error holds a secret: %v", err)
	}
	for option, value := range map[string]string{
		"url": "https://user:canary@host/", "headers": "Ce-Id: canary",
	} {
		values := plugin.Values{"url": "http://host/"}
		values[option] = value
		if _, err := webhook.Kind().Examine(plugin.Settings{Options: values}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v", option, err)
		}
	}
	for _, value := range []string{"Eventful-Signature: x", "Host: x", "content-type: text/plain", "A: b\x01", "A: ä", "A: b\n\nC: d", ": x", "A b: c"} {
		if _, err := webhook.Kind().Examine(plugin.Settings{Options: plugin.Values{"url": "http://host/", "headers": value}}); err == nil {
			t.Errorf("headers %q were taken", value)
		}
	}
}

func deliverOne(t *testing.T, p plugin.Plugin) plugin.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return p.Deliver(ctx, plugin.Batch{Changes: []plugin.Change{plugintest.Change("a", 1, "name", "Ada")}})[0]
}
