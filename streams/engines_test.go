package streams_test

import (
	"testing"

	"github.com/eventfuldb/eventful/streams"
)

func TestEngineSubjects(t *testing.T) {
	for _, c := range []struct{ site, log, verb, want string }{
		{"main", "patient", "barrier", "eng.main.patient.barrier"},
		{"main", "eventful", "grant", "eng.main.eventful.grant"},
		{"main", "", "standing", "eng.main._.standing"},
		{"main", "patient", "hand-back", "eng.main.patient.hand-back"},
		{"Main", "patient", "barrier", ""}, {"main", "pa.tient", "barrier", ""}, {"main", "*", "barrier", ""}, {"main", "patient", "", ""},
		{"main", "patient", ">", ""}, {"main", "patient", "Barrier", ""}, {"", "patient", "barrier", ""}, {"ma in", "", "barrier", ""},
	} {
		got, err := streams.EngineSubject(c.site, c.log, c.verb)
		if (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%+v: got %q, %v", c, got, err)
		}
	}
	if got, err := streams.EngineSubjects("main", "patient"); err != nil || got != "eng.main.patient.*" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := streams.TypeCommandSubjects("patient"); err != nil || len(got) != 2 || got[0] != "cmd.patient" || got[1] != "cmd.patient.>" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := streams.TypeCommandSubjects("a.>"); err == nil {
		t.Error("got subjects of a type that cannot be")
	}
}

// FuzzParseEngineSubject holds that what is read is valid and forms the subject again.
func FuzzParseEngineSubject(f *testing.F) {
	for _, seed := range []string{"", "eng", "eng.main.patient.barrier", "eng.main._.standing", "eng.main..x", "eng.*.>.x", "eng.main.eventful.hand-back", "eng.main.__.x", "eng.main.a.b.c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		site, log, verb, err := streams.ParseEngineSubject(s)
		if err != nil {
			return
		}
		if got, err := streams.EngineSubject(site, log, verb); err != nil || got != s {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	})
}
