package opensearch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/mapping"
)

// Test implements plugin.Plugin: a document with a value in each field is written, read and removed, on the way of every other one.
func (t *target) Test(ctx context.Context) error {
	now := time.Now().UTC()
	where := map[string]string{"site": t.names.site, "year": now.Format("2006"), "month": now.Format("01"), "day": now.Format("02")}
	if len(t.mapping.Types) > 0 {
		where["type"], where["log"] = t.mapping.Types[0], t.mapping.Types[0]
	}
	probe := op{version: 1, effect: mapping.Effect{Action: mapping.Write, Key: "eventful-test-" + rand.Text(), Target: t.mapping.Target.With(where)}}
	for _, c := range t.mapping.Columns() {
		probe.effect.Set = append(probe.effect.Set, mapping.Cell{Name: c.Name, Value: sample(c.Type, now)})
	}
	var err error
	if probe.alias, err = t.writeAlias(ctx, probe.effect.Target); err != nil {
		return err
	}
	probe.body = document(nil, &probe.effect)
	if err := t.one(ctx, probe); err != nil {
		return fmt.Errorf("write a document: %w", err)
	}
	err = t.see(ctx, probe, true)
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
