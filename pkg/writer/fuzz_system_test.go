package writer_test

import (
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/statestore"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// systemEvents are the kinds of what the view of the system log is made of, with an event of each and a field of it.
var systemEvents = []struct{ kind, event, field, value string }{
	{"eventful-key", "key-updated", "actions", "read"},
	{"eventful-key", "key-revoked", "ended", "revoked"},
	{"eventful-token", "token-revoked", "ended", "revoked"},
	{"eventful-schema", "schema-drafted", "definition", `{"aggregate":"ward","events":{"opened":{}}}`},
	{"eventful-schema", "schema-migrated", "definition", `{"aggregate":"ward","events":{"opened":{}}}`},
	{"eventful-schema", "schema-discarded", "", ""},
	{"eventful-key", "key-added", "aggregates", "patient ward"},
	{"eventful-token", "budget-granted", "units", "5"},
	{"eventful-token", "budget-taken-back", "units", "3"},
	{"eventful-import", "rows-done", "rows", "7"},
	{"eventful-token", "token-issued", "limit", "7"},
	{"eventful-unheard-of", "unheard-of", "", ""},
}

// FuzzSystemState holds that an entry of the system log's state is doubted or taken, and that events go on behind it.
func FuzzSystemState(f *testing.F) {
	for i := range systemEvents {
		for _, value := range []string{``, `null`, `{}`, `[]`, `{"versions":[null]}`, `{"versions":[{}],"draft":{}}`, `{"limit":5,"expires":9,"logs":{"a":1},"back":{"a":2}}`, `{"logs":null}`, `{"rows":-1}`, `{"ranges":"1-2","rows":2}`} {
			f.Add(uint8(i), []byte(value), "5")
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, value []byte, number string) {
		s := writer.NewSystem()
		e := systemEvents[int(which)%len(systemEvents)]
		if e.event == "token-revoked" {
			e.kind = "ended"
		}
		if err := s.Load(e.kind, "id", value); err != nil {
			if !errors.Is(err, statestore.ErrDoubted) {
				t.Errorf("got %v, want that the state is doubted", err)
			}
			return
		}
		for _, e := range systemEvents {
			fields := map[string]string{e.field: e.value, "log": "ward", "expires": "9", "limit": number}
			if _, err := s.Apply(event.AggregateID{Type: e.kind, ID: "id"}, e.event, fields); err != nil {
				continue // what stands in a log need not fit
			}
		}
	})
}

// FuzzSystemEvents holds that what an event of the system log leads to can be loaded again.
func FuzzSystemEvents(f *testing.F) {
	for i, e := range systemEvents {
		f.Add(uint8(i), e.value, "9", "ward")
		f.Add(uint8(i), "", "-1", "")
		f.Add(uint8(i), "18446744073709551615", "18446744073709551616", ">")
	}
	f.Fuzz(func(t *testing.T, which uint8, text, number, log string) {
		s := writer.NewSystem()
		e := systemEvents[int(which)%len(systemEvents)]
		a := event.AggregateID{Type: e.kind, ID: "id"}
		for range 2 {
			fields := map[string]string{"log": log, "expires": number, "limit": number, "units": number, "rows": number, "name": text, "maxlimit": number, "maxexpiration": number, "actions": text, "aggregates": text}
			if e.field != "" {
				fields[e.field] = text
			}
			value, err := s.Apply(a, e.event, fields)
			if err != nil || value == nil {
				continue
			}
			kind := e.kind
			if e.event == "token-revoked" {
				kind = "ended"
			}
			if err := writer.NewSystem().Load(kind, "id", value); err != nil {
				t.Errorf("%s of %v is kept as %s, which cannot be loaded: %v", e.event, fields, value, err)
			}
		}
	})
}
