// Package opensearch keeps documents in OpenSearch up to date with what happens in EventfulDB, as a mapping says.
//
// Every change is written with the version of its aggregate as external version, so OpenSearch itself refuses what is older than it has: repeated
// and late changes cannot take a document back. Readers use an alias for each target of the mapping; behind it lies an index of this plugin and of
// its generation, made from an index template. A rebuild fills the indices of the next generation and moves the aliases in one step.
//
// Changes go in _bulk requests, and each item of the answer is looked at by itself. What OpenSearch says about one document (a field that
// does not fit) parks that change; everything else, down to a wrong password, is no fault of a change, so it is tried again. docs/plugins-opensearch.md
// is the manual.
package opensearch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	client "github.com/opensearch-project/opensearch-go/v2"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Kind is the plugin type `opensearch`.
func Kind() *plugin.Kind {
	return &plugin.Kind{
		Name: "opensearch", Summary: "keeps documents in OpenSearch up to date, by a mapping of fields",
		Options: options(), Check: check, Open: open, Show: show, State: true, Rebuilds: true,
	}
}

// target is an open plugin.
type target struct {
	client   *client.Client
	http     *http.Transport
	mapping  *mapping.Mapping
	names    names
	settings indexSettings
	trial    bool // plugin.Settings.Trial
	log      zerolog.Logger

	mu    sync.Mutex        // guards what follows, and is held while an index is made
	ready map[string]string // target of the mapping -> alias to write to
}

// open connects, puts the index template in place, and makes the indices that are known already.
func open(ctx context.Context, s plugin.Settings) (plugin.Plugin, error) {
	m, err := mapping.Compile([]byte(s.Options[optionMapping]), s.Schemas, mappedTo(s.Options))
	if err != nil {
		return nil, fmt.Errorf("read the mapping: %w", err)
	}
	t := &target{
		mapping: m, names: names{site: s.Site, plugin: s.Name, generation: s.Generation}, log: s.Log, trial: s.Trial, ready: map[string]string{},
		settings: indexSettings{shards: s.Options.Int(optionShards), replicas: s.Options.Int(optionReplicas), refresh: s.Options[optionRefresh]},
	}
	if t.client, t.http, err = connect(s.Options); err != nil {
		return nil, err
	}
	if t.trial {
		return t, nil
	}
	if err := t.prepare(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Close implements plugin.Plugin.
func (t *target) Close() error {
	t.http.CloseIdleConnections()
	return nil
}

// op is what one change does to one document.
type op struct {
	at      int // its place in the batch
	effect  mapping.Effect
	version uint64
	again   bool   // plugin.Change.Again
	alias   string // to write to
	body    []byte // the document; nil for a removal, and where effect says all of it
	same    bool   // the document is written in the version that it has
}

// Deliver implements plugin.Plugin.
func (t *target) Deliver(ctx context.Context, b plugin.Batch) []plugin.Outcome {
	outcomes := make([]plugin.Outcome, len(b.Changes))
	ops := t.plan(b.Changes, outcomes)
	ops = t.place(ctx, ops, outcomes)
	ops = t.skipRemoved(ctx, ops, outcomes)
	ops = t.complete(ctx, ops, outcomes)
	ops = t.remember(ctx, ops, outcomes)
	t.send(ctx, ops, outcomes)
	return outcomes
}

// plan maps the changes. Those without an effect are done, those that cannot be mapped are parked.
func (t *target) plan(changes []plugin.Change, outcomes []plugin.Outcome) []op {
	ops := make([]op, 0, len(changes))
	for i := range changes {
		effect, err := t.mapping.Map(&changes[i])
		switch {
		case err != nil:
			outcomes[i] = plugin.Park(fmt.Errorf("map the change: %w", err))
		case effect.Action == mapping.Nothing:
			outcomes[i] = plugin.Done()
		default:
			ops = append(ops, op{at: i, effect: effect, version: uint64(changes[i].Version), again: changes[i].Again})
		}
	}
	return ops
}

// place finds the alias of each document, and makes indices that are missing.
func (t *target) place(ctx context.Context, ops []op, outcomes []plugin.Outcome) []op {
	kept := ops[:0]
	for _, o := range ops {
		alias, err := t.writeAlias(ctx, o.effect.Target)
		if err != nil {
			outcomes[o.at] = again(err)
			continue
		}
		o.alias = alias
		kept = append(kept, o)
	}
	return kept
}

// again is the outcome of what failed for a reason that is no fault of the change.
func again(err error) plugin.Outcome {
	var busy *busyError
	if errors.As(err, &busy) {
		return plugin.RetryAfter(err, busy.after)
	}
	return plugin.Retry(err)
}
