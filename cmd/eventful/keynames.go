package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// keyNames are the names of auth keys by their public ids, as far as whoever asks may see them.
type keyNames map[string]string

// keyNames asks for them where a table shows them; none where they may not be seen.
func (a *app) keyNames(cmd *cobra.Command, c *client.Client) keyNames {
	if a.form != "table" {
		return keyNames{}
	}
	return allKeyNames(cmd, c)
}

func allKeyNames(cmd *cobra.Command, c *client.Client) keyNames {
	names := keyNames{}
	for f := (client.TokenFilter{Take: 1000}); ; {
		page, err := c.KeyList(cmd.Context(), f)
		if err != nil {
			return names
		}
		for _, k := range page.Keys {
			names[k.ID] = k.Name
		}
		if f.Cursor = page.Cursor; f.Cursor == "" {
			return names
		}
	}
}

// of is the name of a key, or the beginning of its id.
func (n keyNames) of(id string) string {
	if name := n[id]; name != "" {
		return name
	}
	return clipIDs(id)
}

// in puts names in the place of the ids that a text holds, and the beginning of each id that has none.
func (n keyNames) in(text string) string {
	for id, name := range n {
		text = strings.ReplaceAll(text, id, name)
	}
	return clipIDs(text)
}

// keyActor stands before the id of an auth key where it is an actor.
const keyActor = "auth-key:"

// actor is an actor as the log has it, of one as it is shown: with the name of an auth key in the place of its id.
func (n keyNames) actor(shown string) (string, error) {
	name, isKey := strings.CutPrefix(shown, keyActor)
	if !isKey || n[name] != "" || len(n) == 0 {
		return shown, nil
	}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(n)) {
		if n[id] == name {
			ids = append(ids, keyActor+id)
		}
	}
	switch {
	case len(ids) == 1:
		return ids[0], nil
	case len(ids) > 1: // all but one are revoked
		return "", usageError("give one of them by its id", "%d auth keys have the name %.80q: %s", len(ids), name, strings.Join(ids, ", "))
	case strings.HasSuffix(name, "…") || clipIDs(name) != name:
		return shown, nil
	}
	return "", problem.New(problem.NotFound, "no auth key has the name %.80q", name).WithHint("`eventful token:list --kek` lists names and ids")
}

// longID is a public key, an id of a token, or a hash.
var longID = regexp.MustCompile(`\b([A-Z2-7]{12})[A-Z2-7]{40,44}\b|\b([0-9a-f]{12})[0-9a-f]{52}\b`)

// clipIDs leaves the beginnings of long ids.
func clipIDs(text string) string { return longID.ReplaceAllString(text, "$1$2…") }
