package natsapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
)

// seenAct is an act as the audit shows it.
type seenAct struct {
	Event, Actor, Position string
}

// actsAbout are the events of the system log about an aggregate, as the audit shows them.
func (o *office) actsAbout(about string) []seenAct {
	o.t.Helper()
	answer, p := o.ask("adm.audit.list", `{"about":"`+about+`"}`, nats.Header{"Eventful-Wait-For": {"latest"}})
	if p != nil {
		o.t.Fatal(p)
	}
	var page struct {
		Acts []seenAct `json:"acts"`
	}
	if err := json.Unmarshal([]byte(answer), &page); err != nil {
		o.t.Fatal(err)
	}
	return page.Acts
}

// TestEngineActsAreOnRecord: who has an index built anew, or a log handed over, stands in the audit before it is done. A projector builds nothing for who is not on record, whatever his NATS user
// may ask; what cannot be done is not recorded.
func TestEngineActsAreOnRecord(t *testing.T) {
	o := newOfficeWith(t, func(o *office, c *natsapi.Config) {
		p, err := projector.New(projector.Config{Store: o.memory, Dir: t.TempDir(), Key: key, Site: site})
		if err != nil {
			t.Fatal(err)
		}
		during(t, p.Run)
		<-p.Ready()
		c.Projector, c.Store = p, o.memory
	})
	m := o.issuer()
	o.token = m.admin()
	all, system := `{}`, `{"log":"eventful"}`
	o.refused("qry._.rebuild", all, nil, problem.Forbidden, "not on record")
	o.refused("adm.projector.rebuild", `{"log":"none"}`, nil, problem.NotFound, "no log")
	o.refused("adm.writer.resign", system, nil, problem.Conflict, "no other writer")
	if got := o.actsAbout("eventful-engine"); len(got) != 0 {
		t.Errorf("got acts %v of what was refused, want none", got)
	}
	if answer, p := o.ask("adm.projector.rebuild", system, nats.Header{"eventful-act": {"x"}}); p != nil || !strings.Contains(answer, `"log":"eventful"`) {
		t.Errorf("got answer %s (%v), want the log that was built", answer, p)
	}
	got := o.actsAbout("eventful-engine/projector")
	if len(got) != 1 || got[0].Event != "rebuild-asked" || got[0].Actor != "auth-key:"+m.key.ID {
		t.Fatalf("got acts %+v, want one of the auth key", got)
	}
	act := nats.Header{"Eventful-Act": {got[0].Position}}
	if _, p := o.ask("qry._.rebuild", system, act); p != nil {
		t.Errorf("by the position of the record: got %v", p)
	}
	o.refused("qry._.rebuild", all, act, problem.Forbidden, "not on record")
	o.token = m.admin() // another one
	o.refused("qry._.rebuild", system, act, problem.Forbidden, "not on record")
	for _, wrong := range []string{"x", "eventful/1/0/" + strings.Repeat("0", 32), "patient/1/0/" + strings.Repeat("0", 32), "eventful/99999/0/" + strings.Repeat("0", 32), "eventful/1/4294967295/" + strings.Repeat("0", 32)} {
		o.refused("qry._.rebuild", system, nats.Header{"Eventful-Act": {wrong}}, problem.Forbidden, "not on record")
	}
}

// TestEveryActIsClassified: each administrative act names the event that it leaves, or is one that only reads, or is about what its sender prepares himself. A new act is argued for here.
func TestEveryActIsClassified(t *testing.T) {
	leaves := map[string]string{
		"schema.draft": "eventful-schema schema-drafted", "schema.migrate": "eventful-schema schema-migrated", "schema.discard": "eventful-schema schema-discarded",
		"key.add": "eventful-key key-added", "key.update": "eventful-key key-updated", "key.revoke": "eventful-key key-revoked",
		"token.issue": "eventful-token token-issued", "token.refresh": "eventful-token token-revoked", "token.revoke": "eventful-token token-revoked",
		"credential.record": "eventful-credential credential-issued", "import.done": "eventful-import rows-done",
		"data.forget": "eventful-certificate forget-done", "data.rollback": "eventful-rollback rollback-asked",
		"aggregate.archive": "eventful-tier-act tier-changed", "aggregate.restore": "eventful-tier-act tier-changed", "archive.run": "eventful-archive-act events-archived",
		"inbox.retry": "eventful-refused refused-retried", "inbox.purge": "eventful-refused refused-purged",
		"plugin.config": "eventful-plugin plugin-configured", "plugin.enable": "eventful-plugin plugin-enabled", "plugin.disable": "eventful-plugin plugin-disabled", "plugin.remove": "eventful-plugin plugin-removed",
		"plugin.replay": "eventful-plugin plugin-replayed", "plugin.retry": "eventful-plugin plugin-retried", "plugin.purge": "eventful-plugin plugin-purged", "plugin.test": "eventful-plugin plugin-tested",
		"writer.resign": "eventful-engine resign-asked", "projector.rebuild": "eventful-engine rebuild-asked",
	}
	reads := []string{
		"schema.list", "schema.show", "key.account", "key.list", "key.show", "token.list", "token.show", "import.state", "server.status", "writer.list", "inbox.status", "inbox.list", "inbox.show",
		"plugin.list", "plugin.show", "plugin.parked", "audit.list",
		"staged.add", "staged.list", "staged.commit", "staged.discard", // commits that are not made yet
	}
	for _, name := range reads {
		leaves[name] = ""
	}
	for _, name := range natsapi.ActNames() {
		event, known := leaves[name]
		if !known {
			t.Errorf("adm.%s: say which event it leaves, or that it only reads", name)
		}
		delete(leaves, name)
		aggregate, eventType, _ := strings.Cut(event, " ")
		if event == "" {
			continue
		}
		if s := schema.System(aggregate); s == nil {
			t.Errorf("adm.%s: there is no type %s", name, aggregate)
		} else if _, there := s.Events[eventType]; !there {
			t.Errorf("adm.%s: %s has no event %s", name, aggregate, eventType)
		}
	}
	if len(leaves) > 0 {
		t.Errorf("there are no acts %v", leaves)
	}
}
