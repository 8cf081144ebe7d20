// Package sepsis_test holds that the example's schema, mapping and data fit each other, without a server.
package sepsis_test

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/importer"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// checker takes what the schema accepts.
type checker struct {
	schema *schema.Schema
	mu     sync.Mutex // guards what follows
	events map[event.AggregateID]int
	groups map[string]bool
	bare   int // events without a field
}

func (c *checker) Send(_ context.Context, cmd *importer.Command, answered func(importer.Answer, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[cmd.Aggregate]++
	c.groups[cmd.Token] = true
	if len(cmd.Fields) == 0 {
		c.bare++
	}
	var err error
	if p := problem.Join(c.schema.CheckEvent(cmd.Event, cmd.Fields)); p != nil {
		err = p
	}
	answered(importer.Answer{}, err)
}

func (c *checker) RecordRows(context.Context, importer.RowsDone) error { return nil }

func (c *checker) RowsDone(context.Context, string, string) (string, error) { return "", nil }

// everyGroup stands for a token of each group.
func everyGroup() map[string]string {
	tokens := map[string]string{"?": "token of ?"}
	for g := 'A'; g <= 'Z'; g++ {
		tokens[string(g)] = "token of " + string(g)
	}
	return tokens
}

func TestEveryRowFitsTheSchema(t *testing.T) {
	c := &checker{schema: readSchema(t), events: map[event.AggregateID]int{}, groups: map[string]bool{}}
	text, err := os.ReadFile("mapping.yaml")
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := importer.ParseMapping(text)
	if err != nil {
		t.Fatal(err)
	}
	file, err := importer.OpenFile(t.Context(), "sepsis.csv", importer.CSV, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := mapping.Check(file.Header, c.schema.Definition); err != nil {
		t.Fatal(err)
	}
	got, err := importer.Run(t.Context(), importer.Config{
		Server: c, File: file, Mapping: mapping, Aggregate: "patient", Tokens: everyGroup(),
		Rejected: func(r importer.Reject) error { t.Errorf("line %d: %s %q", r.Line, r.Reason, r.Checks); return nil },
	})
	if err != nil || got.Stored != 15214 || len(c.events) != 1050 || len(c.groups) != 26 || c.bare == 0 {
		t.Errorf("got %+v, %v, %d patients, %d groups, %d events without a field; want 15214 stored, 1050 patients, 26 groups, some",
			got, err, len(c.events), len(c.groups), c.bare)
	}
}

func readSchema(t *testing.T) *schema.Schema {
	t.Helper()
	text, err := os.ReadFile("schema.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	if text, err = json.Marshal(tree); err != nil {
		t.Fatal(err)
	}
	definitions, err := schema.Parse(text)
	if err != nil || len(definitions) != 1 {
		t.Fatalf("schema.yaml: got %d definitions, %v", len(definitions), err)
	}
	s, err := schema.Compile(definitions[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
