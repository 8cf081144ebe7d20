package event_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/eventfuldb/eventful/pkg/event"
)

// exportVector is one entry of export.json. The document is read only where verify.py can read it.
type exportVector struct {
	Name     string          `json:"name"`
	Document json.RawMessage `json:"document"`
	OK       bool            `json:"ok"`
	Exit     int             `json:"exit"`
}

type exportDocument struct {
	Site    string      `json:"site"`
	Log     string      `json:"log"`
	Type    string      `json:"type"`
	ID      string      `json:"id"`
	Version json.Number `json:"version"`
	Root    string      `json:"root"`
	Commits []struct {
		Position string   `json:"position"`
		Commit   string   `json:"commit"`
		Leaves   []string `json:"leaves"`
	} `json:"commits"`
}

// TestExportVectors holds that this package's commits, leaves, trees and positions confirm and refute what verify.py does.
// Exit 2 is about reading the JSON document, which no function of this package does.
func TestExportVectors(t *testing.T) {
	for _, v := range vectors[exportVector](t, "export.json") {
		if v.Exit != 0 && v.Exit != 7 {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			var d exportDocument
			if err := json.Unmarshal(v.Document, &d); err != nil {
				t.Fatal(err)
			}
			accepted(t, v.OK, d.check(t))
		})
	}
}

// check is log.md, section 9.
func (d exportDocument) check(t *testing.T) error {
	t.Helper()
	var tree event.Tree
	var before *event.Commit
	var last event.Position
	for i, x := range d.Commits {
		raw, err := base64.StdEncoding.DecodeString(x.Commit)
		if err != nil {
			t.Fatal(err)
		}
		at, err := event.ParsePosition(x.Position)
		if err != nil {
			t.Fatal(err)
		}
		c, err := event.DecodeCommit(raw)
		if err != nil {
			return err
		}
		switch {
		case uint64(c.First) != tree.Size()+1:
			return fmt.Errorf("commit %d begins with version %d behind %d", i, c.First, tree.Size())
		case c.Site != d.Site || c.Aggregate.Type != d.Type || c.Aggregate.ID != d.ID || at.Log != d.Log:
			return fmt.Errorf("commit %d is of %s %s, %s", i, c.Site, c.Aggregate, at)
		}
		if before != nil {
			if err := follows(before, c, last, at); err != nil {
				return fmt.Errorf("commit %d: %w", i, err)
			}
		}
		leaves := c.Leaves()
		if got, want := fmt.Sprint(hexes(leaves)), fmt.Sprint(x.Leaves); got != want {
			return fmt.Errorf("commit %d has the leaves %s, not %s", i, got, want)
		}
		if tree = tree.Append(leaves...); tree.Root() != c.Root {
			return fmt.Errorf("commit %d has the root %s, not %s", i, tree.Root(), c.Root)
		}
		before, last = c, at
	}
	if d.Version.String() != fmt.Sprint(tree.Size()) || d.Root != tree.Root().String() {
		return fmt.Errorf("the document states version %s and root %s, not %d and %s", d.Version, d.Root, tree.Size(), tree.Root())
	}
	return nil
}

func follows(before, c *event.Commit, last, at event.Position) error {
	switch {
	case before.Branch != c.Branch:
		return fmt.Errorf("branch %d behind %d", c.Branch, before.Branch)
	case at.Sequence < last.Sequence || at.Sequence == last.Sequence && at.Index <= last.Index:
		return fmt.Errorf("position %s is not behind %s", at, last)
	case at.Sequence == last.Sequence && (at.Block != last.Block || before.Time != c.Time):
		return fmt.Errorf("positions %s and %s are of one block and differ in its id or time", last, at)
	}
	return nil
}
