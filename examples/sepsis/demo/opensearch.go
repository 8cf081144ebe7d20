package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/internal/opensearchnode"
)

// search brings the patients into an index of a real OpenSearch node, and compares what a search finds there with the CSV.
func (d *demo) search(ctx context.Context) error {
	dir, why := opensearchnode.Find()
	if why != "" {
		if os.Getenv("REQUIRE_OPENSEARCH") == "1" {
			return fmt.Errorf("REQUIRE_OPENSEARCH=1, and %s", why)
		}
		fmt.Printf("(OpenSearch is left out: %s)\n", why)
		return nil
	}
	home, err := os.MkdirTemp("", "opensearch-")
	if err != nil {
		return fmt.Errorf("start OpenSearch: %w", err)
	}
	node := &opensearchnode.Node{Dir: dir, Home: home}
	defer func() { node.Kill(); _ = os.RemoveAll(home) }() // what is left of a demo lies in the temporary folder
	if err := node.Start(); err != nil {
		return err
	}
	address := "http://" + node.Addr
	fmt.Printf("(an OpenSearch node of this demo listens on %s)\n", address)
	return inOrder(
		func() error {
			return d.show(ctx, "plugin:config", "search", "--file=opensearch.yaml", "--url="+address)
		},
		func() error { return d.show(ctx, "plugin:test", "search") },
		func() error { return d.show(ctx, "plugin:enable", "search") },
		func() error { return d.settled(ctx) },
		func() error { return d.show(ctx, "plugin:list") },
		func() error { return d.find(ctx, address) },
	)
}

// settled waits until the plugin has delivered everything.
func (d *demo) settled(ctx context.Context) error {
	for {
		var p struct {
			State string `json:"state"`
			Lag   uint64 `json:"lag-events"`
			At    []any  `json:"positions"`
		}
		if err := d.ask(ctx, "plugin.json", &p, command{args: []string{"plugin:show", "search"}}); err != nil {
			return err
		}
		if p.Lag == 0 && len(p.At) > 0 {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("the plugin has not delivered everything: %+v", p)
		}
	}
}

// find searches for patients with two SIRS criteria or more.
func (d *demo) find(ctx context.Context, address string) error {
	var want []string
	for id, rows := range d.log.patients {
		known := slices.DeleteFunc(slices.Clone(rows), func(a activity) bool { return a.sirs == "" })
		if len(known) > 0 && known[len(known)-1].sirs == "True" {
			want = append(want, id)
		}
	}
	got, err := searchFor(ctx, address+"/patients/_refresh", address+"/patients/_search?q=sirs:true&size=10000&_source=false")
	if err != nil {
		return err
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("OpenSearch finds %d patients, the CSV has %d", len(got), len(want))
	}
	fmt.Printf("opensearch ok: %d patients matched\n", len(got))
	return nil
}

// searchFor makes the requests and gives the documents that they find.
func searchFor(ctx context.Context, urls ...string) (ids []string, err error) {
	for _, path := range urls {
		fmt.Printf("$ curl '%s'\n", path)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		text, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("search: %s %.200s", res.Status, text)
		}
		var said struct {
			Hits struct {
				Hits []struct {
					ID string `json:"_id"`
				} `json:"hits"`
			} `json:"hits"`
		}
		if err := json.Unmarshal(text, &said); err != nil {
			return nil, fmt.Errorf("search: %w", err)
		}
		for _, hit := range said.Hits.Hits {
			ids = append(ids, hit.ID)
		}
	}
	return ids, nil
}
