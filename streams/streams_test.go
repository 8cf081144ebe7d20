package streams_test

import (
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/streams"
)

func TestStreamAndSubject(t *testing.T) {
	stream, err := streams.Stream("north-1", "patient")
	if err != nil || stream != "EVT_north-1_patient" {
		t.Errorf("Stream: got %q, %v, want EVT_north-1_patient", stream, err)
	}
	subject, err := streams.Subject("north-1", "patient")
	if err != nil || subject != "evt.north-1.patient" {
		t.Errorf("Subject: got %q, %v, want evt.north-1.patient", subject, err)
	}
	for _, bad := range []string{"", "*", ">", "a.*", "a..b", "a b", "a\r\nPUB x 0", "a\x00", "\xff", "../../etc", "$JS.x", "-a", "_a", "A", strings.Repeat("a", 5000)} {
		if got, err := streams.Stream("north", bad); err == nil {
			t.Errorf("Stream of log %.20q: got %q, want an error", bad, got)
		}
		if got, err := streams.Stream(bad, "patient"); err == nil {
			t.Errorf("Stream of site %.20q: got %q, want an error", bad, got)
		}
		if got, err := streams.Subject("north", bad); err == nil {
			t.Errorf("Subject of log %.20q: got %q, want an error", bad, got)
		}
	}
}

func TestLogOf(t *testing.T) {
	tests := []struct {
		site, stream, log string
		ok                bool
	}{
		{"north", "EVT_north_patient", "patient", true},
		{"north", "EVT_north_a_b", "a_b", true},
		{"north", "EVT_north_eventful", "eventful", true},
		{"north", "EVT_south_patient", "", false},
		{"north", "EVT_north-2_patient", "", false},
		{"north", "EVT_north_", "", false},
		{"north", "EVT_north_A", "", false},
		{"north", "KV_LEASES", "", false},
	}
	for _, test := range tests {
		log, ok := streams.LogOf(test.site, test.stream)
		if ok != test.ok || ok && log != test.log {
			t.Errorf("LogOf(%s, %s): got %q, %v, want %q, %v", test.site, test.stream, log, ok, test.log, test.ok)
		}
	}
}

func TestEscape(t *testing.T) {
	for id, want := range map[string]string{
		"":          "",
		"a-B_9":     "a-B_9",
		"../x":      "=2E=2E=2Fx",
		"a b*>":     "a=20b=2A=3E",
		"=41":       "=3D41",
		"é":         "=C3=A9",
		"$JS.API.>": "=24JS=2EAPI=2E=3E",
	} {
		if got := streams.Escape(id); got != want {
			t.Errorf("Escape(%q): got %q, want %q", id, got, want)
		}
		if got, err := streams.Unescape(want); err != nil || got != id {
			t.Errorf("Unescape(%q): got %q, %v, want %q", want, got, err, id)
		}
	}
	for _, bad := range []string{"=", "=4", "a=2", "=41", "=2e", "=ZZ", "==", " ", ".", "é", "a\x00"} {
		if got, err := streams.Unescape(bad); err == nil {
			t.Errorf("Unescape(%q): got %q, want an error", bad, got)
		}
	}
}

func TestCommandSubject(t *testing.T) {
	a := event.AggregateID{Type: "patient", ID: "J. Doe/*"}
	subject, err := streams.CommandSubject(a, "er-registration")
	if want := "cmd.patient.J=2E=20Doe=2F=2A.er-registration"; err != nil || subject != want {
		t.Errorf("got %q, %v, want %q", subject, err, want)
	}
	back, eventType, err := streams.ParseCommandSubject(subject)
	if err != nil || back != a || eventType != "er-registration" {
		t.Errorf("got %v, %q, %v, want %v, er-registration", back, eventType, err, a)
	}
	if subject, err := streams.TransactionSubject("patient"); err != nil || subject != "cmd.patient" {
		t.Errorf("got %q, %v, want cmd.patient", subject, err)
	}
	if _, err := streams.CommandSubject(a, "a.b"); err == nil {
		t.Error("an event type with a dot: got nil, want an error")
	}
	for _, bad := range []string{
		"", "cmd", "cmd.", "cmd.patient", "cmd.patient.1", "cmd.patient..created", "cmd.patient.1.", "cmd.patient.1.a.b", "cmd.*.1.created",
		"cmd.patient.*.created", "cmd.patient.>.created", "cmd.patient.=31.created", "cmd.Patient.1.created", "cmd.patient.1.Created",
		"CMD.patient.1.created", "qry.patient.1.created", "cmd.patient.=00.created", "cmd.patient.=FF.created", "cmd.patient.1.*",
	} {
		if a, eventType, err := streams.ParseCommandSubject(bad); err == nil {
			t.Errorf("ParseCommandSubject(%q): got %v, %q, want an error", bad, a, eventType)
		}
	}
}

func TestQuerySubject(t *testing.T) {
	tests := []struct {
		a       event.AggregateID
		verb    string
		subject string
	}{
		{event.AggregateID{Type: "patient", ID: "7.x"}, "history", "qry.patient.7=2Ex.history"},
		{event.AggregateID{Type: "patient"}, "list", "qry.patient.list"},
		{event.AggregateID{}, "event", "qry._.event"},
	}
	for _, test := range tests {
		form := streams.QuerySubject
		if test.a.ID == "" {
			form = func(a event.AggregateID, verb string) (string, error) { return streams.TypeQuerySubject(a.Type, verb) }
		}
		if subject, err := form(test.a, test.verb); err != nil || subject != test.subject {
			t.Errorf("got %q, %v, want %q", subject, err, test.subject)
		}
		if a, verb, err := streams.ParseQuerySubject(test.subject); err != nil || a != test.a || verb != test.verb {
			t.Errorf("ParseQuerySubject(%q): got %v, %q, %v, want %v, %q", test.subject, a, verb, err, test.a, test.verb)
		}
	}
	for _, bad := range []string{"", "qry", "qry.patient", "qry.*.list", "qry.Patient.list", "qry.patient.1.2.get", "qry._.1.get", "qry.patient.*.get", "cmd.patient.list"} {
		if a, verb, err := streams.ParseQuerySubject(bad); err == nil {
			t.Errorf("ParseQuerySubject(%q): got %v, %q, want an error", bad, a, verb)
		}
	}
}

func TestParseAggregate(t *testing.T) {
	if a, err := streams.ParseAggregate("patient/a/b"); err != nil || a != (event.AggregateID{Type: "patient", ID: "a/b"}) {
		t.Errorf("got %v, %v, want patient and a/b", a, err)
	}
	for _, bad := range []string{"", "patient", "patient/", "/1", "Patient/1", "patient/\x00"} {
		if a, err := streams.ParseAggregate(bad); err == nil {
			t.Errorf("ParseAggregate(%q): got %v, want an error", bad, a)
		}
	}
}

func FuzzCommandSubject(f *testing.F) {
	f.Add("cmd.patient.J=2E=20Doe.created")
	f.Add("cmd.patient.=C3=A9.created")
	f.Fuzz(func(t *testing.T, subject string) {
		a, eventType, err := streams.ParseCommandSubject(subject)
		if err != nil {
			return
		}
		if back, err := streams.CommandSubject(a, eventType); err != nil || back != subject {
			t.Errorf("got %q, %v back, want %q: one spelling is accepted", back, err, subject)
		}
	})
}

func FuzzQuerySubject(f *testing.F) {
	f.Add("qry.patient.7=2Ex.history")
	f.Add("qry._.list")
	f.Fuzz(func(t *testing.T, subject string) {
		a, verb, err := streams.ParseQuerySubject(subject)
		if err != nil {
			return
		}
		back, err := streams.QuerySubject(a, verb)
		if a.ID == "" {
			back, err = streams.TypeQuerySubject(a.Type, verb)
		}
		if err != nil || back != subject {
			t.Errorf("got %q, %v back, want %q", back, err, subject)
		}
	})
}

// Every id that is allowed comes back from its escaped form, and the form is a single token.
func FuzzEscape(f *testing.F) {
	f.Add("../../etc")
	f.Add("=41\x00\xff")
	f.Fuzz(func(t *testing.T, id string) {
		escaped := streams.Escape(id)
		if strings.ContainsAny(escaped, ".*> \r\n\t\x00/$") {
			t.Errorf("Escape(%q): got %q, which is no plain token", id, escaped)
		}
		if back, err := streams.Unescape(escaped); err != nil || back != id {
			t.Errorf("Unescape(%q): got %q, %v, want %q", escaped, back, err, id)
		}
		if plain, err := streams.Unescape(id); err == nil && streams.Escape(plain) != id {
			t.Errorf("%q and %q are both accepted for %q", id, streams.Escape(plain), plain)
		}
	})
}

func TestLogSettings(t *testing.T) {
	settings, err := streams.LogSettings("north", "patient", 3)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]any{}
	for _, s := range settings {
		if _, twice := seen[s.Name]; twice || s.Reason == "" {
			t.Errorf("%s stands twice (%v) or has no reason", s.Name, twice)
		}
		seen[s.Name] = s.Value
	}
	for name, want := range map[string]any{"name": "EVT_north_patient", "num_replicas": int64(3), "deny_delete": true, "discard": "new", "max_age": int64(0)} {
		if got := seen[name]; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if _, err := streams.LogSettings("north", "*", 1); err == nil {
		t.Error("a wrong log name: got nil, want an error")
	}
}
