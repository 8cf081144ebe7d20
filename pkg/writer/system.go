package writer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/statestore"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Types and events of the system log (docs/spec/commands.md, section 9).
const (
	typeSchema = schema.SystemSchema
	typeKey    = schema.SystemKey
	typeToken  = schema.SystemToken
	typeImport = schema.SystemImport

	eventDrafted   = "schema-drafted"
	eventDiscarded = "schema-discarded"
	eventMigrated  = "schema-migrated"
	eventKeyAdded  = "key-added"
	eventIssued    = "token-issued"
	eventGranted   = "budget-granted"
	eventTakenBack = "budget-taken-back"
	eventRowsDone  = "rows-done"

	typeBudget    = schema.SystemBudget // in each log, not in the system log
	eventReturned = "budget-returned"
)

// system is the view of the system log that every log of the process decides under. Schemas and keys are read without a lock; one goroutine, that of
// the system log's engine, changes it.
type system struct {
	now  atomic.Pointer[view]
	mu   sync.Mutex // guards budgets and imports
	byID map[string]*budget
	rows map[string]*imported
}

// view is immutable.
type view struct {
	position event.SystemPosition
	schemas  map[string]*typeState
	keys     map[string]token.Key
}

// typeState is a type's schema history. Versions[i] is version i+1; a draft waits for its migration.
type typeState struct {
	Versions []json.RawMessage `json:"versions"`
	Draft    json.RawMessage   `json:"draft,omitempty"`
	compiled []*schema.Schema
}

func (t *typeState) current() *schema.Schema {
	if len(t.compiled) == 0 {
		return nil
	}
	return t.compiled[len(t.compiled)-1]
}

// budget is what the system log granted of one token. Both counts are of everything so far, so that repeats change nothing.
type budget struct {
	Limit   uint64            `json:"limit"`
	Expires int64             `json:"expires"` // Unix seconds
	Logs    map[string]uint64 `json:"logs"`    // granted, by log
	Back    map[string]uint64 `json:"back"`    // taken back, by log
}

// out is what logs hold of the limit: granted and not taken back.
func (b *budget) out() (n uint64) {
	for log, granted := range b.Logs {
		n += granted - b.Back[log]
	}
	return n
}

func (b *budget) clone() *budget {
	c := *b
	c.Logs, c.Back = maps.Clone(b.Logs), maps.Clone(b.Back)
	return &c
}

// imported is what of a file is done.
type imported struct {
	Aggregate string `json:"aggregate"`
	Ranges    string `json:"ranges"`
	Rows      uint64 `json:"rows"`
}

func newSystem() *system {
	s := &system{byID: make(map[string]*budget), rows: make(map[string]*imported)}
	s.now.Store(&view{schemas: map[string]*typeState{}, keys: map[string]token.Key{}})
	return s
}

// load takes the view from the system log's state, dropping what was there.
func (s *system) load(st *state, now time.Time) error {
	v := &view{schemas: map[string]*typeState{}, keys: map[string]token.Key{}}
	v.position = event.SystemPosition{Sequence: st.meta.chain.At, Block: st.meta.chain.Block}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.byID)
	clear(s.rows)
	var failed error
	err := st.store.Scan([]byte(keySystem), nil, func(k, value []byte) bool {
		kind, id, _ := strings.Cut(strings.TrimPrefix(string(k), keySystem), "/")
		failed = s.loadOne(v, kind, id, value, now)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("load system view: %w", err)
	}
	s.now.Store(v)
	return nil
}

func (s *system) loadOne(v *view, kind, id string, value []byte, now time.Time) (err error) {
	switch kind {
	case typeSchema:
		t := &typeState{}
		if err = json.Unmarshal(value, t); err == nil {
			err = t.compile()
		}
		v.schemas[id] = t
	case typeKey:
		var k token.Key
		err = json.Unmarshal(value, &k)
		v.keys[id] = k
	case typeToken:
		b := &budget{}
		if err = json.Unmarshal(value, b); b.Expires >= now.Unix() {
			s.byID[id] = b
		}
	case typeImport:
		r := &imported{}
		err = json.Unmarshal(value, r)
		s.rows[id] = r
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w: %w", kind, id, err, statestore.ErrDoubted)
	}
	return nil
}

func (t *typeState) compile() error {
	for i := len(t.compiled); i < len(t.Versions); i++ {
		c, err := compileCanonical(t.Versions[i], uint64(i+1))
		if err != nil {
			return err
		}
		t.compiled = append(t.compiled, c)
	}
	return nil
}

func compileCanonical(canonical []byte, version uint64) (*schema.Schema, error) {
	defs, err := schema.Parse(canonical)
	if err != nil {
		return nil, err
	}
	if len(defs) != 1 {
		return nil, fmt.Errorf("%d definitions where one is wanted", len(defs))
	}
	c, err := schema.Compile(defs[0], version)
	if err != nil {
		return nil, err
	}
	c.Digest = schema.Digest(canonical)
	return c, nil
}

// apply takes in a block of the system log and gives the keys and values that keep it in the state.
func (s *system) apply(b stored) (map[string][]byte, error) {
	old := s.now.Load()
	v := &view{position: event.SystemPosition{Sequence: b.sequence, Block: b.header.ID}, schemas: old.schemas, keys: old.keys}
	kept := make(map[string][]byte)
	for i := range b.items {
		commit := b.items[i].commit
		for j := range commit.Events {
			fields, err := fieldsOf(&commit.Events[j])
			if err != nil {
				return nil, err
			}
			value, err := s.applyEvent(v, commit.Aggregate, commit.Events[j].Type, fields)
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", commit.Events[j].Type, commit.Aggregate, err)
			}
			if value != nil {
				kept[keySystem+commit.Aggregate.Type+"/"+commit.Aggregate.ID] = value
			}
		}
	}
	s.now.Store(v)
	return kept, nil
}

func (s *system) applyEvent(v *view, a event.AggregateID, eventType string, f map[string]string) ([]byte, error) {
	switch eventType {
	case eventDrafted, eventDiscarded, eventMigrated:
		return applySchema(v, a.ID, eventType, f)
	case eventKeyAdded:
		return applyKey(v, a.ID, f)
	case eventGranted:
		return s.applyGrant(a.ID, f)
	case eventTakenBack:
		return s.applyTakenBack(a.ID, f)
	case eventRowsDone:
		return s.applyRows(a.ID, f)
	}
	return nil, nil // token-issued changes nothing that a writer decides by
}

func applySchema(v *view, aggregateType, eventType string, f map[string]string) ([]byte, error) {
	t := &typeState{}
	if old := v.schemas[aggregateType]; old != nil {
		*t = typeState{Versions: slices.Clone(old.Versions), Draft: old.Draft, compiled: slices.Clone(old.compiled)}
	}
	switch eventType {
	case eventDrafted:
		t.Draft = json.RawMessage(f["definition"])
	case eventDiscarded:
		t.Draft = nil
	case eventMigrated:
		t.Versions, t.Draft = append(t.Versions, json.RawMessage(f["definition"])), nil
		if err := t.compile(); err != nil {
			return nil, err
		}
	}
	v.schemas = maps.Clone(v.schemas)
	v.schemas[aggregateType] = t
	return json.Marshal(t)
}

func applyKey(v *view, id string, f map[string]string) ([]byte, error) {
	k, err := token.KeyOf(id, f)
	if err != nil {
		return nil, err
	}
	v.keys = maps.Clone(v.keys)
	v.keys[id] = k
	return json.Marshal(k)
}

func (s *system) applyGrant(id string, f map[string]string) ([]byte, error) {
	var n [3]uint64
	for i, name := range []string{"units", "limit", "expires"} {
		var err error
		if n[i], err = parseUnits(f[name]); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &budget{Logs: map[string]uint64{}, Back: map[string]uint64{}}
	if old := s.byID[id]; old != nil {
		b = old.clone()
	}
	b.Limit, b.Expires = n[1], int64(n[2])
	b.Logs[f["log"]] += n[0]
	s.byID[id] = b
	return json.Marshal(b)
}

func (s *system) applyTakenBack(id string, f map[string]string) ([]byte, error) {
	units, err := parseUnits(f["units"])
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byID[id]
	if old == nil {
		return nil, nil // expired, and left out when the view was loaded
	}
	b := old.clone()
	b.Back[f["log"]] = max(b.Back[f["log"]], min(units, b.Logs[f["log"]]))
	s.byID[id] = b
	return json.Marshal(b)
}

func (s *system) applyRows(file string, f map[string]string) ([]byte, error) {
	rows, err := parseUnits(f["rows"])
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &imported{Aggregate: f["aggregate"], Ranges: f["ranges"], Rows: rows}
	s.rows[file] = r
	return json.Marshal(r)
}

// granted is what the log was granted of the token so far, handed back or not, and what of its limit no log holds.
func (s *system) granted(c *token.Claims, log string) (here, left uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.byID[c.ID]
	if b == nil {
		return 0, c.Limit
	}
	return b.Logs[log], c.Limit - min(c.Limit, b.out())
}

// holders are the logs other than but that hold units of the token, with what was taken back from each so far.
func (s *system) holders(tokenID, but string) map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]uint64)
	if b := s.byID[tokenID]; b != nil {
		for log, granted := range b.Logs {
			if back := b.Back[log]; log != but && granted > back {
				out[log] = back
			}
		}
	}
	return out
}

// Key is the auth key with that public id; it makes system the token.Keys of the process.
func (s *system) Key(publicID string) (token.Key, bool) {
	k, ok := s.now.Load().keys[publicID]
	return k, ok
}

func (s *system) schemaOf(aggregateType string) *schema.Schema {
	return s.now.Load().schemaOf(aggregateType)
}

// deletes reports whether an event type ended its aggregate under the schema version that an event names.
func (s *system) deletes(aggregateType string, e *event.Event) bool {
	t := s.now.Load().schemas[aggregateType]
	if t == nil || e.SchemaVersion == 0 || e.SchemaVersion > uint64(len(t.compiled)) {
		return false
	}
	return t.compiled[e.SchemaVersion-1].Events[e.Type].Deletes
}

func fieldsOf(e *event.Event) (map[string]string, error) {
	fields, err := event.DecodePayload(e.Payload)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(fields))
	for _, f := range fields {
		m[f.Name] = f.Value
	}
	return m, nil
}

func parseUnits(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseUint(s, 10, 64)
}
