package aggregate_test

import (
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
)

// rollbackVector is one entry of docs/spec/vectors/rollback.json.
type rollbackVector struct {
	Name         string      `json:"name"`
	SchemaDigest string      `json:"schema_digest"`
	Events       []toldEvent `json:"events"`
	To           string      `json:"to"`
	Stores       []toldEvent `json:"stores"`
}

type toldEvent struct {
	Event   string      `json:"event"`
	Deletes bool        `json:"deletes"`
	Fields  []toldField `json:"fields"`
}

type toldField struct {
	Name  string `json:"name"`
	Kind  int    `json:"kind"`
	Value string `json:"value"`
}

func (e toldEvent) past(t *testing.T) past {
	t.Helper()
	var fields []event.Field
	for _, f := range e.Fields {
		fields = append(fields, event.Field{Name: f.Name, Value: f.Value, Set: f.Kind > 0, Sealed: f.Kind == 2})
	}
	payload, err := event.EncodePayload(fields)
	if err != nil {
		t.Fatal(err)
	}
	return past{Event: event.Event{Type: e.Event, Payload: payload}, deletes: e.Deletes}
}

func TestRollbackVectors(t *testing.T) {
	raw, err := os.ReadFile("../../docs/spec/vectors/rollback.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []rollbackVector
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) < 10 {
		t.Fatalf("got %d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			l := newLife()
			for _, e := range v.Events {
				l.add(e.past(t))
			}
			to, err := strconv.Atoi(v.To)
			if err != nil {
				t.Fatal(err)
			}
			got := []toldEvent{}
			if r, _ := l.back(to, remembered); r != nil {
				got = told(t, r, v.SchemaDigest)
			}
			if diff := cmp.Diff(v.Stores, got); diff != "" {
				t.Errorf("stores (-want +got):\n%s", diff)
			}
		})
	}
}

func told(t *testing.T, r *aggregate.Restoration, digest string) (out []toldEvent) {
	t.Helper()
	_, stored, err := r.Events()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range stored {
		if e.SchemaDigest.String() != digest {
			t.Errorf("got the schema digest %s, want %s", e.SchemaDigest, digest)
		}
		one := toldEvent{Event: e.Type, Deletes: aggregate.EndsByRollback(&e), Fields: []toldField{}}
		fields, err := event.DecodePayload(e.Payload)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			kind := 0
			switch {
			case f.Sealed:
				kind = 2
			case f.Set:
				kind = 1
			}
			one.Fields = append(one.Fields, toldField{f.Name, kind, f.Value})
		}
		out = append(out, one)
	}
	return out
}
