// Package webhook is the plugin that sends each change to an HTTP address, as a signed CloudEvent 1.0.
//
// One request for each change, in the binary or the structured mode of the CloudEvents HTTP binding (https://github.com/cloudevents/spec, v1.0.2). Several
// go out at a time; those of one aggregate never do. A status 2xx is an acknowledgement. What else a receiver says is told apart by whom it speaks of: the
// change, which is parked then, or the receiver and the way to it, which is tried again (answer.go). Redirects are not followed, and
// addresses that are not public are dialled only if the configuration names their network; that is looked at when a name has become an address, so
// no name server can have it changed in between (dial.go). docs/plugins-webhook.md is the manual.
package webhook

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/sieve"
)

// Kind is the plugin type webhook.
func Kind() *plugin.Kind {
	return sieve.Kind(&plugin.Kind{
		Name: "webhook", Summary: "sends each change to an HTTP address, as a signed CloudEvent",
		Options: options(), Check: check, Open: open,
	})
}

// target is an open webhook.
type target struct {
	url      string
	binary   bool
	secret   []byte // empty: requests are not signed
	headers  http.Header
	parks    map[int]bool
	parallel int
	timeout  time.Duration
	client   *http.Client
}

// open connects to nothing: the first change does.
func open(_ context.Context, s plugin.Settings) (plugin.Plugin, error) {
	networks, err := parseNetworks(s.Options.List(optionNetworks))
	if err != nil {
		return nil, err
	}
	headers, err := parseHeaders(s.Options[optionHeaders])
	if err != nil {
		return nil, err
	}
	t := &target{
		url: s.Options[optionURL], binary: s.Options[optionMode] == modeBinary, secret: []byte(s.Options[optionSecret]), headers: headers,
		parks: map[int]bool{}, parallel: max(s.Options.Int(optionRequests), 1), timeout: s.Options.Duration(optionTimeout),
	}
	for _, text := range s.Options.List(optionPark) {
		status, err := parseStatus(text)
		if err != nil {
			return nil, err
		}
		t.parks[status] = true
	}
	t.client = newClient(networks, s.Options.Certificates(optionCA), t.parallel)
	return t, nil
}

// Deliver sends the changes, several at a time. When the receiver cannot be reached, or asks for a pause, the rest is not tried.
func (t *target) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	outcomes := make([]plugin.Outcome, len(b.Changes))
	var next atomic.Int64
	var away atomic.Pointer[plugin.Outcome]
	var sending sync.WaitGroup
	for range min(t.parallel, len(b.Changes)) {
		sending.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(b.Changes)); i = next.Add(1) - 1 {
				if o := away.Load(); o != nil {
					outcomes[i] = *o
					continue
				}
				o, gone := t.send(ctx, &b.Changes[i])
				if outcomes[i] = o; gone {
					away.Store(&o)
				}
			}
		})
	}
	sending.Wait()
	return outcomes
}

// Test sends a change that happened to nobody; its type says so (docs/plugins-webhook.md), and nothing of it has to be removed.
func (t *target) Test(ctx context.Context) error {
	c := plugin.Dummy()
	o, _ := t.send(ctx, &c)
	if o.Status == plugin.StatusDone {
		return nil
	}
	if o.Err == nil {
		return errors.New("the receiver gave no answer")
	}
	return o.Err
}

// Close ends what is left of connections.
func (t *target) Close() error {
	t.client.CloseIdleConnections()
	return nil
}
