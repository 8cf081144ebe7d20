package writer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/registry"
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
	typePlugin = schema.SystemPlugin

	eventDrafted    = "schema-drafted"
	eventDiscarded  = "schema-discarded"
	eventMigrated   = "schema-migrated"
	eventKeyAdded   = "key-added"
	eventKeyUpdate  = "key-updated"
	eventKeyRevoked = "key-revoked"
	eventIssued     = "token-issued"
	eventRevoked    = "token-revoked"
	eventGranted    = "budget-granted"
	eventTakenBack  = "budget-taken-back"
	eventRowsDone   = "rows-done"

	typeBudget    = schema.SystemBudget // in each log, not in the system log
	eventReturned = "budget-returned"
)

// system is the view of the system log that every log of the process decides under. Schemas and keys are read without a lock; one goroutine, that of
// the system log's engine, changes it.
type system struct {
	now     atomic.Pointer[view]
	keys    *fieldkey.Keys // of encrypted fields; nil: there are none here
	tip     *view          // what the engine has read; it is shown as now unless that is newer: a log that is read again must not show an older view
	led     atomic.Bool    // this process writes the system log: nothing is in it that the view lacks
	keyed   func()         // called when the auth keys changed
	mu      sync.Mutex     // guards what follows
	changed chan struct{}  // closed at the next change of the view
	moved   chan struct{}  // closed when the account APP may have to change
	byID    map[string]*budget
	rows    map[string]*imported
	logKeys map[string]bool // public keys that sign checkpoints

	ending sync.RWMutex // guards what follows
	ended  map[string]*endedToken
	pruned int // how many there were when the old ones were dropped last
}

// view is immutable.
type view struct {
	position  event.SystemPosition
	epoch     uint64 // of the writer of its newest block
	schemas   map[string]*typeState
	keys      map[string]token.Key
	plugins   map[string]*registry.Plugin
	rekeyed   bool       // its keys may differ from those of the view before
	rollbacks []*rolling // not done, in the order in which they were asked for
	rights    uint64     // changes whenever an auth key or an ended token was taken in: what was authorised under another count is checked again
}

// typeState is a type's schema history. Versions[i] is version i+1; a draft waits for its migration.
type typeState struct {
	Versions []json.RawMessage `json:"versions"`
	Draft    json.RawMessage   `json:"draft,omitempty"`
	compiled []*schema.Schema

	encrypted map[string]bool // fields that are encrypted in one of the versions; nil: none
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

// check holds what every budget of this program keeps.
func (b *budget) check() error {
	if b.Logs == nil || b.Back == nil {
		return errors.New("a budget without counts")
	}
	for log, back := range b.Back {
		if back > b.Logs[log] {
			return fmt.Errorf("log %.80q handed back %d units of %d", log, back, b.Logs[log])
		}
	}
	return nil
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
	s := &system{
		byID: make(map[string]*budget), rows: make(map[string]*imported), logKeys: make(map[string]bool), ended: make(map[string]*endedToken),
		changed: make(chan struct{}), moved: make(chan struct{}), keyed: func() {},
	}
	s.tip = &view{schemas: map[string]*typeState{}, keys: map[string]token.Key{}, plugins: map[string]*registry.Plugin{}}
	s.now.Store(s.tip)
	return s
}

// show makes a view the present one, unless that is of a later place.
func (s *system) show(v *view) {
	old := s.now.Load()
	s.tip = v
	if v.position.Sequence < old.position.Sequence {
		return
	}
	s.now.Store(v)
	if v.rekeyed {
		s.keyed()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	if v.rights != old.rights {
		s.move()
	}
}

// move says that the account APP may have to change. s.mu is held.
func (s *system) move() {
	close(s.moved)
	s.moved = make(chan struct{})
}

// reset makes the view empty: the system log lost what it shows, and is read again.
func (s *system) reset() {
	v := &view{schemas: map[string]*typeState{}, keys: map[string]token.Key{}, plugins: map[string]*registry.Plugin{}, rekeyed: true, rights: s.tip.rights + 1}
	s.ending.Lock()
	clear(s.ended)
	s.ending.Unlock()
	s.now.Store(v)
	s.show(v)
}

// changes gives a channel that is closed at the next change of the view. Take it before looking.
func (s *system) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// await waits until the view has come to a sequence of the system log.
func (s *system) await(ctx context.Context, sequence uint64) error {
	for {
		changed := s.changes()
		if s.now.Load().position.Sequence >= sequence {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for sequence %d of the system log: %w", sequence, ctx.Err())
		}
	}
}

// lead notes whether this process writes the system log.
func (s *system) lead(e *engine, does bool) {
	if !e.isSystem() {
		return
	}
	s.led.Store(does)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.move()
}

// budgetKept is how long behind its expiry a budget is known at least: a writer that starts while its clock is ahead by less counts the token's events all the same
// when the clock is right again.
const budgetKept = 48 * time.Hour

// load takes the view from the system log's state, dropping what was there.
func (s *system) load(st *state, now time.Time) error {
	v := &view{schemas: map[string]*typeState{}, keys: map[string]token.Key{}, plugins: map[string]*registry.Plugin{}, rekeyed: true, rights: s.tip.rights + 1}
	v.position, v.epoch = event.SystemPosition{Sequence: st.meta.chain.At, Block: st.meta.chain.Block}, st.meta.chain.Epoch
	if err := s.loadAll(v, st, now); err != nil {
		return fmt.Errorf("load system view: %w", err)
	}
	s.show(v)
	return nil
}

func (s *system) loadAll(v *view, st *state, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.byID)
	clear(s.rows)
	clear(s.logKeys)
	var failed error
	err := st.store.Scan([]byte(keySystem), nil, func(k, value []byte) bool {
		kind, id, _ := strings.Cut(strings.TrimPrefix(string(k), keySystem), "/")
		failed = s.loadOne(v, kind, id, value, now)
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	return err
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
		if err = json.Unmarshal(value, b); err == nil {
			err = b.check()
		}
		if err == nil && b.Expires >= now.Add(-budgetKept).Unix() {
			s.byID[id] = b
		}
	case keyEnded:
		err = s.loadEnded(id, value, now)
	case typeRollback:
		err = loadRollback(v, value)
	case schema.SystemLogKey:
		s.logKeys[id] = true
	case typePlugin:
		p := &registry.Plugin{}
		err = json.Unmarshal(value, p)
		v.plugins[id] = p
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
		for _, f := range c.EncryptedFields() {
			if t.encrypted == nil {
				t.encrypted = make(map[string]bool)
			}
			t.encrypted[f] = true
		}
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
	if aggregate.IsRollback(e) {
		return aggregate.EndsByRollback(e)
	}
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
