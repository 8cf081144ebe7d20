package writer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Records of rollbacks (docs/spec/commands.md, section 13).
const (
	typeRollback    = schema.SystemRollback    // in the system log
	typeRollbackLog = schema.SystemRollbackLog // in each log that is rolled back
	eventAsked      = "rollback-asked"
	eventRolledBack = "rollback-done"
	eventBegin      = "rollback-begin"
	eventEnd        = "rollback-end"
)

// Scope is what a rollback is about: one aggregate, a type, or with neither every type.
type Scope struct {
	Type string `json:"type,omitempty"`
	ID   string `json:"id,omitempty"`
}

// Has reports whether an aggregate is of the scope. What belongs to EventfulDB itself never is.
func (s Scope) Has(a event.AggregateID) bool {
	return !event.IsReserved(a.Type) && (s.Type == "" || s.Type == a.Type) && (s.ID == "" || s.ID == a.ID)
}

// String names the scope for people.
func (s Scope) String() string {
	switch {
	case s.Type == "":
		return "every aggregate"
	case s.ID == "":
		return "every aggregate of type " + s.Type
	}
	return s.Type + "/" + s.ID
}

// cut says which commits of a log a rollback undoes: that at Sequence and Index and all behind it. The zero value is before the first.
type cut struct {
	Sequence uint64 `json:"sequence"`
	Index    uint32 `json:"index"`
}

func (c cut) undoes(l event.Link) bool {
	return l.Sequence > c.Sequence || l.Sequence == c.Sequence && l.Index >= c.Index
}

func (c cut) String() string { return fmt.Sprintf("%d/%d", c.Sequence, c.Index) }

func parseCut(s string) (c cut, err error) {
	sequence, index, _ := strings.Cut(s, "/")
	if c.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil {
		return c, err
	}
	i, err := strconv.ParseUint(index, 10, 32)
	c.Index = uint32(i)
	return c, err
}

// rolling is a rollback that was asked for and is not done.
type rolling struct {
	ID     string         `json:"id"`
	Scope  Scope          `json:"scope"`
	Before string         `json:"before,omitempty"` // as it was asked
	To     event.Version  `json:"to,omitempty"`     // of one aggregate, instead of cuts
	Cuts   map[string]cut `json:"cuts,omitempty"`   // by log
	By     token.Claims   `json:"by"`               // who asked: actor, token id and issuer
	Done   bool           `json:"done,omitempty"`
}

// logs are those that it is about, by name.
func (r *rolling) logs(v *view) []string {
	if r.Scope.Type != "" {
		if s := v.schemaOf(r.Scope.Type); s != nil {
			return []string{logOf(s)}
		}
	}
	return v.logs()
}

// cutsText is how cuts are stored.
func cutsText(cuts map[string]cut) string {
	var lines []string
	for log, c := range cuts {
		lines = append(lines, log+" "+c.String())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func parseCuts(s string) (map[string]cut, error) {
	if s == "" {
		return nil, nil
	}
	out := make(map[string]cut)
	for line := range strings.SplitSeq(s, "\n") {
		log, at, _ := strings.Cut(line, " ")
		c, err := parseCut(at)
		if err != nil {
			return nil, fmt.Errorf("cut %.80q: %w", line, err)
		}
		out[log] = c
	}
	return out, nil
}

// claimsOf are those of who stored a commit, as far as further commits name him.
func claimsOf(c *event.Commit) token.Claims {
	kind, id, _ := strings.Cut(c.Actor, ":")
	return token.Claims{ID: c.TokenID, Issuer: c.Issuer, IdentifierType: kind, IdentifierID: id}
}

// applyRollback takes in a record of a rollback.
func (s *system) applyRollback(v *view, c *event.Commit, eventType string, f map[string]string) ([]byte, error) {
	id := c.Aggregate.ID
	v.rollbacks = slices.DeleteFunc(slices.Clone(v.rollbacks), func(r *rolling) bool { return r.ID == id })
	if eventType == eventRolledBack {
		return json.Marshal(rolling{ID: id, Done: true})
	}
	to, err := parseUnits(f["to"])
	if err != nil {
		return nil, err
	}
	cuts, err := parseCuts(f["cuts"])
	if err != nil {
		return nil, err
	}
	r := &rolling{ID: id, Scope: Scope{Type: f["type"], ID: f["id"]}, Before: f["before"], To: event.Version(to), Cuts: cuts, By: claimsOf(c)}
	v.rollbacks = append(v.rollbacks, r)
	return json.Marshal(r)
}

// loadRollback takes one up from the state.
func loadRollback(v *view, value []byte) error {
	r := &rolling{}
	err := json.Unmarshal(value, r)
	if err == nil && !r.Done {
		v.rollbacks = append(v.rollbacks, r)
	}
	return err
}

// rolling is the rollback under way that holds a command up; nil: none does.
func (v *view) rolling(s *submission) *rolling {
	for _, r := range v.rollbacks {
		for i := range s.command.Changes {
			if r.Scope.Has(s.command.Changes[i].Aggregate) {
				return r
			}
		}
	}
	return nil
}

// underRollback refuses a command about what is being rolled back: nothing of it is stored, and it may be sent again.
func underRollback(r *rolling) *problem.Problem {
	return problem.New(problem.Unavailable, "%s is being rolled back (rollback %s); nothing was stored", r.Scope, short(r.ID)).
		WithHint("send it again when the rollback is done, with the same command id: `eventful audit:list` shows rollback-done")
}

func short(id string) string { return id[:min(len(id), 12)] }

// noRollback refuses what must not happen beside a rollback.
func (v *view) noRollback(what string) *problem.Problem {
	if len(v.rollbacks) == 0 {
		return nil
	}
	return problem.New(problem.Conflict, "%s is being rolled back (rollback %s), %s has to wait", v.rollbacks[0].Scope, short(v.rollbacks[0].ID), what).
		WithHint("try again when it is done: `eventful audit:list` shows rollback-done")
}
