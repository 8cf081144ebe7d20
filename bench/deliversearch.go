package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/eventfuldb/eventful/internal/opensearchnode"
)

const (
	plainLoader = "plain _bulk loader"
	tunedLoader = "the same, which asks for nothing but whether all was taken, not packed"
)

// loader is how a loader asks for its answers: as the usual clients do, or for as little as there is.
type loader struct {
	name string
	path string
	http *http.Client
}

// searchTurns is how many turns count at most. One more is played first: a node that has just started is slow.
const searchTurns = 3

// toOpenSearch measures the plugin beside a loader that feeds the same documents to the same node, in turns into an index of its own each: long ones, in which the node merges what it
// wrote. Where there is no OpenSearch it says so.
func toOpenSearch(ctx context.Context, s *stage) (err error) {
	installed, missing := opensearchnode.Find()
	if missing != "" {
		fmt.Fprintln(s.progress, "  left out:", missing)
		return nil
	}
	one, b, err := s.delivering(ctx, 5*s.delivered)
	if err != nil {
		return err
	}
	node := search{Node: opensearchnode.Node{Dir: installed, Home: filepath.Join(s.dir, "opensearch")}}
	if err := errors.Join(os.MkdirAll(node.Home, 0o700), node.Start()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Stop(), os.RemoveAll(node.Home)) }()
	loaders := []loader{
		{plainLoader, "_bulk", &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}},
		{tunedLoader, "_bulk?filter_path=errors", &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}},
	}
	var rates []float64
	loaded := make([][]float64, len(loaders))
	for turn := range 1 + min(s.rounds, searchTurns) {
		like := fmt.Sprint("documents", turn)
		rate, err := node.byPlugin(ctx, one, like, b.stored())
		if err != nil {
			return err
		}
		plain := make([]float64, len(loaders))
		for i, l := range loaders {
			if plain[i], err = node.byLoader(ctx, l, like, b); err != nil {
				return err
			}
		}
		if turn == 0 {
			continue
		}
		rates = append(rates, rate)
		for i := range loaders {
			loaded[i] = append(loaded[i], plain[i])
		}
	}
	s.beside("opensearch plugin", median(rates), "events/s", plainLoader, median(loaded[0]), atLeast(0.8))
	s.beside("opensearch plugin", median(rates), "events/s", tunedLoader, median(loaded[1]), nil)
	return nil
}

// byLoader has a loader fill an index of its own, which is like the one that the plugin filled, and removes it.
func (n *search) byLoader(ctx context.Context, l loader, like string, b *books) (rate float64, err error) {
	index := "plain-" + like
	if err := n.create(ctx, like, index); err != nil {
		return 0, err
	}
	document, err := n.sample(ctx, like)
	if err != nil {
		return 0, err
	}
	if rate, err = beside(ctx, n.written(index), b.stored(), func() error { return n.load(ctx, loading{l, index, document, b}) }); err != nil {
		return 0, err
	}
	_, err = n.ask(ctx, request{http.MethodDelete, index, nil}, nil)
	return rate, err
}

// sample is a document as the plugin wrote it: all are the same here.
func (n *search) sample(ctx context.Context, index string) (map[string]any, error) {
	var said struct {
		Hits struct {
			Hits []struct {
				Source map[string]any `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	_, err := n.ask(ctx, request{http.MethodGet, index + "/_search?size=1", nil}, &said)
	if err == nil && (len(said.Hits.Hits) == 0 || len(said.Hits.Hits[0].Source) == 0) {
		err = fmt.Errorf("the index %s has no document", index)
	}
	if err != nil {
		return nil, err
	}
	return said.Hits.Hits[0].Source, nil
}

// search is an OpenSearch node.
type search struct{ opensearchnode.Node }

// byPlugin has a new plugin fill an index, and removes it.
func (n *search) byPlugin(ctx context.Context, one *site, index string, events uint64) (rate float64, err error) {
	file := filepath.Join(filepath.Dir(one.dir), "documents.yaml")
	if err := os.WriteFile(file, []byte("types: "+aggregateType+"\ntarget: "+index+"\n"), 0o600); err != nil {
		return 0, fmt.Errorf("write the mapping: %w", err)
	}
	if err := one.plugin(ctx, index, "--type=opensearch", "--url=http://"+n.Addr, "--replicas=0", "--mapping="+file); err != nil {
		return 0, err
	}
	if rate, err = n.written(index).rate(ctx, events); err != nil {
		return 0, err
	}
	_, err = one.run(ctx, "plugin:remove", index, "--disable")
	return rate, err
}

// written are the documents that come to an index.
func (n *search) written(index string) arrivals {
	return asking(func(ctx context.Context) (uint64, error) { return n.indexed(ctx, index) })
}

// indexed is how many documents were written to an index or alias; none while it is not there.
func (n *search) indexed(ctx context.Context, index string) (uint64, error) {
	var said struct {
		All struct {
			Total struct {
				Indexing struct {
					Total uint64 `json:"index_total"`
				} `json:"indexing"`
			} `json:"total"`
		} `json:"_all"`
	}
	status, err := n.ask(ctx, request{http.MethodGet, index + "/_stats/indexing", nil}, &said)
	if status == http.StatusNotFound {
		return 0, nil
	}
	return said.All.Total.Indexing.Total, err
}

// loading is one run of a loader.
type loading struct {
	loader
	index    string
	document map[string]any
	books    *books
}

// load feeds the documents of the books to an index, each encoded from its fields: 500 in a request, 4 requests at a time, each of aggregates of its own, versions in order.
func (n *search) load(ctx context.Context, l loading) (err error) {
	const parallel = 4
	failed := make(chan error, parallel)
	for i := range parallel {
		go func() { failed <- n.loadPart(ctx, l, part{i, parallel}) }()
	}
	for range parallel {
		err = errors.Join(err, <-failed)
	}
	return err
}

// part is every of-th aggregate, from at on.
type part struct{ at, of int }

func (n *search) loadPart(ctx context.Context, l loading, p part) error {
	const batch = 500
	var body bytes.Buffer
	documents, waiting := json.NewEncoder(&body), 0
	for version := uint64(1); version <= l.books.versions[0]; version++ {
		for at := p.at; at < len(l.books.versions); at += p.of {
			fmt.Fprintf(&body, `{"index":{"_index":%q,"_id":%q,"version":%d,"version_type":"external"}}`+"\n", l.index, l.books.id(at), version)
			if err := documents.Encode(l.document); err != nil {
				return fmt.Errorf("encode a document: %w", err)
			}
			if waiting++; waiting < batch {
				continue
			}
			if err := n.bulk(ctx, l.loader, &body); err != nil {
				return err
			}
			waiting = 0
		}
	}
	if waiting == 0 {
		return nil
	}
	return n.bulk(ctx, l.loader, &body)
}

// bulk posts what gathered, and looks whether all of it was taken.
func (n *search) bulk(ctx context.Context, l loader, body *bytes.Buffer) error {
	var said struct{ Errors *bool }
	status, err := n.askBy(ctx, l.http, request{http.MethodPost, l.path, body.Bytes()}, &said)
	body.Reset()
	if err == nil && (status != http.StatusOK || said.Errors == nil || *said.Errors) {
		err = errors.New("documents were refused")
	}
	return err
}

// create makes an index with the fields and settings of another one.
func (n *search) create(ctx context.Context, like, index string) error {
	var mappings map[string]struct {
		Mappings struct {
			Properties json.RawMessage `json:"properties"`
		} `json:"mappings"`
	}
	if _, err := n.ask(ctx, request{http.MethodGet, like + "/_mapping", nil}, &mappings); err != nil {
		return err
	}
	for _, one := range mappings {
		text := fmt.Sprintf(`{"settings":{"number_of_shards":1,"number_of_replicas":0,"refresh_interval":"1s","gc_deletes":"24h"},"mappings":{"dynamic":"strict","properties":%s}}`, one.Mappings.Properties)
		_, err := n.ask(ctx, request{http.MethodPut, index, []byte(text)}, nil)
		return err
	}
	return fmt.Errorf("there is no index %s", like)
}

// request is one to OpenSearch.
type request struct {
	method, path string
	body         []byte
}

// ask sends a request, and reads the answer if it is wanted. A status from 400 on is an error.
func (n *search) ask(ctx context.Context, r request, into any) (status int, err error) {
	return n.askBy(ctx, http.DefaultClient, r, into)
}

func (n *search) askBy(ctx context.Context, c *http.Client, r request, into any) (status int, err error) {
	q, err := http.NewRequestWithContext(ctx, r.method, "http://"+n.Addr+"/"+r.path, bytes.NewReader(r.body))
	if err != nil {
		return 0, fmt.Errorf("ask OpenSearch: %w", err)
	}
	q.Header.Set("Content-Type", "application/json")
	answer, err := c.Do(q)
	if err != nil {
		return 0, fmt.Errorf("ask OpenSearch: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = errors.New(strings.TrimSpace(string(text[:min(len(text), 300)])))
	}
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		err = fmt.Errorf("%s %s of OpenSearch: %w", r.method, r.path, err)
	}
	return answer.StatusCode, err
}
