package schema_test

import (
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
)

func TestTypes(t *testing.T) {
	long := strings.Repeat("9", 400)
	tests := []struct {
		kind      schema.FieldType
		good, bad []string
	}{
		{schema.String, []string{"", "x", "a\x00b", "ünï", "\n"}, nil},
		{schema.Integer, []string{"0", "-1", "007", "9007199254740993", long}, []string{"", "-", "+1", "1.0", "1e3", " 1", "1 ", "٣", "--1", "0x1"}},
		{schema.Decimal, []string{"0", "-0", "1.10", "1e400", "6.02E+23", "1e-7", "-0.5", "9007199254740993", long},
			[]string{"", "-", ".5", "5.", "01", "+1", "1e", "1e+", "NaN", "Infinity", "1,5", "0x1p3", "1 ", "1.2.3"}},
		{schema.Date, []string{"2014-10-22", "2024-02-29", "2000-02-29", "0000-01-01", "9999-12-31"},
			[]string{"", "2014-10-32", "2023-02-29", "1900-02-29", "2014-13-01", "2014-00-01", "2014-1-2", "22.10.2014", "2014-10-22T00:00:00Z", "2014-04-31", "+014-10-22"}},
		{schema.DateTime, []string{"2014-10-22T11:27:00Z", "2014-10-22t11:27:00z", "2014-10-22T11:27:00.123456789012+02:00", "1990-12-31T23:59:60Z",
			"1990-12-31T15:59:60-08:00", "1991-01-01T05:29:60+05:30", "2014-10-22T11:27:00-00:00"},
			[]string{"", "2014-10-22", "2014-10-22 11:27:00Z", "2014-10-22T11:27:00", "2014-10-22T24:00:00Z", "2014-10-22T11:60:00Z", "2014-10-22T11:27:61Z",
				"2014-10-22T11:27:60Z", "1990-12-31T23:59:60+01:00", "2014-10-22T11:27:00.Z", "2014-10-22T11:27:00,5Z", "2014-10-22T11:27:00+24:00", "2014-10-22T11:27:00+0200",
				"2014-10-22T1:27:00Z", "2014-10-22T11:27Z", "2014-02-30T11:27:00Z", "2014-10-22T11:27:00ZZ", "2014-10-22T11:27:00.5", "2014-10-22T11:27:0000Z"}},
		{schema.Bool, []string{"true", "false"}, []string{"", "True", "TRUE", "1", "0", "yes", "true "}},
		{schema.Email, []string{"a@b", "jane.doe+tag@example.org", "ünï@bücher.example", "o'hara@x-y.example", "1@2.3"},
			[]string{"", "@", "a", "a@", "@b", "Jane <jane@example.org>", "a b@c", "a..b@c", ".a@c", "a.@c", "a@b..c", "a@-b", "a@b-", "a@b_c", `"a"@b`, "a@[127.0.0.1]", "a@b\n",
				"a\u0085@b", strings.Repeat("a", 65) + "@b", "a@" + strings.Repeat("b", 64), "a@" + strings.Repeat("b.", 126) + "c", "a@b@c", "a\xff@b"}},
		{schema.UUID, []string{"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6", "00000000-0000-0000-0000-000000000000"},
			[]string{"", "f81d4fae7dec11d0a76500a0c91e6bf6", "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}", "f81d4fae-7dec-11d0-a765-00a0c91e6bfg", "f81d4fae-7dec-11d0-a765-00a0c91e6bf", "f81d4fae-7dec-11d0-a765+00a0c91e6bf6"}},
	}
	for _, tt := range tests {
		s := compile(t, schema.Definition{Aggregate: "x", Fields: map[string]schema.Field{"f": {Type: tt.kind}}, Events: map[string]schema.Event{"e": {Fields: []string{"f"}}}})
		for _, v := range tt.good {
			if p := s.CheckEvent("e", set("f", v)); len(p) != 0 {
				t.Errorf("%s %q: got %v, want it accepted", tt.kind, v, p)
			}
		}
		for _, v := range tt.bad {
			p := s.CheckEvent("e", set("f", v))
			if len(p) != 1 || p[0].Field != "f" || p[0].Hint == "" {
				t.Errorf("%s %q: got %v, want one problem with a hint", tt.kind, v, p)
			}
		}
	}
}

func compile(t testing.TB, d schema.Definition) *schema.Schema {
	t.Helper()
	s, err := schema.Compile(d, 1)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return s
}

// set makes fields of name, value, name, value …
func set(pairs ...string) []event.Field {
	var out []event.Field
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, event.Field{Name: pairs[i], Value: pairs[i+1], Set: true})
	}
	return out
}
