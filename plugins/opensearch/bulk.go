package opensearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// maxBulk is the size of a _bulk request in bytes, unless one document is larger.
const maxBulk = 5 << 20

// actionLine is about the size of an action line without its texts, in bytes.
const actionLine = 96

// cellMarks is what stands around a name and a value.
const cellMarks = 6

// send brings the documents to OpenSearch and writes down what became of each.
func (t *target) send(ctx context.Context, ops []op, outcomes []plugin.Outcome) {
	for len(ops) > 0 {
		n, body := encode(ops)
		t.bulk(ctx, ops[:n], body, outcomes)
		ops = ops[n:]
	}
}

// encode writes the first documents as a _bulk request, as many as fit into maxBulk, at least one.
func encode(ops []op) (n int, body []byte) {
	size := 0
	for i := range ops {
		size += ops[i].size()
	}
	body = make([]byte, 0, min(size, maxBulk))
	for n < len(ops) {
		before := len(body)
		body = ops[n].append(body)
		if len(body) > maxBulk && n > 0 {
			return n, body[:before]
		}
		n++
	}
	return n, body
}

// append writes the action line, and the document behind it.
func (o *op) append(b []byte) []byte {
	b = append(append(b, `{"`...), o.action()...)
	b = mapping.AppendString(append(b, `":{"_index":`...), o.alias)
	b = mapping.AppendString(append(b, `,"_id":`...), o.effect.Key)
	b = strconv.AppendUint(append(b, `,"version":`...), o.version, 10)
	b = append(append(append(b, `,"version_type":"`...), o.versioning()...), "\"}}\n"...)
	if o.removes() {
		return b
	}
	if o.body == nil {
		b = appendDocument(b, &o.effect)
	}
	b = append(b, o.body...)
	return append(b, '\n')
}

// size is about what append writes, in bytes.
func (o *op) size() int {
	n := actionLine + len(o.alias) + len(o.effect.Key) + len(o.body)
	for i := range o.effect.Set {
		n += len(o.effect.Set[i].Name) + len(o.effect.Set[i].Value.Text) + cellMarks
	}
	return n
}

func (o *op) removes() bool { return o.effect.Action == mapping.Remove }

// versioning says which versions OpenSearch refuses: all that are not higher than the one it has, or all lower ones.
func (o *op) versioning() string {
	if o.same {
		return "external_gte"
	}
	return "external"
}

func (o *op) action() string {
	if o.removes() {
		return "delete"
	}
	return "index"
}

// bulk makes one _bulk request. If it is refused as a whole for what is in it, its halves are tried, down to the document that is to blame.
func (t *target) bulk(ctx context.Context, ops []op, body []byte, outcomes []plugin.Outcome) {
	aliases := true
	answer, err := t.ask(ctx, opensearchapi.BulkRequest{
		Body: bytes.NewReader(body), RequireAlias: &aliases,
		FilterPath: []string{"items.*._id", "items.*.status", "items.*.error.type", "items.*.error.reason"},
	})
	var refused *statusError
	switch {
	case err == nil:
		account(ops, answer, outcomes)
	case errors.As(err, &refused) && (refused.status == http.StatusBadRequest || refused.status == http.StatusRequestEntityTooLarge):
		t.halve(ctx, ops, err, outcomes)
	default:
		for _, o := range ops {
			outcomes[o.at] = again(err)
		}
	}
}

func (t *target) halve(ctx context.Context, ops []op, err error, outcomes []plugin.Outcome) {
	if len(ops) == 1 {
		outcomes[ops[0].at] = plugin.Park(err)
		return
	}
	for _, half := range [][]op{ops[:len(ops)/2], ops[len(ops)/2:]} {
		var body []byte
		for i := range half {
			body = half[i].append(body)
		}
		t.bulk(ctx, half, body, outcomes)
	}
}

// item is what OpenSearch says of one document.
type item struct {
	ID     string `json:"_id"`
	Status int    `json:"status"`
	Error  cause  `json:"error"`
}

// errGarbage: nobody knows what became of the documents. With their versions they may be written again.
var errGarbage = errors.New("the answer of OpenSearch to _bulk is not one to this request")

// account holds the answer against the request, document by document.
func account(ops []op, answer []byte, outcomes []plugin.Outcome) {
	if allTaken(ops, answer) {
		for i := range ops {
			outcomes[ops[i].at] = plugin.Done()
		}
		return
	}
	var said struct {
		Items []struct {
			Index  *item `json:"index"`
			Delete *item `json:"delete"`
		} `json:"items"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		said.Items = nil
	}
	for i := range ops {
		o := &ops[i]
		if len(said.Items) != len(ops) {
			outcomes[o.at] = plugin.Retry(fmt.Errorf("%w: %d documents were sent, it is about %d", errGarbage, len(ops), len(said.Items)))
			continue
		}
		got := said.Items[i].Index
		if o.removes() {
			got = said.Items[i].Delete
		}
		if got == nil || got.ID != o.effect.Key || got.Status < 200 || got.Status > 599 {
			outcomes[o.at] = plugin.Retry(errGarbage)
			continue
		}
		if o.same && got.Status == http.StatusConflict {
			outcomes[o.at] = plugin.Retry(errors.New("the document changed while fields were taken out of it"))
			continue
		}
		outcomes[o.at] = itemOutcome(got.Status, o.removes(), got.Error)
	}
}

// allTaken reports whether the answer says of each document, in the order of the request, that it was written or removed: what nearly every answer says, and told
// without decoding it.
func allTaken(ops []op, answer []byte) bool {
	const begin, end, itemEnd = `{"items":[`, `]}`, `}}`
	rest, want := answer, []byte(begin)
	for i := range ops {
		want = append(append(append(want, `{"`...), ops[i].action()...), `":{"_id":`...)
		want = append(mapping.AppendString(want, ops[i].effect.Key), `,"status":20`...) // 200 or 201
		if !bytes.HasPrefix(rest, want) {
			return false
		}
		rest = rest[len(want):]
		if len(rest) <= len(itemEnd) || rest[0] != '0' && rest[0] != '1' || string(rest[1:1+len(itemEnd)]) != itemEnd {
			return false
		}
		rest, want = rest[1+len(itemEnd):], append(want[:0], ',')
	}
	return string(rest) == end
}
