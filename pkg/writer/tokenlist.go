package writer

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
	"github.com/eventfuldb/eventful/pkg/token"
)

// States of a token, of an auth key the first and the third.
const (
	TokenActive    = "active"
	TokenExpired   = "expired"
	TokenRevoked   = "revoked"
	TokenRefreshed = "refreshed"
	TokenOrphaned  = "auth-key-revoked"
	TokenBeyond    = "beyond-auth-key" // its auth key has less rights or lower ceilings now
)

// TokenInfo is what is recorded of a token, and what became of it.
type TokenInfo struct {
	ID           string    `json:"id"`
	State        string    `json:"state"`
	Actor        string    `json:"actor"`
	Issuer       string    `json:"issuer"`
	Aggregates   []string  `json:"aggregates"`
	Actions      []string  `json:"actions"`
	AggregateIDs []string  `json:"aggregate-ids,omitempty"`
	Issued       time.Time `json:"issued"`
	Expires      time.Time `json:"expires"`
	Limit        uint64    `json:"limit"`
	Used         *uint64   `json:"used"` // events stored; nil: a log that was granted units of it did not answer
	Left         *uint64   `json:"left"` // 0 for a token that was ended
	Predecessor  string    `json:"predecessor,omitempty"`
	Successor    string    `json:"successor,omitempty"`
}

// TokenFilter says which tokens are listed.
type TokenFilter struct {
	Issuer string // public id of an auth key; empty: of all
	Active *bool  // nil: whether or not
	Take   int    // at most so many, 1 to 1000
	Cursor string // of an earlier page, to go on behind it
}

// TokenPage is a part of the list, in the order in which the tokens were recorded.
type TokenPage struct {
	Tokens []TokenInfo `json:"tokens"`
	Cursor string      `json:"cursor"`           // of the next page; empty: this is the last
	Silent []string    `json:"silent,omitempty"` // logs that did not say what they spent
}

// scanned bounds how many records are looked at in one go, while the system log waits.
const scanned = 2000

// Tokens lists recorded tokens. What they have used is asked from whoever writes the logs.
func (w *Writer) Tokens(ctx context.Context, f TokenFilter) (TokenPage, *problem.Problem) {
	page := TokenPage{Tokens: []TokenInfo{}}
	if f.Cursor != "" && (len(f.Cursor) != len(placeOf(0, 0)) || strings.Trim(f.Cursor, "0123456789abcdef") != "") {
		return page, problem.New(problem.Malformed, "%.80q is no cursor of a list of tokens", f.Cursor).WithHint("begin without one")
	}
	budgets := make(map[string]*budget)
	for more := true; more && len(page.Tokens) < f.Take; {
		found, next, p := w.scanTokens(ctx, f, f.Take-len(page.Tokens))
		if p != nil {
			return TokenPage{Tokens: []TokenInfo{}}, p
		}
		for _, t := range found {
			page.Tokens = append(page.Tokens, t.info)
			budgets[t.info.ID] = t.budget
		}
		f.Cursor, more = next, next != ""
	}
	page.Cursor = f.Cursor
	var used map[string]uint64
	used, page.Silent = w.used(ctx, budgets)
	for i := range page.Tokens {
		page.Tokens[i].count(used)
	}
	return page, nil
}

// Token shows one recorded token; not_found if there is none with that id.
func (w *Writer) Token(ctx context.Context, id string) (TokenInfo, *problem.Problem) {
	var found listed
	_, p := w.act(ctx, w.system, nil, func(*submission) ([]aggregate.Change, *problem.Problem) {
		t, err := w.system.issued(id)
		if err == nil && t == nil {
			return nil, problem.New(problem.NotFound, "no token %.80q is recorded", id).WithHint("`eventful token:list` shows the recorded ones")
		}
		if err == nil {
			found, err = w.listed(t)
		}
		if err != nil {
			return nil, unreadableRecord(err)
		}
		return nil, nil
	})
	if p != nil {
		return TokenInfo{}, p
	}
	used, _ := w.used(ctx, map[string]*budget{id: found.budget})
	found.info.count(used)
	return found.info, nil
}

// count fills in what was used.
func (t *TokenInfo) count(used map[string]uint64) {
	n, known := used[t.ID]
	if !known {
		return
	}
	t.Used, t.Left = &n, new(uint64)
	if t.State == TokenActive {
		*t.Left = t.Limit - min(t.Limit, n)
	}
}

// listed is a token of a page, with what the system log granted of it.
type listed struct {
	info   TokenInfo
	budget *budget
}

// scanTokens gives the next tokens that fit, and where to go on; empty: there are no more.
func (w *Writer) scanTokens(ctx context.Context, f TokenFilter, take int) ([]listed, string, *problem.Problem) {
	var found []listed
	var next string
	_, p := w.act(ctx, w.system, nil, func(*submission) ([]aggregate.Change, *problem.Problem) {
		seen, more := 0, false
		err := w.system.eachIssued(f.Cursor, func(place string, t *issuedToken) (bool, error) {
			if seen++; seen > scanned || len(found) == take {
				more = true
				return false, nil
			}
			if next = place; f.Issuer != "" && t.Issuer != f.Issuer {
				return true, nil
			}
			one, err := w.listed(t)
			if err == nil && (f.Active == nil || *f.Active == (one.info.State == TokenActive)) {
				found = append(found, one)
			}
			return err == nil, err
		})
		if err != nil {
			return nil, unreadableRecord(err)
		}
		if !more {
			next = ""
		}
		return nil, nil
	})
	if p != nil {
		return nil, "", p // the act may still be decided: what it writes is not ours to read
	}
	return found, next, nil
}

// eachIssued goes through the records behind a place until fn gives false: those that the stored state has, then those that only the log has. For acts.
func (e *engine) eachIssued(after string, fn func(place string, t *issuedToken) (bool, error)) (err error) {
	more := true
	visit := func(place string, value []byte) bool {
		t := &issuedToken{}
		if err = json.Unmarshal(value, t); err != nil {
			err = errors.Join(err, statestore.ErrDoubted)
			return false
		}
		after = place
		more, err = fn(place, t)
		return more && err == nil
	}
	var behind []byte
	if after != "" {
		behind = []byte(keyIssued + after)
	}
	failed := e.st.store.Scan([]byte(keyIssued), behind, func(k, value []byte) bool {
		return visit(strings.TrimPrefix(string(k), keyIssued), value)
	})
	if err := errors.Join(failed, err); err != nil || !more {
		return err
	}
	for _, r := range e.recent {
		var places []string
		for k := range r.kept {
			if place, ok := strings.CutPrefix(k, keyIssued); ok && place > after {
				places = append(places, place)
			}
		}
		slices.Sort(places)
		for _, place := range places {
			if !visit(place, r.kept[keyIssued+place]) {
				return err
			}
		}
	}
	return nil
}

// listed says what became of a token. For acts.
func (w *Writer) listed(t *issuedToken) (listed, error) {
	l := listed{budget: &budget{}, info: TokenInfo{
		ID: t.ID, Actor: t.Actor, Issuer: t.Issuer, Aggregates: t.Aggregates, Actions: t.Actions, AggregateIDs: t.Only, Predecessor: t.Predecessor,
		Issued: time.Unix(t.Issued, 0).UTC(), Expires: time.Unix(t.Expires, 0).UTC(), Limit: t.Limit,
	}}
	raw, err := w.system.kept(keySystem + typeToken + "/" + t.ID)
	if err == nil && raw != nil {
		err = json.Unmarshal(raw, l.budget)
	}
	if err != nil {
		return l, err
	}
	end := &endedToken{}
	if raw, err = w.system.kept(keySystem + keyEnded + "/" + t.ID); err == nil && raw != nil {
		err = json.Unmarshal(raw, end)
	}
	l.info.State, l.info.Successor = w.stateOf(t, end), end.Successor
	return l, err
}

func (w *Writer) stateOf(t *issuedToken, end *endedToken) string {
	key, known := w.sys.Key(t.Issuer)
	switch {
	case end.Why == endedRefreshed:
		return TokenRefreshed
	case end.Why != "":
		return TokenRevoked
	case !known || key.Revoked:
		return TokenOrphaned
	case t.Expires <= w.cfg.Now().Unix():
		return TokenExpired
	case t.claims().Recheck(w.sys) != nil:
		return TokenBeyond
	}
	return TokenActive
}

// claims are those of the token, as far as they are recorded.
func (t *issuedToken) claims() *token.Claims {
	c := &token.Claims{
		ID: t.ID, Issuer: t.Issuer, User: t.User, Aggregates: t.Aggregates, Limit: t.Limit, IssuedAt: time.Unix(t.Issued, 0).UTC(), Expires: time.Unix(t.Expires, 0).UTC(),
	}
	c.IdentifierType, c.IdentifierID, _ = strings.Cut(t.Actor, ":")
	for _, a := range t.Actions {
		c.Actions = append(c.Actions, token.Action(a))
	}
	for _, text := range t.Only {
		kind, id, _ := strings.Cut(text, "/")
		c.AggregateIDs = append(c.AggregateIDs, event.AggregateID{Type: kind, ID: id})
	}
	return c
}
