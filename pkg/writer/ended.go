package writer

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/token"
)

// keyEnded holds what the state keeps of an ended token, behind keySystem.
const keyEnded = "ended"

// Why a token was ended: the field ended of token-revoked.
const (
	endedRevoked   = "revoked"
	endedRefreshed = "refreshed"
)

// endedToken is a token that was ended before its time.
type endedToken struct {
	Why       string `json:"why"`
	User      string `json:"user,omitempty"` // whose connections the server cuts; empty: not known, or another token's too
	Issuer    string `json:"issuer"`
	Expires   int64  `json:"expires"` // Unix seconds
	At        uint64 `json:"at"`      // sequence of the block that says so
	Limit     uint64 `json:"limit"`   // its write budget
	Successor string `json:"successor,omitempty"`
}

// Ended reports whether the token was ended; with Key it makes system the token.Keys of the process.
func (s *system) Ended(tokenID string) bool {
	s.ending.RLock()
	defer s.ending.RUnlock()
	return s.ended[tokenID] != nil
}

// endedAs is what is known of an ended token, nil if it was not ended. It is not to be changed.
func (s *system) endedAs(tokenID string) *endedToken {
	s.ending.RLock()
	defer s.ending.RUnlock()
	return s.ended[tokenID]
}

func (s *system) setEnded(tokenID string, t *endedToken) ([]byte, error) {
	s.ending.Lock()
	defer s.ending.Unlock()
	s.ended[tokenID] = t
	return json.Marshal(t)
}

// applyEnded takes in token-revoked.
func (s *system) applyEnded(v *view, tokenID string, f map[string]string) ([]byte, error) {
	t := &endedToken{Why: f["ended"], User: f["user"], Issuer: f["issuer"], At: v.position.Sequence}
	expires, err := parseUnits(f["expires"])
	if err != nil {
		return nil, err
	}
	if t.Limit, err = parseUnits(f["limit"]); err != nil {
		return nil, err
	}
	t.Expires = int64(expires)
	v.rights++
	return s.setEnded(tokenID, t)
}

// loadEnded takes one up from the state, unless it expired long ago.
func (s *system) loadEnded(tokenID string, value []byte, now time.Time) error {
	t := &endedToken{}
	if err := json.Unmarshal(value, t); err != nil {
		return err
	}
	if t.Expires >= now.Add(-budgetKept).Unix() {
		_, err := s.setEnded(tokenID, t)
		return err
	}
	return nil
}

// pruneAbove is from how many ended tokens on those that expired long ago are looked for, each time that they have doubled.
const pruneAbove = 1024

// prune drops ended tokens that expired long before a block was written: they are refused for that.
func (s *system) prune(now time.Time) {
	s.ending.Lock()
	defer s.ending.Unlock()
	if len(s.ended) < max(pruneAbove, 2*s.pruned) {
		return
	}
	for id, t := range s.ended {
		if t.Expires < now.Add(-budgetKept).Unix() {
			delete(s.ended, id)
		}
	}
	s.pruned = len(s.ended)
}

// Recorded is what the system log says about the account APP.
func (w *Writer) Recorded() token.Recorded {
	type one struct {
		at uint64
		token.Revocation
	}
	var ended []one
	w.sys.ending.RLock()
	for _, t := range w.sys.ended {
		if t.User != "" {
			ended = append(ended, one{t.At, token.Revocation{User: t.User, Expires: time.Unix(t.Expires, 0)}})
		}
	}
	w.sys.ending.RUnlock()
	slices.SortFunc(ended, func(a, b one) int {
		if a.at != b.at {
			return int(a.at) - int(b.at)
		}
		return strings.Compare(a.User, b.User)
	})
	r := token.Recorded{Keys: w.Keys()}
	for _, t := range ended {
		r.Revoked = append(r.Revoked, t.Revocation)
	}
	return r
}

// AccountChanges gives a channel that is closed when auth keys or revocations may differ from those that Recorded gives now, or this process may have begun to
// write the system log. Take it before Recorded.
func (w *Writer) AccountChanges() <-chan struct{} {
	w.sys.mu.Lock()
	defer w.sys.mu.Unlock()
	return w.sys.moved
}

// LeadsSystem reports whether this process writes the system log.
func (w *Writer) LeadsSystem() bool { return w.sys.led.Load() }

// applyKeyChange takes in key-updated and key-revoked.
func applyKeyChange(v *view, id, eventType string, f map[string]string) ([]byte, error) {
	old := v.keys[id]
	k := old
	if k.ID = id; eventType == eventKeyRevoked {
		k.Revoked = true
	} else {
		var err error
		if k, err = token.KeyOf(id, f); err != nil {
			return nil, err
		}
		k.Revoked = old.Revoked
	}
	return setKey(v, k)
}
