package opensearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"

	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// indexSettings are those that the options give.
type indexSettings struct {
	shards, replicas int
	refresh          string // a Go duration
}

// keepDeletes is how long OpenSearch remembers the version of a deleted document, so that a late change does not bring it back. It costs the node some
// 100 bytes of memory a deletion.
const keepDeletes = "24h"

// totalFields is above mapping.MaxFields with the objects around nested ones.
const totalFields = 4 * mapping.MaxFields

// owner is what stands in `_meta` of an index, under the key "eventful".
type owner struct {
	Format     int    `json:"format"`
	Site       string `json:"site"`
	Plugin     string `json:"plugin"`
	Generation uint64 `json:"generation"`
}

func (n names) owner() owner { return owner{formatVersion, n.site, n.plugin, n.generation} }

// object is JSON under way.
type object = map[string]any

// mappings are the fields of documents, as OpenSearch wants them.
func (t *target) mappings() object {
	properties := object{}
	for _, c := range t.mapping.Columns() {
		properties[c.Name] = property(c.Type)
	}
	return object{"dynamic": "strict", "_meta": object{"eventful": t.names.owner()}, "properties": properties}
}

func property(t mapping.Type) object {
	switch t {
	case mapping.Text:
		return object{"type": "text"}
	case mapping.Integer:
		return object{"type": "long"}
	case mapping.Decimal:
		return object{"type": "double"}
	case mapping.Boolean:
		return object{"type": "boolean"}
	case mapping.Date:
		return object{"type": "date", "format": "strict_date_optional_time"}
	}
	return object{"type": "keyword", "ignore_above": 8191} // four bytes each: what Lucene takes at most; longer ones are kept, not found
}

// prepare puts the index template in place, brings the indices that there are up to it, and makes those that are known to be needed.
func (t *target) prepare(ctx context.Context) error {
	if err := t.putTemplate(ctx, t.names.template(), t.names.template()+".*", 500); err != nil {
		return err
	}
	have, err := t.indices(ctx)
	if err != nil {
		return err
	}
	for name := range have {
		if generation, to, ok := t.names.parse(name); ok && generation == t.names.generation && !strings.HasPrefix(to, testTarget) {
			if err := t.upgrade(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, one := range t.known() {
		if _, err := t.writeAlias(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// putTemplate puts an index template in place, for the indices of a pattern.
func (t *target) putTemplate(ctx context.Context, name, pattern string, priority int) error {
	template := object{
		"index_patterns": []string{pattern}, "priority": priority, "_meta": object{"eventful": t.names.owner()},
		"template": object{"mappings": t.mappings(), "settings": object{
			"number_of_shards": t.settings.shards, "number_of_replicas": t.settings.replicas, "refresh_interval": t.settings.refresh,
			"gc_deletes": keepDeletes, "mapping.total_fields.limit": totalFields,
		}},
	}
	_, err := t.admin(ctx, opensearchapi.IndicesPutIndexTemplateRequest{Name: name, Body: encoded(template)}, "put the index template")
	return err
}

// known are the targets that can be told before a change comes: not those with a date in their name.
func (t *target) known() (out []string) {
	to := t.mapping.Target
	if to.Holds("year") || to.Holds("month") || to.Holds("day") || to.Holds("log") || to.Holds("site") {
		return nil
	}
	for _, one := range t.mapping.Types {
		out = append(out, to.With(map[string]string{"type": one}))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// upgrade adds fields to an index that is there. It fails if one has another type now.
func (t *target) upgrade(ctx context.Context, index string) error {
	if err := t.own(ctx, index); err != nil {
		return err
	}
	_, err := t.admin(ctx, opensearchapi.IndicesPutMappingRequest{Index: []string{index}, Body: encoded(t.mappings())}, "add fields to the index "+index)
	var refused *statusError
	if errors.As(err, &refused) && refused.status == http.StatusBadRequest {
		return fmt.Errorf("%w; a field that has another type now wants a new index: eventful plugin:replay %s --rebuild", err, t.names.plugin)
	}
	return err
}

// own says why an index is not this plugin's, or nil.
func (t *target) own(ctx context.Context, index string) error {
	answer, err := t.admin(ctx, opensearchapi.IndicesGetMappingRequest{Index: []string{index}}, "look at the index "+index)
	if err != nil {
		return err
	}
	var said map[string]struct {
		Mappings struct {
			Meta struct {
				Eventful owner `json:"eventful"`
			} `json:"_meta"`
		} `json:"mappings"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return fmt.Errorf("look at the index %s: %w", index, err)
	}
	switch got := said[index].Mappings.Meta.Eventful; {
	case got.Format > formatVersion:
		return fmt.Errorf("the index %s has format %d, known here is %d: update this program", index, got.Format, formatVersion)
	case got != t.names.owner():
		return fmt.Errorf("the index %s belongs to site %q, plugin %q; give this plugin another name", index, got.Site, got.Plugin)
	}
	return nil
}

// writeAlias gives the alias under which documents of a target are written. It makes the index if this plugin has not seen it yet.
func (t *target) writeAlias(ctx context.Context, to string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if alias, ok := t.ready[to]; ok {
		return alias, nil
	}
	index := t.names.index(to)
	alias := index + writeSuffix
	_, err := t.admin(ctx, opensearchapi.IndicesCreateRequest{Index: index, Body: encoded(object{"aliases": object{alias: object{}}})}, "create the index "+index)
	var refused *statusError
	switch {
	case errors.As(err, &refused) && refused.Type == "resource_already_exists_exception":
		err = t.own(ctx, index)
	case err == nil:
		t.log.Info().Str("index", index).Msg("index created")
	}
	if err != nil {
		return "", err
	}
	if err := t.show(ctx); err != nil {
		return "", err
	}
	t.ready[to] = alias
	return alias, nil
}

func encoded(o object) *bytes.Reader {
	b, err := json.Marshal(o)
	if err != nil { // of texts and numbers there is none
		return bytes.NewReader(nil)
	}
	return bytes.NewReader(b)
}
