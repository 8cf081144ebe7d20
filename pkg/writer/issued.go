package writer

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// Keys of the state of the system log that say which tokens were issued.
const (
	keyIssued   = "t/" // + place: the record; the order of issue is the order of keys
	keyIssuedAt = "i/" // + token id: place
	keyUser     = "n/" // + user: id of the first token that was recorded of it
)

// issuedToken is what was recorded when a token was issued.
type issuedToken struct {
	ID          string   `json:"id"`
	Actor       string   `json:"actor"`
	Issuer      string   `json:"issuer"`
	User        string   `json:"user,omitempty"` // empty: recorded by an earlier version
	Issued      int64    `json:"issued"`         // Unix seconds; of the record, where an earlier version made it
	Expires     int64    `json:"expires"`
	Limit       uint64   `json:"limit"`
	Aggregates  []string `json:"aggregates"`
	Actions     []string `json:"actions"`
	Only        []string `json:"only,omitempty"`
	Predecessor string   `json:"predecessor,omitempty"`
}

// placeOf is where a commit stands in the list of issued tokens.
func placeOf(sequence uint64, index int) string {
	b := binary.BigEndian.AppendUint64(nil, sequence)
	return hex.EncodeToString(binary.BigEndian.AppendUint32(b, uint32(index)))
}

// applyIssued takes in token-issued.
func (s *system) applyIssued(kept map[string][]byte, c *event.Commit, f map[string]string, place string) error {
	id := c.Aggregate.ID
	t := issuedToken{
		ID: id, Actor: f["identifiertype"] + ":" + f["identifierid"], Issuer: f["issuer"], User: f["user"], Predecessor: f["predecessor"],
		Aggregates: strings.Fields(f["aggregates"]), Actions: strings.Fields(f["actions"]), Issued: int64(c.Time) / 1e9,
	}
	if f["only"] != "" {
		t.Only = strings.Split(f["only"], "\n")
	}
	var numbers [3]uint64
	for i, name := range []string{"expires", "limit", "issued"} {
		var err error
		if numbers[i], err = parseUnits(f[name]); err != nil {
			return err
		}
	}
	t.Expires, t.Limit = int64(numbers[0]), numbers[1]
	if numbers[2] > 0 {
		t.Issued = int64(numbers[2])
	}
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	kept[keyIssued+place], kept[keyIssuedAt+id] = value, []byte(place)
	if t.User != "" {
		kept[keyUser+t.User] = []byte(id)
	}
	return s.applySuccessor(kept, t)
}

// applySuccessor notes in the record of an ended token which one took its place.
func (s *system) applySuccessor(kept map[string][]byte, t issuedToken) error {
	old := s.endedAs(t.Predecessor)
	if t.Predecessor == "" || old == nil {
		return nil
	}
	next := *old
	next.Successor = t.ID
	value, err := s.setEnded(t.Predecessor, &next)
	kept[keySystem+keyEnded+"/"+t.Predecessor] = value
	return err
}

// lagging is what a block of the system log changes in the state, while the state lags behind.
type lagging struct {
	sequence uint64
	kept     map[string][]byte
}

// keepRecent notes what an acknowledged block changes, and drops what the state has.
func (e *engine) keepRecent(sequence uint64, kept map[string][]byte) {
	applied, old := e.applied.Load(), 0
	for old < len(e.recent) && e.recent[old].sequence <= applied {
		old++
	}
	e.recent = e.recent[old:]
	if len(kept) > 0 {
		e.recent = append(e.recent, lagging{sequence, kept})
	}
}

// kept reads a value of the system log's view, as of the newest block that is on disk; nil: there is none. It is for acts: on the engine's goroutine.
func (e *engine) kept(key string) ([]byte, error) {
	for i := len(e.recent) - 1; i >= 0; i-- {
		if v, ok := e.recent[i].kept[key]; ok {
			return v, nil
		}
	}
	v, err := e.st.store.Get([]byte(key))
	if isNotFound(err) {
		return nil, nil
	}
	return v, err
}

// issued is the record of a token; nil: it was never recorded.
func (e *engine) issued(tokenID string) (*issuedToken, error) {
	place, err := e.kept(keyIssuedAt + tokenID)
	if err != nil || place == nil {
		return nil, err
	}
	value, err := e.kept(keyIssued + string(place))
	if err != nil {
		return nil, err
	}
	t := &issuedToken{}
	if err := json.Unmarshal(value, t); err != nil {
		return nil, fmt.Errorf("record of token %.80s: %w", tokenID, errors.Join(err, statestore.ErrDoubted))
	}
	return t, nil
}
