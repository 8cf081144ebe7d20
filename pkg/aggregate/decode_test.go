package aggregate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

func TestDecodeFields(t *testing.T) {
	long := strings.Repeat("x", event.MaxValueLen)
	tests := []struct {
		name, body string
		want       []event.Field
	}{
		{"empty body", "", nil},
		{"empty object", " {\r\n\t} ", nil},
		{"text", `{"a":"x","b":""}`, set("a", "x", "b", "")},
		{"order as sent", `{"b":"1","a":"2","B":"3"}`, set("b", "1", "a", "2", "B", "3")},
		{"numbers stay exact", `{"a":1.10,"b":9007199254740993,"c":1e400,"d":-0,"e":-0.0E+5}`, set("a", "1.10", "b", "9007199254740993", "c", "1e400", "d", "-0", "e", "-0.0E+5")},
		{"words", `{"a":true,"b":false}`, set("a", "true", "b", "false")},
		{"null unsets", `{"a":null}`, []event.Field{{Name: "a"}}},
		{"escapes", `{"a":"\"\\\/\b\f\n\r\t\u0000\u00E9\ud83d\uDE00"}`, set("a", "\"\\/\b\f\n\r\t\x00é😀")},
		{"escaped key", `{"\u0061b":"x"}`, set("ab", "x")},
		{"text beyond ASCII", `{"a":"ä€😀\u007f"}`, set("a", "ä€😀\x7f")},
		{"noncharacters are characters of Unicode", `{"a":"\uffff\ufffd"}`, set("a", "\uffff\ufffd")},
		{"longest value", `{"a":"` + long + `"}`, set("a", long)},
		{"longest value, escaped", `{"a":"` + strings.Repeat(`\u0078`, event.MaxValueLen) + `"}`, set("a", long)},
		{"most fields", manyFields(event.MaxFields), wantMany(event.MaxFields)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := aggregate.DecodeFields([]byte(tt.body))
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
				t.Errorf("got %v; fields (-want +got):\n%s", err, diff)
			}
		})
	}
}

// set makes fields of name, value, name, value …
func set(pairs ...string) []event.Field {
	var out []event.Field
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, event.Field{Name: pairs[i], Value: pairs[i+1], Set: true})
	}
	return out
}

func manyFields(n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(`"f%d":%d`, i, i)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func wantMany(n int) (out []event.Field) {
	for i := range n {
		out = append(out, event.Field{Name: fmt.Sprintf("f%d", i), Value: fmt.Sprint(i), Set: true})
	}
	return out
}

// refusal is an input that a decoder refuses, and how.
type refusal struct {
	name, body string
	code       problem.Code
	field      string
	text       string // part of detail or hint
}

func refuse(t *testing.T, decode func([]byte) error, tests []refusal) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantProblem(t, decode([]byte(tt.body)), tt.code, tt.field, tt.text) })
	}
}

func decodeFields(body []byte) error {
	_, err := aggregate.DecodeFields(body)
	return err
}

func decodeTransaction(body []byte) error {
	_, err := aggregate.DecodeTransaction(body)
	return err
}

func TestDecodeFieldsRefusesStructure(t *testing.T) {
	refuse(t, decodeFields, []refusal{
		{"blank", " ", problem.Malformed, "", "the end"},
		{"no object", `["a"]`, problem.Malformed, "", "an array"},
		{"a string", `"a"`, problem.Malformed, "", "a string"},
		{"null", `null`, problem.Malformed, "", "null"},
		{"byte order mark", "\xef\xbb\xbf{}", problem.Malformed, "", "byte order mark"},
		{"NUL", "\x00{}", problem.Malformed, "", "0x00"},
		{"NUL behind", "{}\x00", problem.Malformed, "", "behind"},
		{"something behind", `{"a":1}x`, problem.Malformed, "", "behind"},
		{"second object", `{}{}`, problem.Malformed, "", "behind"},
		{"not closed", `{"a":1`, problem.Malformed, "a", "the end"},
		{"not closed, empty", `{`, problem.Malformed, "", "the end"},
		{"comma at the end", `{"a":1,}`, problem.Malformed, "", "a key"},
		{"comma alone", `{,}`, problem.Malformed, "", "a key"},
		{"no colon", `{"a" 1}`, problem.Malformed, "a", "colon"},
		{"no value", `{"a":}`, problem.Malformed, "a", "a value"},
		{"no comma", `{"a":1 "b":2}`, problem.Malformed, "a", "comma"},
		{"no quotes", `{a:1}`, problem.Malformed, "", "double quotes"},
		{"single quotes", `{'a':1}`, problem.Malformed, "", "double quotes"},
		{"comment", `{/**/}`, problem.Malformed, "", "a key"},
		{"key twice", `{"a":1,"b":2,"a":3}`, problem.Malformed, "a", "twice"},
		{"key twice by escape", `{"a":1,"\u0061":3}`, problem.Malformed, "a", "twice"},
		{"key twice among many", strings.TrimSuffix(manyFields(100), "}") + `,"f3":0}`, problem.Malformed, "f3", "twice"},
		{"nested object", `{"a":{"b":1}}`, problem.Malformed, "a", "a field of its own"},
		{"nested array", `{"a":[1]}`, problem.Malformed, "a", "an array"},
		{"depth bomb", `{"a":` + strings.Repeat("[", 1_000_000), problem.Malformed, "a", "an array"},
		{"depth bomb of objects", strings.Repeat(`{"a":`, 200_000), problem.Malformed, "a", "an object"},
	})
}

func TestDecodeFieldsRefusesValues(t *testing.T) {
	refuse(t, decodeFields, []refusal{
		{"word", `{"a":True}`, problem.Malformed, "a", "a value"},
		{"word goes on", `{"a":truest}`, problem.Malformed, "a", "comma"},
		{"NaN", `{"a":NaN}`, problem.Malformed, "a", "a value"},
		{"number with a plus", `{"a":+1}`, problem.Malformed, "a", "a value"},
		{"number with a zero before", `{"a":01}`, problem.Malformed, "a", "comma"},
		{"number without digits", `{"a":-}`, problem.Malformed, "a", "digit"},
		{"number with a bare point", `{"a":1.}`, problem.Malformed, "a", "point"},
		{"number without a whole part", `{"a":.5}`, problem.Malformed, "a", "a value"},
		{"number without an exponent", `{"a":1e+}`, problem.Malformed, "a", "exponent"},
		{"hexadecimal number", `{"a":0x1}`, problem.Malformed, "a", "comma"},
		{"string not closed", `{"a":"x`, problem.Malformed, "a", "does not end"},
		{"escape not closed", `{"a":"x\`, problem.Malformed, "a", "does not end"},
		{"unknown escape", `{"a":"\x41"}`, problem.Malformed, "a", "escape"},
		{"cut escape", `{"a":"\u12`, problem.Malformed, "a", "cut"},
		{"bad escape", `{"a":"\u12G4"}`, problem.Malformed, "a", "hexadecimal"},
		{"line break in a string", "{\"a\":\"x\ny\"}", problem.Malformed, "a", `\u000a`},
		{"line break behind an escape", "{\"a\":\"\\t\ny\"}", problem.Malformed, "a", `\u000a`},
		{"lone high surrogate", `{"a":"\ud800"}`, problem.Malformed, "a", "surrogate"},
		{"lone low surrogate", `{"a":"\udc00"}`, problem.Malformed, "a", "surrogate"},
		{"high surrogate before a letter", `{"a":"\ud800\u0041"}`, problem.Malformed, "a", "surrogate"},
		{"two high surrogates", `{"a":"\ud800\ud800"}`, problem.Malformed, "a", "surrogate"},
		{"surrogates in the wrong order", `{"a":"\udc00\ud800"}`, problem.Malformed, "a", "surrogate"},
		{"surrogate as UTF-8", "{\"a\":\"\xed\xa0\x80\"}", problem.Malformed, "a", "UTF-8"},
		{"lone surrogate in a key", `{"\ud800":1}`, problem.Malformed, "", "surrogate"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", problem.Malformed, "a", "UTF-8"},
		{"invalid UTF-8 behind an escape", "{\"a\":\"\\n\xc3\"}", problem.Malformed, "a", "UTF-8"},
		{"overlong UTF-8", "{\"a\":\"\xc0\xaf\"}", problem.Malformed, "a", "UTF-8"},
		{"invalid UTF-8 in a key", "{\"\xff\":1}", problem.Malformed, "", "UTF-8"},
		{"empty name", `{"":1}`, problem.Malformed, "", "a letter"},
		{"name with a dot", `{"a.b":1}`, problem.Malformed, "a.b", "a letter"},
		{"name with a wildcard", `{"*":1}`, problem.Malformed, "*", "a letter"},
		{"name with a line break", `{"a\r\nPUB x":1}`, problem.Malformed, "a\r\nPUB x", "a letter"},
		{"long name", `{"` + strings.Repeat("a", 5000) + `":1}`, problem.Malformed, strings.Repeat("a", 80) + "…", "a letter"},
		{"long value", `{"a":"` + strings.Repeat("x", 3<<19) + `"}`, problem.TooLarge, "a", "1572864 bytes"},
		{"long number", `{"a":` + strings.Repeat("9", 3<<19) + `}`, problem.TooLarge, "a", "1572864 bytes"},
		{"too many fields", manyFields(event.MaxFields + 1), problem.TooLarge, "f1024", "1024 fields"},
	})
}

func wantProblem(t *testing.T, err error, code problem.Code, field, text string) {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want a problem", err)
	}
	if p.Code != code || p.Field != field || !strings.Contains(p.Detail+p.Hint, text) {
		t.Errorf("got %s, field %q, %s / %s; want %s, field %q, about %q", p.Code, p.Field, p.Detail, p.Hint, code, field, text)
	}
	if n := len(p.Detail) + len(p.Hint); n > 600 {
		t.Errorf("text of %d bytes, want at most 600", n)
	}
}

func TestDecodeTransaction(t *testing.T) {
	at := event.Time(1413977220_000000000)
	got, err := aggregate.DecodeTransaction([]byte(`{ "commits": [
		{ "type": "patient", "id": "A/*", "expected-version": "3",
		  "events": [ { "event": "crp", "occurred-at": "2014-10-22T13:27:00+02:00", "fields": { "crp": 21.0 } }, { "fields": {}, "event": "release" } ] },
		{ "events": [ { "event": "open" } ], "id": "é", "type": "ward" },
		{ "type": "bed", "id": "7", "expected-version": 0, "events": [] } ] }`))
	want := []aggregate.Change{
		{Aggregate: event.AggregateID{Type: "patient", ID: "A/*"}, Expected: aggregate.Exactly(3), Events: []aggregate.NewEvent{
			{Type: "crp", OccurredAt: &at, Fields: set("crp", "21.0")}, {Type: "release"}}},
		{Aggregate: event.AggregateID{Type: "ward", ID: "é"}, Events: []aggregate.NewEvent{{Type: "open"}}},
		{Aggregate: event.AggregateID{Type: "bed", ID: "7"}, Expected: aggregate.Exactly(0)},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(aggregate.NewEvent{})); err != nil || diff != "" {
		t.Errorf("got %v; changes (-want +got):\n%s", err, diff)
	}
}

// commit is a transaction of one commit with these members.
func commit(members string) string { return `{"commits":[{` + members + `}]}` }

func TestDecodeTransactionRefuses(t *testing.T) {
	const head = `"type":"patient","id":"A",`
	one := `{` + head + `"events":[{"event":"crp"}]}`
	refuse(t, decodeTransaction, []refusal{
		{"nothing", "", problem.Malformed, "", "the end"},
		{"empty object", "{}", problem.Malformed, "commits", "missing"},
		{"case of a key", `{"Commits":[]}`, problem.Malformed, "Commits", "exactly so: commits"},
		{"null", `{"commits":null}`, problem.Malformed, "commits", "null"},
		{"object", `{"commits":{}}`, problem.Malformed, "commits", "an object"},
		{"key twice", `{"commits":[],"commits":[]}`, problem.Malformed, "commits", "twice"},
		{"something behind", `{"commits":[]} 1`, problem.Malformed, "", "behind"},
		{"no commit", `{"commits":[1]}`, problem.Malformed, "commits[0]", "a number"},
		{"comma at the end", `{"commits":[` + one + `,]}`, problem.Malformed, "commits[1]", "object is wanted"},
		{"no comma", `{"commits":[` + one + one + `]}`, problem.Malformed, "commits[0]", "comma"},
		{"cut", `{"commits":[` + one, problem.Malformed, "commits[0]", "the end"},
		{"no type", commit(`"id":"A","events":[]`), problem.Malformed, "commits[0].type", "missing"},
		{"no id", commit(`"type":"a","events":[]`), problem.Malformed, "commits[0].id", "missing"},
		{"no events", commit(`"type":"a","id":"A"`), problem.Malformed, "commits[0].events", "missing"},
		{"type of another kind", commit(`"type":1`), problem.Malformed, "commits[0].type", "a number"},
		{"unknown key", commit(head + `"expected_version":"1"`), problem.Malformed, "commits[0].expected_version", "expected-version"},
		{"Fields", commit(head + `"events":[{"event":"crp","Fields":{}}]`), problem.Malformed, "commits[0].events[0].Fields", "exactly so"},
		{"type twice", commit(head + `"type":"x"`), problem.Malformed, "commits[0].type", "twice"},
		{"expected of another kind", commit(`"expected-version":true`), problem.Malformed, "commits[0].expected-version", "true"},
		{"expected null", commit(`"expected-version":null`), problem.Malformed, "commits[0].expected-version", "null"},
		{"expected -1", commit(`"expected-version":-1`), problem.Malformed, "commits[0].expected-version", "any, none, exists"},
		{"expected 1.0", commit(`"expected-version":1.0`), problem.Malformed, "commits[0].expected-version", "any, none, exists"},
		{"expected 01", commit(`"expected-version":"01"`), problem.Malformed, "commits[0].expected-version", "any, none, exists"},
		{"time", commit(head + `"events":[{"occurred-at":"yesterday"}]`), problem.Malformed, "commits[0].events[0].occurred-at", "RFC 3339"},
		{"time null", commit(head + `"events":[{"occurred-at":null}]`), problem.Malformed, "commits[0].events[0].occurred-at", "null"},
		{"no event type", commit(head + `"events":[{}]`), problem.Malformed, "commits[0].events[0].event", "missing"},
		{"fields null", commit(head + `"events":[{"event":"crp","fields":null}]`), problem.Malformed, "commits[0].events[0].fields", "null"},
		{"nested field", commit(head + `"events":[{"event":"a"},{"event":"crp","fields":{"crp":[]}}]`), problem.Malformed, "commits[0].events[1].fields.crp", "a field of its own"},
		{"field twice", commit(head + `"events":[{"event":"crp","fields":{"a":1,"a":2}}]`), problem.Malformed, "commits[0].events[0].fields.a", "twice"},
		{"lone surrogate in an id", commit(`"id":"\ud800"`), problem.Malformed, "commits[0].id", "surrogate"},
		{"depth bomb", strings.Repeat(`{"commits":[`, 100_000), problem.Malformed, "commits[0].commits", "unknown"},
		{"too many commits", `{"commits":[` + strings.Repeat(one+",", aggregate.MaxChanges) + one + `]}`, problem.TooLarge, "commits[512]", "512"},
		{"too many events", commit(head + `"events":[` + strings.Repeat(`{"event":"a"},`, aggregate.MaxEvents) + `{"event":"a"}]`), problem.TooLarge, "commits[0].events[4096]", "4096"},
	})
}

func TestParseOccurredAt(t *testing.T) {
	good := map[string]event.Time{
		"1970-01-01T00:00:00Z": 0, "1970-01-01T00:00:00.000000001Z": 1, "1970-01-01T01:00:00.1+01:00": 100_000_000,
		"1970-01-01T23:59:00+23:59": 0, "1970-01-01T00:00:00-00:00": 0,
		"1677-09-21T00:12:43.145224192Z": -1 << 63, "2262-04-11T23:47:16.854775807Z": 1<<63 - 1,
	}
	for in, want := range good {
		if got, err := aggregate.ParseOccurredAt(in); got != want || err != nil {
			t.Errorf("%s: got %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "now", "2014-10-22", "2014-10-22 11:27:00Z", "2014-10-22T11:27:00", "2014-10-22T11:27:00,5Z", "2014-10-22T1:27:00Z", "2014-10-22T11:27:00+25:00",
		"2014-10-22T11:27:00+24:00", "2014-10-22T11:27:00-24:00", "2014-10-22T11:27:00.5+23:60", "2014-10-22T11:27:00+00:60", "2014-10-22T11:27:00z",
		"2014-10-22T11:27:00.1234567890Z", "2014-10-22T24:00:00Z", "2014-02-30T00:00:00Z", "1677-09-21T00:12:43.145224191Z", "2262-04-11T23:47:16.854775808Z", "9999-01-01T00:00:00Z", strings.Repeat("1", 5000)} {
		_, err := aggregate.ParseOccurredAt(in)
		if p := problem.From(err); err == nil || p.Code != problem.Malformed || p.Hint == "" || len(p.Detail) > 400 {
			t.Errorf("%q: got %v, want malformed with a hint", in, err)
		}
	}
}
