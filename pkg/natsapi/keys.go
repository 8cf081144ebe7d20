package natsapi

import (
	"context"
	"errors"
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
)

// projectedKeys checks tokens in a process that has a projector and no writer: the auth keys come from the index of the system log. For a key that it does not
// have, the index is first brought up to the log, within keyTimeout.
type projectedKeys struct {
	projector *projector.Projector
	cache     *token.Cache
}

func newProjectedKeys(p *projector.Projector) *projectedKeys {
	k := &projectedKeys{projector: p}
	k.cache = token.NewCache(k, projectedTokens)
	return k
}

// Authenticate checks a token.
func (k *projectedKeys) Authenticate(jwt string) (*token.Claims, error) {
	return k.cache.Verify(jwt, time.Now())
}

// Key is the auth key with that public id, as the system log has it.
func (k *projectedKeys) Key(publicID string) (token.Key, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), keyTimeout)
	defer cancel()
	key := event.AggregateID{Type: schema.SystemKey, ID: publicID}
	state, err := k.projector.Get(ctx, key, 0)
	if errors.Is(err, &problem.Problem{Code: problem.NotFound}) && k.projector.WaitForLatest(ctx, event.Reserved) == nil {
		state, err = k.projector.Get(ctx, key, 0)
	}
	if err != nil || state.Deleted {
		return token.Key{}, false
	}
	found, err := token.KeyOf(publicID, state.Fields)
	return found, err == nil
}
