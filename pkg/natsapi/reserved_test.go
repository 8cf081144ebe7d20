package natsapi_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// reservedTypes are EventfulDB's own.
func reservedTypes() []string {
	return []string{
		schema.SystemSchema, schema.SystemKey, schema.SystemToken, schema.SystemImport, schema.SystemCredential, schema.SystemStream, schema.SystemConfig, schema.SystemLogKey, schema.SystemRefused,
		schema.SystemPlugin, schema.SystemEngine, schema.SystemBudget, schema.SystemFreeze, schema.SystemArchive, schema.SystemArchiveAct, schema.SystemTier, schema.SystemTierAct,
		schema.SystemForgotten, schema.SystemCertificate, schema.SystemRollback, schema.SystemRollbackLog,
	}
}

// update has the operator order other rights for a key; version is the record's that it changes.
func (m minted) update(version uint64, aggregates []string, acts ...token.Action) *problem.Problem {
	m.o.t.Helper()
	changed := m.key
	changed.Aggregates, changed.Actions = aggregates, acts
	order, err := token.Order{Act: token.OrderUpdateKey, ID: m.key.ID, Version: version, Key: &changed}.Sign(m.o.operator, m.o.accountID, time.Now())
	if err != nil {
		m.o.t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"id": m.key.ID, "order": order})
	if err != nil {
		m.o.t.Fatal(err)
	}
	_, p := m.o.ask("adm.key.update", string(body), nil)
	return p
}

// TestReservedTypesCannotBeWritten: an auth key cannot be changed to write EventfulDB's own types, and neither to types that are none of them.
func TestReservedTypesCannotBeWritten(t *testing.T) {
	o := newOffice(t)
	m := o.issuer()
	for _, reserved := range append(reservedTypes(), event.Reserved, "eventful-none", "eventful-") {
		for _, acts := range [][]token.Action{{token.ActionWrite}, {token.ActionRead, token.ActionAdmin, token.ActionWrite}} {
			if p := m.update(1, []string{"patient", reserved}, acts...); p == nil || p.Code != problem.Malformed {
				t.Errorf("%s with %v: got %v, want it refused", reserved, acts, p)
			}
		}
	}
	for _, none := range []string{event.Reserved, "eventful-none", schema.SystemRolledBack} {
		if p := m.update(1, []string{none}, token.ActionRead); p == nil || p.Code != problem.Malformed {
			t.Errorf("%s to read: got %v, want it refused", none, p)
		}
	}
	if p := m.update(1, []string{token.All, schema.SystemKey}, token.ActionRead); p == nil || p.Code != problem.Malformed {
		t.Errorf("* and a reserved type: got %v, want it refused", p)
	}
}

// TestReservedTypesWidenNothing: a key that is changed to administer and read EventfulDB's own types administers nothing by that, not even its own rights, and issues no right on anything else.
func TestReservedTypesWidenNothing(t *testing.T) {
	o := newOffice(t)
	other := o.issuer()
	text, issued := other.token()
	o.token = other.admin()
	if _, p := o.ask("adm.token.issue", `{"token":"`+text+`"}`, nil); p != nil {
		t.Fatal(p)
	}
	m := minted{o: o}
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	m.key, m.seed = token.Key{ID: id, Name: "narrow", Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionRead, token.ActionAdmin}}, seed
	if p := o.add(m.key); p != nil {
		t.Fatal(p)
	}
	if p := m.update(1, reservedTypes(), token.ActionRead, token.ActionVerify, token.ActionArchive, token.ActionAdmin); p != nil {
		t.Fatal(p)
	}
	o.token = m.admin()
	before := o.w.Keys()
	for subject, body := range map[string]string{
		"adm.schema.draft": `{"definition":{}}`, "adm.schema.migrate": `{}`, "adm.schema.discard": `{}`,
		"adm.key.revoke": `{"id":"` + other.key.ID + `"}`, "adm.token.revoke": `{"id":"` + issued.ID + `"}`, "adm.token.refresh": `{"id":"` + issued.ID + `","expiration":60,"limit":9}`,
		"adm.data.forget": `{"type":"patient","id":"A"}`, "adm.data.rollback": `{"before":"1999-01-01T00:00:00Z"}`,
		"adm.aggregate.archive": `{"type":"patient","id":"A"}`, "adm.writer.list": `{}`, "adm.writer.resign": `{"log":"eventful"}`, "adm.projector.rebuild": `{}`,
		"adm.import.done": `{"file":"` + issued.ID + `","aggregate":"patient","ranges":"1","rows":1}`,
	} {
		o.refused(subject, body, nil, problem.Forbidden, "")
	}
	o.refused("adm.data.forget", `{"type":"eventful-key","id":"`+id+`"}`, nil, problem.NotFound, "no aggregate type")
	o.refused("adm.aggregate.archive", `{"type":"eventful-key","id":"`+id+`"}`, nil, problem.NotFound, "")
	if _, p := o.ask("adm.data.rollback", `{"type":"eventful-key","before":"1999-01-01T00:00:00Z"}`, nil); p == nil || p.Code != problem.Forbidden {
		t.Errorf("a rollback of keys: got %v, want forbidden", p)
	}
	for _, want := range []token.Claims{
		{Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionRead}}, {Aggregates: []string{token.All}, Actions: []token.Action{token.ActionRead}},
		{Aggregates: []string{"patient"}, Actions: []token.Action{token.ActionWrite}, Limit: 9}, {Aggregates: []string{schema.SystemPlugin, "ward"}, Actions: []token.Action{token.ActionRead}},
	} {
		want.IdentifierType, want.IdentifierID, want.Expires = "user", "eve", time.Now().Add(time.Hour)
		text, _, err := token.Mint(m.seed, m.key.ID, want)
		if err != nil {
			t.Fatal(err)
		}
		o.token = text
		o.refused("adm.schema.list", "{}", nil, problem.Forbidden, "may not grant")
	}
	if after := o.w.Keys(); len(after) != len(before) || o.w.Ended(issued.ID) {
		t.Errorf("got keys %v and the other's token ended %v, want %v and not", after, o.w.Ended(issued.ID), before)
	}
}
