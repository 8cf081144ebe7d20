package opensearch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"
)

// indices gives the indices of this plugin, of every generation, with their aliases.
func (t *target) indices(ctx context.Context) (map[string][]string, error) {
	return t.aliases(ctx, opensearchapi.IndicesGetAliasRequest{Index: []string{t.names.all()}}, "list the indices of this plugin")
}

func (t *target) aliases(ctx context.Context, r opensearchapi.IndicesGetAliasRequest, what string) (map[string][]string, error) {
	answer, err := t.admin(ctx, r, what)
	var failed *statusError
	if errors.As(err, &failed) && failed.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var said map[string]struct {
		Aliases map[string]json.RawMessage `json:"aliases"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	out := map[string][]string{}
	for index, one := range said {
		out[index] = slices.Sorted(maps.Keys(one.Aliases))
	}
	return out, nil
}

// show gives the indices of this generation the aliases that readers use, unless readers use another generation. Whoever makes an index looks behind that
// whether this generation was published, and who publishes looks again for new indices behind that: so no index stays without.
func (t *target) show(ctx context.Context) error {
	have, err := t.indices(ctx)
	if err != nil {
		return err
	}
	var actions []object
	for index, aliases := range have {
		generation, to, ok := t.names.parse(index)
		switch {
		case !ok || !shown(to):
		case generation != t.names.generation && slices.Contains(aliases, to):
			return nil // readers use that one
		case generation == t.names.generation && !slices.Contains(aliases, to):
			actions = append(actions, add(index, to))
		}
	}
	return t.change(ctx, actions)
}

func add(index, alias string) object {
	return object{"add": object{"index": index, "alias": alias}}
}

// change does what is to be done to aliases in one step, or nothing of it.
func (t *target) change(ctx context.Context, actions []object) error {
	if len(actions) == 0 {
		return nil
	}
	for _, action := range actions {
		if added, ok := action["add"].(object); ok {
			if err := t.free(ctx, added["alias"].(string)); err != nil {
				return err
			}
		}
	}
	_, err := t.admin(ctx, opensearchapi.IndicesUpdateAliasesRequest{Body: encoded(object{"actions": actions})}, "give the indices their aliases")
	return err
}

// free says why an alias cannot be this plugin's, or nil.
func (t *target) free(ctx context.Context, alias string) error {
	held, err := t.aliases(ctx, opensearchapi.IndicesGetAliasRequest{Index: []string{alias}}, "look who has the alias "+alias)
	if err != nil {
		return err
	}
	for index := range held {
		if _, _, ours := t.names.parse(index); !ours {
			return fmt.Errorf("the alias %s cannot be had: the index %s has the name, and is not this plugin's; give the mapping another target", alias, index)
		}
	}
	return nil
}

// rounds is how often Publish looks for indices that were made meanwhile.
const rounds = 10

// Publish implements plugin.Rebuilder. In one step the aliases move to the indices of this generation, and the older ones take no more writes; the older indices
// go when the searches in them have ended. A crash in between leaves indices that nobody reads, which the next Publish removes.
func (t *target) Publish(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.admin(ctx, opensearchapi.IndicesRefreshRequest{Index: []string{t.names.template() + ".*"}}, "refresh the new indices"); err != nil {
		return err
	}
	for range rounds {
		have, err := t.indices(ctx)
		if err != nil {
			return err
		}
		actions, older := t.move(have)
		if len(actions) == 0 {
			return t.drop(ctx, older)
		}
		if err := t.change(ctx, actions); err != nil {
			return err
		}
		t.log.Info().Uint64("generation", t.names.generation).Msg("aliases moved to the new indices")
	}
	return errors.New("publish: indices of an older generation come again and again; does another program write them?")
}

// move is what is still to be done until readers have this generation, and which indices are older.
func (t *target) move(have map[string][]string) (actions []object, older []string) {
	for _, index := range slices.Sorted(maps.Keys(have)) {
		generation, to, ok := t.names.parse(index)
		switch {
		case !ok || generation > t.names.generation:
		case generation < t.names.generation:
			older = append(older, index)
			for _, alias := range have[index] {
				actions = append(actions, object{"remove": object{"index": index, "alias": alias}})
			}
		case shown(to) && !slices.Contains(have[index], to):
			actions = append(actions, add(index, to))
		}
	}
	return actions, older
}

// Searches that began before the aliases moved are waited for.
const (
	graceStep = 500 * time.Millisecond // also the shortest wait: a search that found its index may not have begun in it
	graceLast = 30 * time.Second       // the longest
)

// drop removes indices and index templates of older generations.
func (t *target) drop(ctx context.Context, older []string) error {
	if len(older) > 0 {
		if err := t.awaitSearches(ctx, older); err != nil {
			return err
		}
		if _, err := t.admin(ctx, opensearchapi.IndicesDeleteRequest{Index: older}, "remove the older indices"); err != nil {
			return err
		}
	}
	return t.dropTemplates(ctx)
}

func (t *target) awaitSearches(ctx context.Context, indices []string) error {
	tick := time.NewTicker(graceStep)
	defer tick.Stop()
	for quiet, waited := 0, time.Duration(0); quiet < 2 && waited < graceLast; waited += graceStep {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		answer, err := t.admin(ctx, opensearchapi.IndicesStatsRequest{Index: indices, Metric: []string{"search"}}, "look for searches in the older indices")
		if err != nil {
			return err
		}
		var said struct {
			All struct {
				Total struct {
					Search struct {
						Open  int `json:"open_contexts"`
						Query int `json:"query_current"`
						Fetch int `json:"fetch_current"`
					} `json:"search"`
				} `json:"total"`
			} `json:"_all"`
		}
		if err := json.Unmarshal(answer, &said); err != nil {
			return fmt.Errorf("look for searches in the older indices: %w", err)
		}
		if quiet++; said.All.Total.Search.Open+said.All.Total.Search.Query+said.All.Total.Search.Fetch > 0 {
			quiet = 0
		}
	}
	return nil
}

// dropTemplates removes the index templates of older generations.
func (t *target) dropTemplates(ctx context.Context) error {
	answer, err := t.admin(ctx, opensearchapi.IndicesGetIndexTemplateRequest{Name: []string{t.names.all()}}, "list the index templates of this plugin")
	if err != nil {
		return err
	}
	var said struct {
		Templates []struct {
			Name string `json:"name"`
		} `json:"index_templates"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return fmt.Errorf("list the index templates of this plugin: %w", err)
	}
	for _, one := range said.Templates {
		if generation, _, ok := t.names.parse(one.Name); !ok || generation >= t.names.generation {
			continue
		}
		if _, err := t.admin(ctx, opensearchapi.IndicesDeleteIndexTemplateRequest{Name: one.Name}, "remove the index template "+one.Name); err != nil {
			return err
		}
	}
	return nil
}
