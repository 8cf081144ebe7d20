package writer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/token"
)

// apply takes in a block of the system log and gives the keys and values that keep it in the state.
func (s *system) apply(b stored) (map[string][]byte, error) {
	v := &view{position: event.SystemPosition{Sequence: b.sequence, Block: b.header.ID}, epoch: b.header.Epoch, schemas: s.tip.schemas, keys: s.tip.keys, plugins: s.tip.plugins, rollbacks: s.tip.rollbacks, rights: s.tip.rights}
	kept := make(map[string][]byte)
	for i := range b.items {
		commit := b.items[i].commit
		for j := range commit.Events {
			fields, err := fieldsOf(&commit.Events[j])
			if err != nil {
				return nil, err
			}
			if commit.Events[j].Type == eventIssued {
				err = s.applyIssued(kept, commit, fields, placeOf(b.sequence, i))
			}
			key, value := keySystem+commit.Aggregate.Type+"/"+commit.Aggregate.ID, []byte(nil)
			switch {
			case err != nil:
			case commit.Aggregate.Type == typeRollback:
				value, err = s.applyRollback(v, commit, commit.Events[j].Type, fields)
			default:
				value, err = s.applyEvent(v, commit.Aggregate, commit.Events[j].Type, fields)
			}
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", commit.Events[j].Type, commit.Aggregate, err)
			}
			if commit.Events[j].Type == eventRevoked {
				key = keySystem + keyEnded + "/" + commit.Aggregate.ID
			}
			if value != nil {
				kept[key] = value
			}
		}
	}
	s.prune(time.Unix(0, int64(b.header.Time)))
	s.show(v)
	return kept, nil
}

func (s *system) applyEvent(v *view, a event.AggregateID, eventType string, f map[string]string) ([]byte, error) {
	switch eventType {
	case eventDrafted, eventDiscarded, eventMigrated:
		return applySchema(v, a.ID, eventType, f)
	case eventKeyAdded:
		return applyKey(v, a.ID, f)
	case eventKeyUpdate, eventKeyRevoked:
		return applyKeyChange(v, a.ID, eventType, f)
	case eventRevoked:
		return s.applyEnded(v, a.ID, f)
	case eventGranted:
		return s.applyGrant(a.ID, f)
	case eventTakenBack:
		return s.applyTakenBack(a.ID, f)
	case eventRowsDone:
		return s.applyRows(a.ID, f)
	case eventLogKeyMade:
		return s.applyLogKey(a.ID)
	}
	if a.Type == typePlugin {
		return applyPlugin(v, a.ID, eventType, f)
	}
	return nil, nil
}

func applySchema(v *view, aggregateType, eventType string, f map[string]string) ([]byte, error) {
	t := &typeState{}
	if old := v.schemas[aggregateType]; old != nil {
		*t = typeState{Versions: slices.Clone(old.Versions), Draft: old.Draft, compiled: slices.Clone(old.compiled), encrypted: maps.Clone(old.encrypted)}
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
	return setKey(v, k)
}

func setKey(v *view, k token.Key) ([]byte, error) {
	v.keys = maps.Clone(v.keys)
	v.keys[k.ID], v.rekeyed = k, true
	v.rights++
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
