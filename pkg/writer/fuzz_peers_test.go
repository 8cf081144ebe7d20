package writer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/writer"
)

func callSeeds(add func(body string)) {
	for _, body := range []string{
		``, `null`, `{}`, `{"v":2}`, `{"v":1}`, `{"v":1,"token":{},"freeze":{},"unique":{"patient":["crp",""],"":null}}`,
		`{"v":1,"log":"patient","token":{"ID":"t"},"have":5,"need":18446744073709551615,"sequence":1}`,
		`{"v":1,"sequence":18446744073709551615,"freeze":{"epoch":1,"type":"patient","version":2},"token":{}}`,
		`{"v":1,"log":"\u0000","found":"a hole"}`, `{"v":1,"config":{}}`, `{"v":1,"config":{"id":"x","event":"key-added","at":"2026-01-01T00:00:00Z","fields":{"name":""}}}`,
		`{"v":1,"token":{"ID":"t"},"roll":{"id":"x","step":"apply"}}`, `{"v":1,"token":{"ID":"t"},"roll":{"id":"x","step":"check","to":3,"cut":{"sequence":9,"index":4}}}`,
		`{"v":1,"token":{"ID":"t"},"roll":{"id":"y","step":"locate","hash":"00","position":"patient/1/0/00000000000000000000000000000001"}}`,
		`{"v":1,"problem":{"code":"conflict","problems":[null]},"found":[null,{"code":"x"}],"logs":[{}]}`,
	} {
		add(body)
	}
}

// rewritesJSON holds that what rewrite takes it gives in a form that is final.
func rewritesJSON(t *testing.T, rewrite func([]byte) ([]byte, error), b []byte) {
	t.Helper()
	once, err := rewrite(b)
	if err != nil {
		return
	}
	if twice, err := rewrite(once); err != nil || !bytes.Equal(once, twice) {
		t.Errorf("got %s, %v, want %s", twice, err, once)
	}
}

// FuzzCall sends a writer that runs what another writer might send it. It answers whatever comes, and its logs verify.
func FuzzCall(f *testing.F) {
	c := newCluster(f, eventlog.NewMemory(), "a")
	wire := c.lines.end("b")
	for i := range writer.Verbs {
		callSeeds(func(body string) { f.Add(uint8(i), uint8(i), []byte(body)) })
	}
	f.Fuzz(func(t *testing.T, log, verb uint8, body []byte) {
		rewritesJSON(t, writer.RewriteCall, body)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // nothing is waited for
		answer, err := wire.Call(ctx, []string{"patient", "eventful", ""}[int(log)%3], writer.Verbs[int(verb)%len(writer.Verbs)], body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := writer.RewriteResult(answer); err != nil || !json.Valid(answer) {
			t.Errorf("got %s, %v, want an answer", answer, err)
		}
	})
}

// FuzzResult holds that the answer of another writer is refused or taken.
func FuzzResult(f *testing.F) {
	callSeeds(func(body string) { f.Add([]byte(body)) })
	f.Fuzz(func(t *testing.T, body []byte) { rewritesJSON(t, writer.RewriteResult, body) })
}
