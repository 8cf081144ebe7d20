package opensearch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// maxRead is how many documents one _mget asks for.
const maxRead = 500

// complete writes the documents. Those that keep something of what stands in OpenSearch are read first. What stands there is behind the change by
// the changes that have no effect on the document only: of one aggregate one change is under way, and none passes another (check).
func (t *target) complete(ctx context.Context, ops []op, outcomes []plugin.Outcome) []op {
	kept, partial := ops[:0], []op(nil)
	for i := range ops {
		if o := &ops[i]; o.removes() || o.effect.Action == mapping.Write && (o.effect.Whole || o.version == 1) {
			kept = append(kept, *o)
		} else {
			partial = append(partial, *o)
		}
	}
	for len(partial) > 0 {
		n := min(len(partial), maxRead)
		kept = append(kept, t.merge(ctx, partial[:n], outcomes)...)
		partial = partial[n:]
	}
	return kept
}

// merge reads the documents and puts the new values into them. One that stands there with this version, or a higher one, is done.
func (t *target) merge(ctx context.Context, ops []op, outcomes []plugin.Outcome) (kept []op) {
	stored, err := t.read(ctx, ops)
	for i, o := range ops {
		switch {
		case err != nil:
			outcomes[o.at] = again(err)
		case stored[i].Error.Type != "":
			outcomes[o.at] = plugin.Retry(stored[i].failed())
		case o.effect.Action == mapping.Forget && !stored[i].holds(o.effect.Unset):
			outcomes[o.at] = plugin.Done()
		case o.effect.Action == mapping.Forget: // no version says it: what stands there is written again without these fields
			o.version, o.same, o.body = stored[i].Version, true, document(stored[i].Source, &o.effect)
			kept = append(kept, o)
		case stored[i].Found && stored[i].Version >= o.version:
			outcomes[o.at] = plugin.Done()
		default:
			o.body = document(stored[i].Source, &o.effect)
			kept = append(kept, o)
		}
	}
	return kept
}

// stored is a document as it stands in OpenSearch.
type stored struct {
	ID      string                     `json:"_id"`
	Found   bool                       `json:"found"`
	Version uint64                     `json:"_version"`
	Source  map[string]json.RawMessage `json:"_source"`
	Error   cause                      `json:"error"`
}

// holds reports whether the document has one of the fields.
func (s *stored) holds(fields []string) bool {
	return slices.ContainsFunc(fields, func(name string) bool { _, has := s.Source[name]; return has })
}

func (s *stored) failed() error { return fmt.Errorf("read the document: %s", s.Error.Type) }

// read gives the stored documents, in the order of ops. It sees what was acknowledged, refreshed or not.
func (t *target) read(ctx context.Context, ops []op) ([]stored, error) {
	body := []byte(`{"docs":[`)
	for i := range ops {
		if i > 0 {
			body = append(body, ',')
		}
		body = mapping.AppendString(append(body, `{"_index":`...), ops[i].alias)
		body = mapping.AppendString(append(body, `,"_id":`...), ops[i].effect.Key)
		body = append(body, '}')
	}
	answer, err := t.ask(ctx, opensearchapi.MgetRequest{Body: bytes.NewReader(append(body, "]}"...))})
	if err != nil {
		return nil, fmt.Errorf("read documents: %w", err)
	}
	var said struct {
		Docs []stored `json:"docs"`
	}
	if err := json.Unmarshal(answer, &said); err != nil || len(said.Docs) != len(ops) {
		return nil, fmt.Errorf("read documents: %w", errGarbage)
	}
	for i := range ops {
		if said.Docs[i].ID != ops[i].effect.Key {
			return nil, fmt.Errorf("read documents: %w", errGarbage)
		}
	}
	return said.Docs, nil
}

// document is a document in JSON: what is kept, and the new values.
func document(kept map[string]json.RawMessage, e *mapping.Effect) []byte {
	for _, c := range e.Set {
		delete(kept, c.Name)
	}
	for _, name := range e.Unset {
		delete(kept, name)
	}
	b := append(make([]byte, 0, 512), '{')
	for name, value := range kept {
		b = append(mapping.AppendString(comma(b), name), ':')
		b = append(b, value...)
	}
	return append(appendCells(b, e.Set), '}')
}

// appendDocument writes a document that keeps nothing of what stands in OpenSearch.
func appendDocument(b []byte, e *mapping.Effect) []byte {
	return append(appendCells(append(b, '{'), e.Set), '}')
}

func appendCells(b []byte, cells []mapping.Cell) []byte {
	for i := range cells {
		b = cells[i].Value.AppendJSON(append(mapping.AppendString(comma(b), cells[i].Name), ':'))
	}
	return b
}

// comma separates a member from the one before it, if there is one.
func comma(b []byte) []byte {
	if b[len(b)-1] != '{' {
		return append(b, ',')
	}
	return b
}
