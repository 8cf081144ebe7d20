package aggregate_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
)

// commandVector is one entry of docs/spec/vectors/command.json.
type commandVector struct {
	Name, Kind, Text, Hex, Expected string
	OK                              bool
	Fields                          []struct {
		Name  string
		Kind  int
		Value string
	}
}

func TestCommandVectors(t *testing.T) {
	raw, err := os.ReadFile("../../docs/spec/vectors/command.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []commandVector
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("read vectors: got %d, %v", len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			in, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			in = append(in, v.Text...)
			switch v.Kind {
			case "fields":
				v.runFields(t, in)
			case "expected":
				v.runExpected(t, string(in))
			default:
				t.Fatalf("kind %q is unknown", v.Kind)
			}
		})
	}
}

func (v commandVector) runFields(t *testing.T, body []byte) {
	got, err := aggregate.DecodeFields(body)
	if (err == nil) != v.OK {
		t.Fatalf("%q: got %v, %v, want ok %v", body, got, err, v.OK)
	}
	var want []event.Field
	for _, f := range v.Fields {
		want = append(want, event.Field{Name: f.Name, Value: f.Value, Set: f.Kind == 1})
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%q (-want +got):\n%s", body, diff)
	}
}

func (v commandVector) runExpected(t *testing.T, in string) {
	got, err := aggregate.ParseExpected(in)
	if (err == nil) != v.OK {
		t.Fatalf("%q: got %v, %v, want ok %v", in, got, err, v.OK)
	}
	if v.OK && got.String() != v.Expected {
		t.Errorf("%q: got %v, want %s", in, got, v.Expected)
	}
}
