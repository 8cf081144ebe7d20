package writer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// maxTaken is how many values of unique fields one pass of a check keeps in memory; a rollback that takes more is gone through several times, each time for a part
// of the values.
const maxTaken = 1 << 18

// rollUnique finds values of unique fields that two aggregates would hold behind a rollback.
type rollUnique struct {
	parts, part uint64
	taken       map[[16]byte]event.AggregateID
	overflow    bool
}

// begin prepares a pass.
func (u *rollUnique) begin() {
	u.parts = max(u.parts, 1)
	u.taken, u.overflow = make(map[[16]byte]event.AggregateID), false
}

// first reports whether this is the pass that tells what changes.
func (u *rollUnique) first() bool { return u.part == 0 }

// passed ends a pass; true: there is no other one.
func (u *rollUnique) passed() bool {
	if u.overflow {
		u.parts, u.part = 2*u.parts, 0
		return false
	}
	u.part++
	return u.part >= u.parts
}

// take notes that an aggregate will hold a value, and names another one that will hold it too.
func (u *rollUnique) take(key string, a event.AggregateID) (other event.AggregateID, twice bool) {
	sum := sha256.Sum256([]byte(key))
	if binary.BigEndian.Uint64(sum[16:])%u.parts != u.part || u.overflow {
		return other, false
	}
	short := [16]byte(sum[:16])
	if other, twice = u.taken[short]; twice && other != a {
		return other, true
	}
	u.taken[short] = a
	u.overflow = len(u.taken) > maxTaken
	return other, false
}

// wanted is a value that an aggregate takes, and who holds it now.
type wanted struct {
	by         event.AggregateID
	key, field string
	holders    []string
}

// checkUnique refuses values that two aggregates would hold.
func (j *rollJob) checkUnique(ctx context.Context, restores []restored) *problem.Problem {
	all, p := j.wants(ctx, restores)
	if p != nil {
		return p
	}
	for _, w := range all {
		if other, twice := j.uniq.take(w.key, w.by); twice {
			j.refuse(standsTwice(w, other))
		}
		for _, id := range w.holders {
			other := event.AggregateID{Type: w.by.Type, ID: id}
			if other == w.by || !j.uniq.first() {
				continue
			}
			gives, p := j.givesUp(ctx, other, w.key)
			if p != nil {
				return p
			}
			if !gives {
				j.refuse(standsTwice(w, other))
			}
		}
	}
	return nil
}

func standsTwice(w wanted, other event.AggregateID) *problem.Problem {
	return aboutField(problem.Conflict, w.field, "%s and %s would hold the same value of the unique field %q", w.by, other, w.field).
		WithHint("change or unset it in one of them first, or roll both back")
}

// wants works out what aggregates take of unique fields.
func (j *rollJob) wants(ctx context.Context, restores []restored) ([]wanted, *problem.Problem) {
	var all []wanted
	_, p := j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
		for i := range restores {
			r := &restores[i].restoring
			if len(j.e.unique[r.aggregate.Type]) == 0 {
				continue
			}
			h, err := j.e.head(r.aggregate)
			if err != nil {
				return nil, problem.New(problem.Unavailable, "log %s: its state cannot be read: %v", j.e.name, err)
			}
			_, claims := j.e.heldBehind(r, h)
			for _, c := range claims {
				if c.owner == "" {
					continue
				}
				holders, err := j.e.holders(c.key)
				if err != nil {
					return nil, problem.New(problem.Unavailable, "log %s: its state cannot be read: %v", j.e.name, err)
				}
				all = append(all, wanted{by: r.aggregate, key: c.key, field: c.field, holders: holders})
			}
		}
		return nil, nil
	})
	if p != nil {
		return nil, p // the act may still be decided: what it writes is not ours to read
	}
	return all, nil
}

// holders are the ids of the aggregates that hold a unique value now.
func (e *engine) holders(key string) ([]string, error) {
	holders, ok := e.over.unique.get(key)
	if !ok {
		var err error
		if holders, err = e.st.holders(key); err != nil {
			return nil, err
		}
	}
	if holders == "" {
		return nil, nil
	}
	return strings.Split(holders, holderSeparator), nil
}

// givesUp reports whether an aggregate will not hold a value any more behind the rollback.
func (j *rollJob) givesUp(ctx context.Context, a event.AggregateID, key string) (bool, *problem.Problem) {
	if !j.call.Scope.Has(a) {
		return false, nil
	}
	found, p := j.heads(ctx, []event.AggregateID{a})
	if p != nil {
		return false, p
	}
	restores, p := j.restores(ctx, found, false)
	if p != nil || len(restores) == 0 {
		return false, p
	}
	gives := false
	_, p = j.act(ctx, func(*submission) ([]aggregate.Change, *problem.Problem) {
		_, claims := j.e.heldBehind(&restores[0].restoring, found[0].head)
		for _, c := range claims {
			gives = gives || c.owner == "" && c.key == key
		}
		return nil, nil
	})
	if p != nil {
		return false, p // the act may still be decided: what it writes is not ours to read
	}
	return gives, nil
}
