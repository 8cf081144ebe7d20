package opensearch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	client "github.com/opensearch-project/opensearch-go/v2"
	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

// BenchmarkBesidePlainBulk feeds the same documents to the same node by the plugin and by a loader that encodes and posts _bulk requests and looks at
// nothing but `errors`, in turns of 5,000 documents, 500 a request, 4 at a time. Both write by external version.
func BenchmarkBesidePlainBulk(b *testing.B) {
	address := shared(b)
	p := open(b, settings(b, address))
	c, err := client.NewClient(client.Config{Addresses: []string{address}})
	if err != nil {
		b.Fatal(err)
	}
	must(b, http.MethodPut, address+"/ev-plain", `{"settings": {"number_of_replicas": 0, "refresh_interval": "1s"}, "mappings": {"dynamic": "strict", "properties": {
		"name": {"type": "keyword"}, "status": {"type": "keyword"}, "ward": {"type": "keyword"}}}}`)
	const turn, batch, parallel = 5000, 500, 4
	var took [2]time.Duration
	n := 0
	for b.Loop() {
		var batches [][]plugin.Change
		for range turn / batch {
			var changes []plugin.Change
			for range batch {
				n++
				changes = append(changes, plugintest.Change(fmt.Sprintf("doc-%08d", n), 1, "name", fmt.Sprint("order placed by customer ", n%977), "status", "open", "ward", fmt.Sprint(n%31)))
			}
			batches = append(batches, changes)
		}
		for i := range 2 { // who begins changes from turn to turn
			if who := (i + n/turn) % 2; who == 0 {
				took[0] += parallelly(parallel, batches, func(changes []plugin.Change) { done(b, p, changes...) })
			} else {
				took[1] += parallelly(parallel, batches, func(changes []plugin.Change) { plain(b, c, changes) })
			}
		}
	}
	b.ReportMetric(float64(n)/took[0].Seconds(), "plugin-docs/s")
	b.ReportMetric(float64(n)/took[1].Seconds(), "plain-docs/s")
	b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "ratio")
}

func parallelly(n int, batches [][]plugin.Change, do func([]plugin.Change)) time.Duration {
	began := time.Now()
	work := make(chan []plugin.Change, len(batches))
	for _, one := range batches {
		work <- one
	}
	close(work)
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for one := range work {
				do(one)
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

func plain(b *testing.B, c *client.Client, changes []plugin.Change) {
	var body bytes.Buffer
	for i := range changes {
		doc := map[string]string{}
		for _, f := range changes[i].Fields {
			doc[f.Name] = f.Value
		}
		line, err := json.Marshal(doc)
		if err != nil {
			b.Error(err)
		}
		fmt.Fprintf(&body, `{"index":{"_index":"ev-plain","_id":%q,"version":%d,"version_type":"external"}}`+"\n%s\n", changes[i].Aggregate.ID, changes[i].Version, line)
	}
	res, err := opensearchapi.BulkRequest{Body: &body}.Do(context.Background(), c)
	if err != nil {
		b.Error(err)
		return
	}
	var said struct{ Errors bool }
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil || said.Errors || res.StatusCode != http.StatusOK {
		b.Errorf("plain bulk: %d %v", res.StatusCode, err)
	}
}
