package writer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Keys are the auth keys of the site by public id. They are known once the Writer is ready.
func (w *Writer) Keys() []token.Key {
	v := w.sys.now.Load()
	out := make([]token.Key, 0, len(v.keys))
	for _, id := range slices.Sorted(maps.Keys(v.keys)) {
		out = append(out, v.keys[id])
	}
	return out
}

// AddKey records a new auth key. The caller has checked that the operator signed for it; behind Confirm its tokens are known wherever commands are decided.
func (w *Writer) AddKey(ctx context.Context, operator string, k token.Key) *problem.Problem {
	_, p := w.act(ctx, w.system, Operator(operator), func(*submission) ([]aggregate.Change, *problem.Problem) {
		if _, known := w.sys.Key(k.ID); known {
			return nil, problem.New(problem.Conflict, "auth key %s exists already", k.ID)
		}
		if p := namesake(w.Keys(), k); p != nil {
			return nil, p
		}
		return oneEvent(typeKey, k.ID, eventKeyAdded, k.Fields()), nil
	})
	return p
}

// namesake refuses the name of another auth key that is not revoked.
func namesake(keys []token.Key, k token.Key) *problem.Problem {
	for _, other := range keys {
		if other.Name == k.Name && other.ID != k.ID && !other.Revoked {
			return problem.New(problem.Conflict, "the auth key %s has the name %q already", other.ID, k.Name).
				WithHint("give another one with --name: names are how people tell auth keys apart; that of a revoked one is free")
		}
	}
	return nil
}

// RevokeKey ends an auth key and every token that it signed, for ever. Who may is as for RevokeToken.
func (w *Writer) RevokeKey(ctx context.Context, by *token.Claims, id string) (Revoked, *problem.Problem) {
	answer := Revoked{ID: id}
	p := w.actBy(ctx, by, func(*submission) ([]aggregate.Change, *problem.Problem) {
		k, known := w.sys.Key(id)
		switch {
		case !mayEnd(by, id):
			return nil, mayNotEnd(by, "auth key "+id)
		case !known:
			return nil, unknownKey(id)
		case k.Revoked:
			answer.Repeated = true
			return nil, nil
		}
		return oneEvent(typeKey, id, eventKeyRevoked, map[string]string{"ended": endedRevoked}), nil
	})
	if p != nil {
		return Revoked{}, p // the act may still be decided: answer is not ours to read
	}
	return answer, nil
}

func unknownKey(id string) *problem.Problem {
	return problem.New(problem.NotFound, "there is no auth key %.80q", id).WithHint("`eventful token:list --kek` shows the auth keys")
}

// KeyInfo is what is recorded of an auth key.
type KeyInfo struct {
	ID            string   `json:"id"`
	State         string   `json:"state"` // active or revoked
	Name          string   `json:"name"`
	Aggregates    []string `json:"aggregates"`
	Actions       []string `json:"actions"`
	MaxLimit      uint64   `json:"max-limit"`
	MaxExpiration uint64   `json:"max-expiration"` // seconds
	Version       uint64   `json:"version"`        // of the record, which an update names
	Issued        string   `json:"issued"`         // RFC 3339

	newest event.Link
}

// KeyInfo shows an auth key; not_found if there is none with that id.
func (w *Writer) KeyInfo(ctx context.Context, id string) (KeyInfo, *problem.Problem) {
	keys, p := w.keyInfos(ctx, func(k token.Key) bool { return k.ID == id })
	if p == nil && len(keys) == 0 {
		p = unknownKey(id)
	}
	if p != nil {
		return KeyInfo{}, p
	}
	return keys[0], nil
}

// KeyPage is a part of the list of auth keys, by public id.
type KeyPage struct {
	Keys   []KeyInfo `json:"keys"`
	Cursor string    `json:"cursor"` // of the next page; empty: this is the last
}

// ListKeys lists auth keys as Tokens lists tokens; the cursor is the public id of the last one before.
func (w *Writer) ListKeys(ctx context.Context, f TokenFilter) (KeyPage, *problem.Problem) {
	found := 0
	keys, p := w.keyInfos(ctx, func(k token.Key) bool {
		if k.ID <= f.Cursor || found > f.Take || f.Issuer != "" && k.ID != f.Issuer || f.Active != nil && *f.Active == k.Revoked {
			return false
		}
		found++
		return true
	})
	page := KeyPage{Keys: keys}
	if p == nil && len(keys) > f.Take {
		page.Keys = keys[:f.Take]
		page.Cursor = page.Keys[f.Take-1].ID
	}
	return page, p
}

func (w *Writer) keyInfos(ctx context.Context, fits func(token.Key) bool) ([]KeyInfo, *problem.Problem) {
	out := []KeyInfo{}
	_, p := w.act(ctx, w.system, nil, func(*submission) ([]aggregate.Change, *problem.Problem) {
		for _, k := range w.Keys() {
			if !fits(k) {
				continue
			}
			h, err := w.system.head(event.AggregateID{Type: typeKey, ID: k.ID})
			if err != nil {
				return nil, unreadableRecord(err)
			}
			i := KeyInfo{ID: k.ID, State: TokenActive, Name: k.Name, Aggregates: k.Aggregates, Actions: []string{}, MaxLimit: k.MaxLimit,
				MaxExpiration: uint64(k.MaxExpiration / time.Second), Version: uint64(h.version), newest: h.link}
			if k.Revoked {
				i.State = TokenRevoked
			}
			for _, a := range k.Actions {
				i.Actions = append(i.Actions, string(a))
			}
			out = append(out, i)
		}
		return nil, nil
	})
	if p != nil {
		return nil, p // the act may still be decided: out is not ours to read
	}
	for i := range out {
		if out[i].Issued, p = w.begun(ctx, out[i].newest); p != nil {
			return nil, p
		}
	}
	return out, nil
}

// begun is the time of the first record of an aggregate of the system log, of which the newest is given.
func (w *Writer) begun(ctx context.Context, newest event.Link) (at string, p *problem.Problem) {
	_, p = w.system.recordOf(ctx, newest, func(r *Record) bool {
		at = r.Time
		return false // on to the one before
	})
	return at, p
}

// UpdateKey gives an auth key another name, other rights and ceilings. The caller has checked that the operator signed for it, for this version of the key's record. Behind Confirm
// tokens beyond them are refused.
func (w *Writer) UpdateKey(ctx context.Context, operator string, k token.Key, version uint64) *problem.Problem {
	return w.actBy(ctx, Operator(operator), func(*submission) ([]aggregate.Change, *problem.Problem) {
		old, known := w.sys.Key(k.ID)
		if !known {
			return nil, unknownKey(k.ID)
		}
		h, err := w.system.head(event.AggregateID{Type: typeKey, ID: k.ID})
		switch {
		case err != nil:
			return nil, unreadableRecord(err)
		case old.Revoked:
			return nil, problem.New(problem.Conflict, "auth key %s is revoked", k.ID).WithHint("make another one: `eventful token:generate --master-key --auth-key`")
		case maps.Equal(old.Fields(), k.Fields()):
			return nil, nil
		case uint64(h.version) != version:
			return nil, problem.New(problem.Conflict, "auth key %s was changed meanwhile: its record has version %d, not %d", k.ID, h.version, version).WithHint("look at it with token:show, and begin again")
		}
		if p := namesake(w.Keys(), k); p != nil && k.Name != old.Name { // of before this rule there may be two
			return nil, p
		}
		return oneEvent(typeKey, k.ID, eventKeyUpdate, k.Fields()), nil
	})
}
