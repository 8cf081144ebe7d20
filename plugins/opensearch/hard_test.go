package opensearch_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/opensearchtest"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
)

// A real node that is killed, away, hung, or allowed no writes: nothing is parked, nothing is said to have arrived that is not there, and with the node
// everything comes.
func TestHardTimes(t *testing.T) {
	address := shared(t)
	node := node.Node
	p := open(t, settings(t, address))
	var batch []plugin.Change
	for i := range 20 {
		batch = append(batch, plugintest.Change(fmt.Sprint("p", i), 1, "name", "first"))
	}
	done(t, p, batch...)

	node.Kill()
	retried(t, p, time.Minute, "refused", batch...)
	begin(t, node)
	for i := range batch {
		want(t, address, batch[i].Aggregate.ID, 1, `{"name":"first"}`)
	}
	done(t, p, batch...) // the same again

	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	newer := plugintest.Change("p0", 2, "name", "second")
	retried(t, p, time.Second, "context deadline exceeded", newer)
	if err := node.Resume(); err != nil {
		t.Fatal(err)
	}
	done(t, p, newer)
	want(t, address, "p0", 2, `{"name":"second"}`)

	index := address + "/eventful.testhardtimes.0.ev-testhardtimes/_settings"
	for name, setting := range map[string]string{"no writes": "index.blocks.write", "a full disk": "index.blocks.read_only_allow_delete"} {
		must(t, http.MethodPut, index, `{"`+setting+`": true}`)
		o := deliver(t, p, plugintest.Change("p1", 2, "name", "second"))
		if o[0].Status != plugin.StatusRetry || !strings.Contains(o[0].Err.Error(), "cluster_block_exception") {
			t.Errorf("%s: got %s %v", name, o[0].Status, o[0].Err)
		}
		must(t, http.MethodPut, index, `{"`+setting+`": null}`)
	}
	done(t, p, plugintest.Change("p1", 2, "name", "second"))
	removed(t, node, p)
}

// removed: a change that comes again does not bring a deleted document back, not even when OpenSearch forgot with a restart that there was one.
func removed(t *testing.T, node *opensearchtest.Node, p plugin.Plugin) {
	address := "http://" + node.Addr
	done(t, p, plugintest.Delete("p2", 3))
	late := plugintest.Change("p2", 2, "name", "late")
	done(t, p, late)
	want(t, address, "p2", 0, "")
	if err := node.Stop(); err != nil {
		t.Logf("stop: %v", err)
	}
	begin(t, node)
	late.Again = true
	done(t, p, late)
	want(t, address, "p2", 0, "")
	anew := plugintest.Change("p2", 4, "name", "anew")
	anew.Again = true
	done(t, p, anew)
	want(t, address, "p2", 4, `{"name":"anew"}`)
}

// begin starts the node again and waits until it has its documents.
func begin(t *testing.T, node *opensearchtest.Node) {
	t.Helper()
	node.Begin(t)
	must(t, http.MethodGet, "http://"+node.Addr+"/_cluster/health?wait_for_status=yellow&wait_for_no_initializing_shards=true&timeout=60s", "")
}

// retried wants every change back for a reason that is not its own.
func retried(t *testing.T, p plugin.Plugin, within time.Duration, reason string, changes ...plugin.Change) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for i, o := range p.Deliver(ctx, plugin.Batch{Changes: changes}) {
		if o.Status != plugin.StatusRetry || o.Err == nil || !strings.Contains(o.Err.Error(), reason) {
			t.Errorf("change %d: got %s %v, want a retry for %q", i, o.Status, o.Err, reason)
		}
	}
}
