package filter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/filter"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

var fields = map[string]schema.Field{
	"status": {}, "age": {Type: schema.Integer}, "crp": {Type: schema.Decimal}, "born": {Type: schema.Date}, "seen": {Type: schema.DateTime}, "alive": {Type: schema.Bool},
	"ward": {Type: schema.Enum, Values: []string{"A1", "A2"}}, "key": {Type: schema.UUID}, "secret": {PII: true}, "in": {}, "note": {},
}

func row(pairs ...string) *filter.Row {
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return &filter.Row{ID: "A", Version: 3, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano(), Field: func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}}
}

func TestMatch(t *testing.T) {
	r := row("status", "deceased", "age", "080", "crp", "1.10", "born", "1950-01-31", "seen", "2014-10-22T11:27:00+02:00", "alive", "true", "ward", "A1",
		"key", "00000000-0000-0000-0000-00000000ABCD", "in", "x", "note", "a = b")
	for text, want := range map[string]bool{
		`status=deceased and age>=80`:                  true,
		`status = "deceased" && age == 80.0`:           true,
		`status=deceased and age>80`:                   false,
		`age = 8e1`:                                    true,
		`80 <= age`:                                    true,
		`80 > age`:                                     false,
		`age < 9007199254740993`:                       true,
		`age < "123456789012345678901234567890"`:       true,
		`age > -5`:                                     true,
		`crp = 1.1`:                                    true,
		`crp > 1.09999999999999999999999`:              true,
		`born >= "1950-01-01" and born < "1951-01-01"`: true,
		`seen = "2014-10-22T09:27:00Z"`:                true,
		`seen < "2014-10-22T09:27:00.001Z"`:            true,
		`alive`:                                        true,
		`not alive`:                                    false,
		`alive = true or status = x`:                   true,
		`ward in [A1, A2]`:                             true,
		`ward not in ["A2"]`:                           true,
		`key = "00000000-0000-0000-0000-00000000abcd"`: true,
		`$env["in"] = x`:                               true,
		`note = "a = b"`:                               true,
		`note contains "="`:                            true,
		`note startsWith "a" and note endsWith 'b'`:    true,
		`status matches "^dec.*d$"`:                    true,
		`status = Deceased`:                            false,
		`status != deceased`:                           false,
		`$id = A and $version = 3 and $time >= "2026-01-01T00:00:00Z"`: true,
		`$deleted`: false,
		`(status = x or age = 80) and not (crp < 1)`: true,
		`status = nil`:  false,
		`status != nil`: true,
		`1 < crp < 2`:   true,
	} {
		f, err := filter.Parse(text, fields)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := f.Match(r); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

// What is not set, or not of its type, is equal to nothing.
func TestMatchOfWhatIsNotThere(t *testing.T) {
	for text, want := range map[string]bool{`age = 80`: false, `age != 80`: true, `age < 80`: false, `age >= 80`: false, `age = nil`: true, `not (age = 80)`: true, `age in [80]`: false} {
		f, err := filter.Parse(text, fields)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match(row()); got != want {
			t.Errorf("%s, not set: got %v, want %v", text, got, want)
		}
		if got := f.Match(row("age", "old")); got != want && !strings.Contains(text, "nil") {
			t.Errorf("%s, a text that is no number: got %v, want %v", text, got, want)
		}
	}
}

// Errors mark the place in the text as it was given.
func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      "at character 1:",
		`status = deceased and`:                 "at character 22: the filter ends here, and something is missing: status = deceased and<HERE>",
		`(status=x`:                             "at character 10: the filter ends here, and something is missing: (status=x<HERE>",
		`status = x)`:                           `at character 11: ")" is not expected here: status = x<HERE>)`,
		`status = ü status = b`:                 `at character 12: "status" is not expected here`,
		`age = 1e99999`:                         "at character 7: 1e99999 is too long, or no number; a number of any length can stand in quotes: age = <HERE>1e99999",
		`status=ü and age=99999999999999999999`: "at character 18: 99999999999999999999 is too long",
		"status = \"\xff\"":                     "no valid UTF-8",
		`age >`:                                 "at character 6:",
		`status=deceased and age>>80`:           "at character 25:",
		`aeg = 80`:                              "at character 1: there is no field aeg",
		`status=x and aeg = 80`:                 "at character 14: there is no field aeg",
		`age = eighty`:                          `at character 7: "eighty" is no integer`,
		`born = 1950`:                           `is no date`,
		`ward = A3`:                             `"A3" is none of the values of ward: A1, A2`,
		`secret = x`:                            `the field secret is encrypted`,
		`status`:                                `status is no condition`,
		`alive > false`:                         `have no order`,
		`age + 1 = 2`:                           `the name of a field is wanted`,
		`len(status) = 2`:                       `the name of a field is wanted`,
		`filter(status, true)`:                  `at character`,
		`let x = 1; x = 1`:                      `at character`,
		`status matches "("`:                    `the pattern cannot be read`,
		`status matches "(((a{100}){100}){100})"`: `at character`,
		`status matches age`:                      `takes a text in quotes`,
		`status = age`:                            `not with the field age`,
		`age in 80`:                               `in takes a list`,
		`status = a-b`:                            `needs quotes`,
		`status = "open`:                          `at character`,
		`status ?? "x" = "x"`:                     `at character`,
		`age ** 2 = 4`:                            `at character`,
		`true ? age = 1 : age = 2`:                `at character`,
		"age = 1\x00":                             `at character`,
	} {
		_, err := filter.Parse(text, fields)
		var p *problem.Problem
		if !errors.As(err, &p) || p.Code != problem.Malformed || !strings.Contains(p.Detail, want) {
			t.Errorf("%s: got %v, want malformed with %q", text, err, want)
			continue
		}
		if strings.Contains(p.Detail, "at character") && !strings.Contains(p.Detail, "<HERE>") {
			t.Errorf("%s: got %q, want the place marked", text, p.Detail)
		}
	}
	if _, err := filter.Parse(strings.Repeat("(", filter.MaxLength), fields); err == nil {
		t.Error("a filter of nothing but parentheses was taken")
	}
	if _, err := filter.Parse("age = 1"+strings.Repeat(" or age = 1", 400), fields); err == nil {
		t.Error("a filter that is too long was taken")
	}
	if _, err := filter.Parse("age = 1"+strings.Repeat(" or age = 1", 350), fields); err != nil {
		t.Errorf("a long filter: %v", err)
	}
}

func TestEqualities(t *testing.T) {
	for text, want := range map[string][]filter.Equality{
		`status=deceased and age>=80`:           {{Field: "status", Values: []string{"deceased"}}},
		`age = 080 and (ward = A1 and crp > 1)`: {{Field: "age", Values: []string{filter.Canonical("80")}}, {Field: "ward", Values: []string{"A1"}}},
		`status = a or status = b`:              nil,
		`not (status = a)`:                      nil,
		`status in [b, a, b]`:                   {{Field: "status", Values: []string{"a", "b"}}},
		`alive and 80 = age`:                    {{Field: "alive", Values: []string{"true"}}, {Field: "age", Values: []string{filter.Canonical("80")}}},
		`$id = A`:                               nil,
		`status = nil`:                          nil,
	} {
		f, err := filter.Parse(text, fields)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, f.Equalities()); diff != "" {
			t.Errorf("%s: equalities (-want +got):\n%s", text, diff)
		}
	}
}

// Texts that are equal by value have one canonical form, or an aggregate would be missed.
func TestCanonical(t *testing.T) {
	for _, same := range [][]string{
		{"80", "080", "8e1", "80.0", "0.8e2", "800E-1", "8.0e+1"},
		{"0", "-0", "0.0", "0e99", "000"},
		{"-1.10", "-1.1", "-11e-1"},
		{"1e400", "10e399", "0.1e401"},
		{"2014-10-22T11:27:00+02:00", "2014-10-22T09:27:00Z", "2014-10-22t09:27:00.000z", "2014-10-21T23:27:00-10:00"},
		{"00000000-0000-0000-0000-00000000ABCD", "00000000-0000-0000-0000-00000000abcd"},
	} {
		for _, one := range same[1:] {
			if a, b := filter.Canonical(same[0]), filter.Canonical(one); a != b {
				t.Errorf("%s and %s: got %s and %s, want one form", same[0], one, a, b)
			}
		}
	}
	if filter.Canonical("80") == filter.Canonical("81") || filter.Canonical("a") == filter.Canonical("A") {
		t.Error("texts that differ have one form")
	}
}

func TestOrder(t *testing.T) {
	o, err := filter.ParseOrder("-age, status", fields)
	if err != nil {
		t.Fatal(err)
	}
	first, second, third, last := row("age", "100", "status", "b"), row("age", "99", "status", "a"), row("age", "099", "status", "b"), row("status", "a")
	rows := []*filter.Row{first, second, third, last, row("age", "old", "status", "b")}
	for i := range rows[1:] {
		if c := o.Compare(o.Key(rows[i]), o.Key(rows[i+1])); c >= 0 {
			t.Errorf("rows %d and %d: got %d, want the first one before", i, i+1, c)
		}
	}
	long := strings.Repeat("1", 1000)
	for field, values := range map[string][]string{"age": {"-" + long, "0", strings.Repeat("0", 1000), "5", long, long + "0"}, "note": {"a" + long, "b" + long}, "seen": {"2014-10-22T11:27:00." + long + "Z", "2014-10-22T11:27:00.2" + long + "Z"}} {
		o, err := filter.ParseOrder(field, fields)
		if err != nil {
			t.Fatal(err)
		}
		for i := range values[1:] {
			a, b := o.Key(row(field, values[i])), o.Key(row(field, values[i+1]))
			if c := o.Compare(a, b); c > 0 || c == 0 && i != 1 || len(a[0].Text) > 300 || !a[0].Set {
				t.Errorf("%s, long values %d and %d: got %d, with a key of %d bytes", field, i, i+1, c, len(a[0].Text))
			}
		}
	}
	for _, bad := range []string{"", "aeg", "secret", "age,,status", strings.Repeat("age,", 8) + "age"} {
		if _, err := filter.ParseOrder(bad, fields); err == nil {
			t.Errorf("the order %q was taken", bad)
		}
	}
}

// FuzzParse: whatever the text, it is refused or it can be asked, and what it must have it has.
func FuzzParse(f *testing.F) {
	for _, text := range []string{`status=deceased and age>=80`, `ward in [A1] or not alive`, `note matches "a*"`, "`", `a=='=`, `seen<"2014-10-22T11:27:00Z"`, `$env["in"]=x`} {
		f.Add(text, "080")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		parsed, err := filter.Parse(text, fields)
		if err != nil {
			return
		}
		r := row("age", value, "crp", value, "seen", value, "status", value, "note", value, "ward", value, "alive", value, "key", value, "born", value)
		if !parsed.Match(r) {
			return
		}
		for _, e := range parsed.Equalities() {
			v, _ := r.Field(e.Field)
			found := false
			for _, want := range e.Values {
				found = found || want == filter.Canonical(v)
			}
			if !found {
				t.Errorf("%q matches %s = %q, which is none of %q", text, e.Field, v, e.Values)
			}
		}
	})
}
