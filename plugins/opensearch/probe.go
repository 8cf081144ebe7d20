package opensearch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opensearch-project/opensearch-go/v2/opensearchapi"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// testTarget is how the target of an index begins that a test makes for itself.
const testTarget = ".test-"

// Test implements plugin.Plugin: a document with a value in each field is written, read and removed, on the way of every other one. In a trial an index that is missing is not
// made: readers could have it, empty. The test makes one of its own then, and removes it; a crash in between leaves that, which nobody reads and the next rebuild removes.
func (t *target) Test(ctx context.Context) (err error) {
	probe := t.probe()
	end := func() error { return nil }
	if t.trial {
		probe.alias, end, err = t.stand(ctx, probe.effect.Target)
	} else {
		probe.alias, err = t.writeAlias(ctx, probe.effect.Target)
	}
	if err != nil {
		return err
	}
	return errors.Join(t.try(ctx, probe), end())
}

// stand gives the alias that a trial writes to: of the index that is there, or of one that end removes again.
func (t *target) stand(ctx context.Context, to string) (alias string, end func() error, err error) {
	have, err := t.indices(ctx)
	if err != nil {
		return "", nil, err
	}
	index := t.names.index(to)
	if _, there := have[index]; there {
		return index + writeSuffix, func() error { return nil }, t.upgrade(ctx, index)
	}
	if err := t.free(ctx, to); err != nil {
		return "", nil, err
	}
	index = t.names.index(testTarget + strings.ToLower(rand.Text()))
	end = func() error { return t.dropTest(context.WithoutCancel(ctx), index) }
	err = t.putTemplate(ctx, index, index, 501)
	if err == nil {
		create := opensearchapi.IndicesCreateRequest{Index: index, Body: encoded(object{"aliases": object{index + writeSuffix: object{}}})}
		_, err = t.admin(ctx, create, "create an index")
	}
	if err != nil {
		return "", nil, errors.Join(err, end())
	}
	return index + writeSuffix, end, nil
}

// dropTest removes what a test made for itself.
func (t *target) dropTest(ctx context.Context, index string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*dialTimeout)
	defer cancel()
	_, err := t.admin(ctx, opensearchapi.IndicesDeleteRequest{Index: []string{index}}, "remove the index of the test")
	_, err2 := t.admin(ctx, opensearchapi.IndicesDeleteIndexTemplateRequest{Name: index}, "remove the index template of the test")
	return errors.Join(missing(err), missing(err2))
}

// missing takes what is not there for removed.
func missing(err error) error {
	var failed *statusError
	if errors.As(err, &failed) && failed.status == http.StatusNotFound {
		return nil
	}
	return err
}

// probe is the op of a document with a value in each field.
func (t *target) probe() op {
	now := time.Now().UTC()
	where := map[string]string{"site": t.names.site, "year": now.Format("2006"), "month": now.Format("01"), "day": now.Format("02")}
	if len(t.mapping.Types) > 0 {
		where["type"], where["log"] = t.mapping.Types[0], t.mapping.Types[0]
	}
	probe := op{version: 1, effect: mapping.Effect{Action: mapping.Write, Key: "eventful-test-" + rand.Text(), Target: t.mapping.Target.With(where)}}
	for _, c := range t.mapping.Columns() {
		probe.effect.Set = append(probe.effect.Set, mapping.Cell{Name: c.Name, Value: sample(c.Type, now)})
	}
	probe.body = document(nil, &probe.effect)
	return probe
}

// try writes the document, looks whether it is there, and removes it.
func (t *target) try(ctx context.Context, probe op) error {
	if err := t.one(ctx, probe); err != nil {
		return fmt.Errorf("write a document: %w", err)
	}
	err := t.see(ctx, probe, true)
	probe.effect.Action, probe.version = mapping.Remove, 2
	if failed := t.one(ctx, probe); failed != nil {
		return errors.Join(err, fmt.Errorf("remove the document %s from %s again: %w", probe.effect.Key, probe.alias, failed))
	}
	return errors.Join(err, t.see(ctx, probe, false))
}

func sample(t mapping.Type, now time.Time) mapping.Value {
	switch t {
	case mapping.Integer, mapping.Decimal:
		return mapping.Value{Type: t, Text: "1"}
	case mapping.Boolean:
		return mapping.Value{Type: t, Text: "true"}
	case mapping.Date:
		return mapping.Value{Type: t, Text: now.Format(time.RFC3339)}
	}
	return mapping.Value{Type: t, Text: "test"}
}

func (t *target) one(ctx context.Context, o op) error {
	outcomes := make([]plugin.Outcome, 1)
	t.send(ctx, []op{o}, outcomes)
	if outcomes[0].Status != plugin.StatusDone {
		return outcomes[0].Err
	}
	return nil
}

// see says whether the document is there as it should be.
func (t *target) see(ctx context.Context, o op, want bool) error {
	got, err := t.read(ctx, []op{o})
	switch {
	case err != nil:
		return err
	case got[0].Found != want || want && got[0].Version != o.version:
		return fmt.Errorf("the document that was written to %s reads as found %t, version %d", o.alias, got[0].Found, got[0].Version)
	}
	return nil
}
