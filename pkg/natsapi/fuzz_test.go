package natsapi_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// FuzzReadBody holds that a body is refused as malformed, or is read the same when what was read is written and read again.
func FuzzReadBody(f *testing.F) {
	for _, seed := range []string{
		"", " ", "{}", "null", "[]", "{", `{"type":"a","limit":1,"dry-run":true,"definition":{"a":{"a":1}}}`, `{"type":"a","type":"b"}`, `{"Type":"a"}`, `{"type":1}`, `{"limit":-1}`,
		`{"x":1}`, `{}{}`, `{"definition":{"a":1,"a":2}}`, `{"list":["a",{"b":1}]}`, `{"list":{}}`, "{\"type\":\"\xff\"}", `{"type":"\ud800"}`, `{"limit":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	type body struct {
		Type       string          `json:"type"`
		Limit      uint64          `json:"limit"`
		DryRun     bool            `json:"dry-run"`
		List       []any           `json:"list"`
		Definition json.RawMessage `json:"definition"`
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var got, again body
		if p := natsapi.ReadBody(data, &got); p != nil {
			if p.Code != problem.Malformed || p.Detail == "" {
				t.Errorf("got %v, want malformed", p)
			}
			return
		}
		if data = bytes.TrimSpace(data); len(data) > 0 && !json.Valid(data) {
			t.Errorf("%q is read and no JSON", data)
		}
		once, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if p := natsapi.ReadBody(once, &again); p != nil {
			t.Fatalf("%s is not read again: %v", once, p)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("got %s, %v, want %s", twice, err, once)
		}
	})
}

// FuzzReadHeaders holds that headers that are read are EventfulDB's, in their usual spelling, and read the same again.
func FuzzReadHeaders(f *testing.F) {
	f.Add("Eventful-Token", "x", "eventful-token", "y")
	f.Add("eventful-command-id", "x", "Traceparent", "")
	f.Add("NATS-Msg-Id", "1", "Other", "")
	f.Add("EVENTFUL-TOKEN", "", "eventful-\u212a", "k")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		sent := map[string][]string{name1: {value1}}
		sent[name2] = append(sent[name2], value2)
		got, p := natsapi.ReadHeaders(sent)
		if p != nil {
			if p.Code != problem.Malformed && p.Code != problem.TooLarge {
				t.Errorf("got %v", p)
			}
			return
		}
		back := map[string][]string{}
		for name, value := range got {
			if !strings.EqualFold(name, name1) && !strings.EqualFold(name, name2) {
				t.Errorf("got header %q, which was not sent", name)
			}
			back[name] = []string{value}
		}
		again, p := natsapi.ReadHeaders(back)
		if diff := cmp.Diff(got, again); p != nil || diff != "" {
			t.Errorf("headers, %v (-want +got):\n%s", p, diff)
		}
	})
}

// FuzzNumbers holds that the short way reads what the long one reads, and nothing that it refuses.
func FuzzNumbers(f *testing.F) {
	for _, seed := range []string{`{"from":1,"take":100}`, `{"take":0}`, `{}`, `{"from":1,"from":2}`, `{"from":01}`, `{"from":1,}`, `{"from":-1}`, `{"from":1}}`,
		`{"from":999999999999999999}`, `{"from":9999999999999999999}`, `{"from":""}`, `{"":1}`, `{"from":1`, ` {"from":1}`, `{"from":1,"take":2,"take":3}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		from, take, ok := natsapi.Numbers(data, "from", "take")
		if !ok {
			return
		}
		var body struct {
			From uint64 `json:"from"`
			Take uint64 `json:"take"`
		}
		if p := natsapi.ReadBody(data, &body); p != nil || body.From != from || body.Take != take {
			t.Errorf("got %d, %d of %q, want %+v (%v)", from, take, data, body, p)
		}
	})
}
