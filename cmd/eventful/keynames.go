package main

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
)

// keyNames are the names of auth keys by their public ids, as far as whoever asks may see them.
type keyNames map[string]string

// keyNames asks for them; none where they may not be seen.
func (a *app) keyNames(cmd *cobra.Command, c *client.Client) keyNames {
	names := keyNames{}
	if a.form != "table" {
		return names
	}
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

// longID is a public key, an id of a token, or a hash.
var longID = regexp.MustCompile(`\b([A-Z2-7]{12})[A-Z2-7]{40,44}\b|\b([0-9a-f]{12})[0-9a-f]{52}\b`)

// clipIDs leaves the beginnings of long ids.
func clipIDs(text string) string { return longID.ReplaceAllString(text, "$1$2…") }
