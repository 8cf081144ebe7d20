package schema

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Types of the system log (docs/spec/commands.md, section 9).
const (
	SystemSchema     = "eventful-schema"     // id: the aggregate type
	SystemKey        = "eventful-key"        // id: public key
	SystemToken      = "eventful-token"      // id: token id
	SystemImport     = "eventful-import"     // id: file digest
	SystemCredential = "eventful-credential" // id: public key of a NATS user
	SystemStream     = "eventful-stream"     // id: name of a JetStream stream
	SystemConfig     = "eventful-config"     // id: act id
	SystemLogKey     = "eventful-log-key"    // id: public key that signs checkpoints
	SystemRefused    = "eventful-refused"    // id: of a refused command of the inbox
	SystemPlugin     = "eventful-plugin"     // id: name of a plugin
	SystemEngine     = "eventful-engine"     // id: writer or projector
	SystemBudget     = "eventful-budget"     // id: log, "/", token id; in the log that it names
	SystemFreeze     = "eventful-freeze"     // id: log; in the log that it names

	SystemArchive    = "eventful-archive"     // id: log; in the log that it names
	SystemArchiveAct = "eventful-archive-act" // id: log, "/", sequence of the cut; in the system log

	SystemTier    = "eventful-tier"     // id: digest of an aggregate; in the log of that
	SystemTierAct = "eventful-tier-act" // id: as before; in the system log

	SystemForgotten   = "eventful-forgotten"   // id: digest of an aggregate; in the log of that
	SystemCertificate = "eventful-certificate" // id: as before

	SystemRollback    = "eventful-rollback"     // id: the rollback
	SystemRollbackLog = "eventful-rollback-log" // id: the rollback, "/", log; in the log that it names
	SystemRolledBack  = "eventful-rolled-back"  // no aggregates: the schema of events by which aggregates of any type are brought back
)

// RolledBackDigest is the schema digest of events by which an aggregate is brought back to an earlier state.
var RolledBackDigest = Digest([]byte(SystemRolledBack))

// ForgottenID is the id under which records of forgetting are about an aggregate: its type and id would be too long for one.
func ForgottenID(a event.AggregateID) string {
	sum := sha256.Sum256([]byte(a.Type + "\x00" + a.ID))
	return hex.EncodeToString(sum[:])
}

var systemSchemas = compileSystem()

// System is the built-in schema of eventful-schema, eventful-key, eventful-token, eventful-import, eventful-credential, eventful-stream, eventful-log-key, eventful-config,
// eventful-refused, eventful-engine, eventful-certificate, eventful-rollback, eventful-tier-act, eventful-archive-act (in the system log), eventful-budget, eventful-freeze, eventful-archive, eventful-tier, eventful-forgotten or
// eventful-rollback-log (in each log): version 1. It is nil for every other type.
func System(aggregateType string) *Schema { return systemSchemas[aggregateType] }

func compileSystem() map[string]*Schema {
	out := map[string]*Schema{}
	for _, d := range append(systemDefinitions(), tierDefinitions()...) {
		d.Log = event.Reserved
		s, err := compile(d, 1, Digest([]byte(d.Aggregate)))
		if err != nil {
			panic("schema: " + err.Error()) // the definitions have no pattern to fail on
		}
		out[d.Aggregate] = s
	}
	return out
}

func systemDefinitions() []Definition {
	whole, refused := Field{Type: Integer}, required("number").with("subject", "sender")
	return []Definition{
		{Aggregate: SystemSchema, Fields: map[string]Field{"version": whole}, Events: map[string]Event{
			"schema-drafted":   required("definition"),
			"schema-discarded": {},
			"schema-migrated":  required("definition", "digest", "version", "log"),
		}},
		{Aggregate: SystemKey, Fields: map[string]Field{"maxlimit": whole, "maxexpiration": whole}, Events: map[string]Event{
			"key-added":   required("name", "aggregates", "actions").with("maxlimit", "maxexpiration"),
			"key-updated": required("name", "aggregates", "actions").with("maxlimit", "maxexpiration"),
			"key-revoked": required("ended"),
		}},
		{Aggregate: SystemToken, Fields: map[string]Field{"limit": whole, "units": whole, "total": whole}, Events: map[string]Event{
			"token-issued":      required("identifiertype", "identifierid", "issuer", "expires").with("limit", "aggregates", "actions", "issued", "only", "user", "predecessor"),
			"token-revoked":     required("ended", "issuer", "expires").with("user", "limit"),
			"budget-granted":    required("log", "units", "total").with("limit", "actor", "issuer", "expires"),
			"budget-taken-back": required("log", "units"),
		}},
		{Aggregate: SystemBudget, Fields: map[string]Field{"units": whole}, Events: map[string]Event{"budget-returned": required("units")}},
		{Aggregate: SystemFreeze, Fields: map[string]Field{"epoch": whole, "version": whole}, Events: map[string]Event{
			"log-frozen": required("epoch", "type", "version"),
			"log-thawed": required("epoch", "type", "version"),
		}},
		{Aggregate: SystemCredential, Fields: map[string]Field{"expires": whole}, Events: map[string]Event{
			"credential-issued": required("role", "issuer", "expires").with("user", "host", "proved", "proof"),
			"credential-used":   required("role", "host").with("client"),
		}},
		{Aggregate: SystemStream, Fields: map[string]Field{"count": whole}, Events: map[string]Event{
			"stream-changed": required("action", "user").with("role", "host", "client", "request"),
			"changes-missed": required("account", "count"),
			"change-found":   required("action").with("settings"),
		}},
		{Aggregate: SystemConfig, Events: map[string]Event{
			"site-configured":     required("user", "proved", "proof", "settings").with("host"),
			"dek-replaced":        required("user", "proved", "proof").with("host"),
			"master-key-replaced": required("user", "proved", "proof").with("host"),
			"settings-changed":    required("user", "proved", "proof", "settings").with("host"),
			"store-reencrypted":   required("user", "proved", "proof").with("host"),
			"credentials-made":    required("user", "proved", "proof", "settings").with("host"),
		}},
		{Aggregate: SystemLogKey, Events: map[string]Event{"log-key-made": required("algorithm")}},
		{Aggregate: SystemRefused, Fields: map[string]Field{"number": whole}, Events: map[string]Event{"refused-purged": refused, "refused-retried": refused}},
		{Aggregate: SystemForgotten, Events: map[string]Event{"data-forgotten": required("type", "id", "commitment")}},
		{Aggregate: SystemCertificate, Fields: map[string]Field{"staged": whole, "refused": whole, "letters": whole}, Events: map[string]Event{
			"forget-done":      required("type", "id", "commitment", "position", "hash", "staged", "refused", "letters"),
			"unstored-removed": required("type", "id", "staged", "refused", "letters"),
		}},
		{Aggregate: SystemRollback, Fields: map[string]Field{"to": whole, "aggregates": whole, "events": whole}, Events: map[string]Event{
			"rollback-asked": Event{}.with("type", "id", "before", "to", "cuts"),
			"rollback-done":  required("aggregates", "events").with("type", "id", "refused", "logs"),
		}},
		{Aggregate: SystemRollbackLog, Fields: map[string]Field{"to": whole, "aggregates": whole, "events": whole}, Events: map[string]Event{
			"rollback-begin": Event{}.with("type", "id", "before", "to", "cut"),
			"rollback-end":   required("aggregates", "events"),
		}},
		pluginDefinition(whole), engineDefinition(),
		{Aggregate: SystemImport, Fields: map[string]Field{"rows": whole}, Events: map[string]Event{"rows-done": required("aggregate", "ranges", "rows")}},
	}
}

// tierDefinitions are of what moves between tiers: logs and aggregates.
func tierDefinitions() []Definition {
	whole := Field{Type: Integer}
	return []Definition{
		{Aggregate: SystemArchive, Fields: map[string]Field{"cut": whole, "sequence": whole}, Events: map[string]Event{
			"log-archived": required("cut", "segment", "state", "digest", "sequence"),
		}},
		{Aggregate: SystemArchiveAct, Fields: map[string]Field{"cut": whole}, Events: map[string]Event{
			"events-archived": required("log", "cut", "segment", "position", "hash"),
		}},
		{Aggregate: SystemTier, Fields: map[string]Field{"version": whole}, Events: map[string]Event{
			"aggregate-archived": required("type", "id").with("comment"),
			"aggregate-restored": required("type", "id").with("comment"),
			"events-cooled":      required("type", "id", "version"),
		}},
		{Aggregate: SystemTierAct, Events: map[string]Event{
			"tier-changed": required("type", "id", "tier", "position", "hash").with("comment"),
		}},
	}
}

// pluginDefinition is the built-in schema of eventful-plugin (docs/spec/plugins.md).
func pluginDefinition(whole Field) Definition {
	return Definition{Aggregate: SystemPlugin, Fields: map[string]Field{"partitions": whole, "sequence": whole, "number": whole, "count": whole}, Events: map[string]Event{
		"plugin-configured": required("kind", "options", "partitions").with("secrets"),
		"plugin-enabled":    {},
		"plugin-disabled":   {},
		"plugin-removed":    {},
		"plugin-replayed":   {Fields: []string{"scope", "log", "sequence", "time", "rebuild"}},
		"plugin-retried":    {Fields: []string{"number"}},
		"plugin-purged":     required("count").with("number"),
		"plugin-tested":     {},
	}}
}

// engineDefinition is of what somebody has an engine do that changes no log: hand one over, build an index anew.
func engineDefinition() Definition {
	return Definition{Aggregate: SystemEngine, Events: map[string]Event{"resign-asked": required("log"), "rebuild-asked": Event{}.with("log")}}
}

func required(fields ...string) Event { return Event{Fields: fields, Required: fields} }

func (e Event) with(fields ...string) Event {
	e.Fields = append(append([]string(nil), e.Fields...), fields...)
	return e
}
