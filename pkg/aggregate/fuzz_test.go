package aggregate_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func FuzzDecodeFields(f *testing.F) {
	for _, seed := range []string{
		"", "{}", `{"a":1.10,"b":"x","c":null,"d":true,"e":false}`, `{"a":9007199254740993,"b":1e400}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud800"}`, `{"a":1,"a":2}`,
		`{"a":{"b":[1]}}`, `{"a":1}x`, "{\"a\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", `{"\u0061":1,"a":2}`, `{"a":01}`, `{"a":"\u12`, ` { "a" : -0.0e-5 , "b":"" } `, "\xef\xbb\xbf{}",
		`{"*":1}`, `{"a":"\u0000"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, err := aggregate.DecodeFields(body)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		if len(body) == 0 {
			return
		}
		if !utf8.Valid(body) || !json.Valid(body) {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
		if _, err := event.EncodePayload(fields); err != nil {
			t.Fatalf("decoded fields cannot be stored: %v", err)
		}
		compare(t, body, fields)
	})
}

func wantRefusal(t *testing.T, err error) {
	t.Helper()
	p := problem.From(err)
	if p.Code != problem.Malformed && p.Code != problem.TooLarge {
		t.Fatalf("got %v, want malformed or too_large", err)
	}
	if !utf8.ValidString(p.Field) || len(p.Detail)+len(p.Hint) > 2000 {
		t.Fatalf("got field %q and %d bytes of text, want valid UTF-8 and short", p.Field, len(p.Detail)+len(p.Hint))
	}
}

// compare holds the fields against what encoding/json reads.
func compare(t *testing.T, body []byte, fields []event.Field) {
	t.Helper()
	var want map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&want); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	if len(want) != len(fields) {
		t.Fatalf("got %d fields, want %d", len(fields), len(want))
	}
	for _, f := range fields {
		var text string
		switch v := want[f.Name].(type) {
		case nil:
			if f.Set {
				t.Fatalf("%s: got %q, want it unset", f.Name, f.Value)
			}
		case bool:
			text = map[bool]string{true: "true", false: "false"}[v]
		case json.Number:
			text = string(v)
		case string:
			text = v
		default:
			t.Fatalf("%s: accepted a nested value %v", f.Name, v)
		}
		if f.Value != text {
			t.Fatalf("%s: got %q, want %q", f.Name, f.Value, text)
		}
	}
}

func FuzzDecodeTransaction(f *testing.F) {
	for _, seed := range []string{
		`{"commits":[{"type":"patient","id":"A","expected-version":"3","events":[{"event":"crp","occurred-at":"2014-10-22T11:27:00Z","fields":{"crp":21.0}}]}]}`,
		`{"commits":[{"events":[{"event":"a"},{"event":"b","fields":{}}],"id":"é","type":"ward","expected-version":0}]}`,
		`{"commits":[]}`, `{}`, `{"Commits":[]}`, `{"commits":[{"type":"a","id":"b","events":[{"event":"c","Fields":{}}]}]}`, `{"commits":[{"id":"\ud800"}]}`, `{"commits":[[[[`, `{"commits":[{"type":"a","type":"b"}]}`,
		`{"commits":[{"expected-version":"01"}]}`, `{"commits":[{"type":"a","id":"b","events":[{"event":"c","fields":{"x":[]}}]}]} `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		changes, err := aggregate.DecodeTransaction(body)
		if err != nil {
			wantRefusal(t, err)
			return
		}
		if !utf8.Valid(body) || !json.Valid(body) {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
		c := aggregate.Command{ID: "c", Changes: changes}
		problems := c.Check()
		for _, p := range problems {
			wantRefusal(t, p)
		}
		again, err := aggregate.DecodeTransaction(body)
		unchecked := aggregate.Command{ID: "c", Changes: again}
		if len(problems) == 0 && (err != nil || c.Digest("a:b") != unchecked.Digest("a:b")) {
			t.Fatal("Check changes the digest")
		}
	})
}

func FuzzParseExpected(f *testing.F) {
	for _, seed := range []string{"any", "none", "exists", "0", "3", "9223372036854775806", "9223372036854775807", "9223372036854775808", "01", "-1", "+1", "abc", "", "1_0", "٣"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		e, err := aggregate.ParseExpected(in)
		if err == nil && e.String() != in {
			t.Fatalf("got %q of %q", e, in)
		}
		if err == nil && strings.HasPrefix(in, "+") {
			t.Fatalf("accepted %q", in)
		}
	})
}

func BenchmarkDecodeFields(b *testing.B) {
	body := []byte(`{"age":85,"sex":"female","crp":21.0,"note":"two words","infusion":true,"sirs":null}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := aggregate.DecodeFields(body); err != nil {
			b.Fatal(err)
		}
	}
}
