package main

import (
	"os"
	"strings"
	"testing"

	"github.com/eventfuldb/eventful/pkg/importer"
)

// The YAML of the user pages is taken by the commands that it is for.
func TestYAMLOfTheDocs(t *testing.T) {
	for path, parse := range map[string]func([]byte) error{
		"../../docs/schema.md": func(text []byte) error { _, err := definitionsOf(text); return err },
		"../../docs/using.md":  func(text []byte) error { _, err := importer.ParseMapping(text); return err },
	} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, text, found := strings.Cut(string(page), "```yaml\n")
		text, _, closed := strings.Cut(text, "```")
		if !found || !closed {
			t.Fatalf("%s has no YAML", path)
		}
		if err := parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
