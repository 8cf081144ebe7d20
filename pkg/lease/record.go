package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
)

// recordVersion is the version of every record (docs/spec/subjects.md). It only goes up.
const recordVersion = 1

// memberRecord says that a process lives.
type memberRecord struct {
	V           int      `json:"v"`
	Incarnation string   `json:"incarnation"` // random at each start, and whenever the record was found deleted
	Beat        uint64   `json:"beat"`        // raised by every renewal
	Name        string   `json:"name"`
	Host        string   `json:"host"`
	PID         int      `json:"pid"`
	Version     string   `json:"version"`
	Logs        []string `json:"logs"`           // that it follows and may lead
	Full        bool     `json:"full,omitempty"` // it has no room: Logs is empty, so that who does not know this gives it none
}

// logRecord is the lease of one log.
type logRecord struct {
	V           int    `json:"v"`
	Owner       string `json:"owner"` // member id; empty: free
	Incarnation string `json:"incarnation"`
	Generation  uint64 `json:"generation"`
	Group       string `json:"group"`
	State       State  `json:"state"`
	Successor   string `json:"successor,omitempty"`
	Epoch       uint64 `json:"epoch"`
	Resigned    string `json:"resigned,omitempty"` // incarnation of the member that gave it to this one on request
}

func memberKey(site, id string) string { return site + ".member." + id }

func logKey(site, log string) string { return site + ".log." + log }

// parseKey gives what a key is about; both are empty for a key of another site or kind.
func parseKey(site, key string) (member, log string) {
	rest, ok := strings.CutPrefix(key, site+".")
	if !ok {
		return "", ""
	}
	if id, ok := strings.CutPrefix(rest, "member."); ok && memberID.MatchString(id) {
		return id, ""
	}
	if name, ok := strings.CutPrefix(rest, "log."); ok && event.CheckLog(name) == nil {
		return "", name
	}
	return "", ""
}

// token is what may stand in a record as a random name; a group becomes part of a NATS subscription.
var token = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func decodeMember(value []byte) (r memberRecord, err error) {
	if err := decode(value, &r); err != nil {
		return memberRecord{}, err
	}
	if !token.MatchString(r.Incarnation) {
		return memberRecord{}, fmt.Errorf("incarnation %.80q", r.Incarnation)
	}
	return r, nil
}

func decodeLog(value []byte) (r logRecord, err error) {
	if err := decode(value, &r); err != nil {
		return logRecord{}, err
	}
	switch {
	case r.State == Free && r.Owner == "":
		return r, nil
	case r.State != Taking && r.State != Serving && r.State != Leaving:
		err = fmt.Errorf("state %.80q", r.State)
	case !memberID.MatchString(r.Owner):
		err = fmt.Errorf("owner %.80q", r.Owner)
	case !token.MatchString(r.Incarnation) || !token.MatchString(r.Group):
		err = fmt.Errorf("incarnation %.80q, group %.80q", r.Incarnation, r.Group)
	}
	if err != nil {
		return logRecord{}, err
	}
	return r, nil
}

// decode looks at the version first: what else a newer record holds is not ours to judge.
func decode(value []byte, record any) error {
	var version struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(value, &version); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	switch {
	case version.V == nil || *version.V < 1:
		return errors.New("decode record: it has no version")
	case *version.V > recordVersion:
		return fmt.Errorf("%w: %d, this program knows %d", ErrNewer, *version.V, recordVersion)
	}
	if err := json.Unmarshal(value, record); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	return nil
}

// encode writes a record of plain strings and numbers, which JSON always can.
func encode(record any) []byte {
	b, err := json.Marshal(record)
	if err != nil {
		return nil // no such record; an empty value is refused by who reads it
	}
	return b
}
