package natsapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/schema"
	"github.com/eventfuldb/eventful/pkg/token"
)

const (
	projectedTokens = 4096 // checked tokens kept
	keyTimeout      = time.Second
	keyPause        = 20 * time.Millisecond
)

// projectedKeys checks tokens in a process that has a projector and no writer: auth keys and ended tokens come from the index of the system log. For a key that it does not
// have, the index is first brought up to the log, within keyTimeout.
type projectedKeys struct {
	projector *projector.Projector
	cache     *token.Cache
	unread    atomic.Uint64 // how often the index could not be read

	mu       sync.Mutex      // guards what follows
	keys     uint64          // changes of auth keys that the cache knows of
	ended    uint64          // how many tokens had been ended when those of standing were looked up
	standing map[string]bool // ids of tokens that were not
	waited   time.Time       // when the log was asked last for an auth key that the index does not have
}

func newProjectedKeys(p *projector.Projector) *projectedKeys {
	k := &projectedKeys{projector: p, standing: make(map[string]bool)}
	k.cache = token.NewCache(k, projectedTokens)
	return k
}

// Authenticate checks a token. While the index cannot be read no token is accepted, and none is called wrong: the problem is unavailable.
func (k *projectedKeys) Authenticate(jwt string) (*token.Claims, error) {
	k.mu.Lock()
	if keys, _ := k.projector.Rights(); keys != k.keys {
		k.cache.Forget()
		k.keys = keys
	}
	k.mu.Unlock()
	unread := k.unread.Load()
	claims, err := k.cache.Verify(jwt, time.Now())
	if err != nil && k.unread.Load() != unread {
		return nil, problem.New(problem.Unavailable, "the auth keys and ended tokens cannot be read now").WithHint("try again in a moment")
	}
	return claims, err
}

// Known reports whether the token passed before; it may have ended since.
func (k *projectedKeys) Known(jwt string) bool { return k.cache.Known(jwt) }

// Key is the auth key with that public id, as the system log has it.
func (k *projectedKeys) Key(publicID string) (token.Key, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	key := event.AggregateID{Type: schema.SystemKey, ID: publicID}
	state, err := k.projector.Get(ctx, key, projector.When{})
	if errors.Is(err, &problem.Problem{Code: problem.NotFound}) && k.mayWait(time.Now()) {
		if err = k.projector.WaitForLatest(ctx, event.Reserved); err == nil {
			state, err = k.projector.Get(ctx, key, projector.When{})
		}
	}
	if err != nil && !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		k.unread.Add(1)
	}
	if err != nil || state.Deleted {
		return token.Key{}, false
	}
	found, err := token.KeyOf(publicID, state.Fields)
	return found, err == nil
}

// mayWait reports whether the log may be asked for an auth key that the index does not have: so often, and no more, as anybody can name one.
func (k *projectedKeys) mayWait(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.waited) < keyPause {
		return false
	}
	k.waited = now
	return true
}

// Ended reports whether the token was ended, as the system log has it. While the index cannot be read it was.
func (k *projectedKeys) Ended(tokenID string) bool {
	_, ended := k.projector.Rights() // before looking
	if k.stands(tokenID, ended) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	state, err := k.projector.Get(ctx, event.AggregateID{Type: schema.SystemToken, ID: tokenID}, projector.When{})
	if err != nil && !errors.Is(err, &problem.Problem{Code: problem.NotFound}) {
		k.unread.Add(1)
		return true
	}
	if err == nil && state.Fields["ended"] != "" {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended == ended {
		k.standing[tokenID] = true
	}
	return false
}

// stands reports whether the token is known not to have been ended, so many having been.
func (k *projectedKeys) stands(tokenID string, ended uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ended != k.ended || len(k.standing) >= projectedTokens {
		clear(k.standing)
		k.ended = ended
	}
	return k.standing[tokenID]
}
