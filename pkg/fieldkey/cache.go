package fieldkey

import (
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Bounds of the cache: each key has about 1 KiB.
const (
	maxCached  = 8192
	generation = 30 * time.Second // a key is kept for one generation at least and two at most
)

// cache keeps keys in two generations, so that none is kept for longer than a minute, and at most maxCached.
type cache struct {
	after func(time.Duration, func())

	mu         sync.Mutex // guards what follows
	young, old map[event.AggregateID]*Key
	dropped    uint64 // how often a key was dropped
	turning    bool   // a turn is due
}

func newCache(after func(time.Duration, func())) *cache {
	return &cache{after: after, young: map[event.AggregateID]*Key{}, old: map[event.AggregateID]*Key{}}
}

func (c *cache) get(a event.AggregateID) *Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.young[a]; k != nil {
		return k
	}
	return c.old[a]
}

// drops counts the keys that were dropped so far.
func (c *cache) drops() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// put keeps a key that was read when dropped keys had been dropped. If one was dropped since, it may be this one, and is not kept.
func (c *cache) put(a event.AggregateID, k *Key, dropped uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped != dropped {
		return
	}
	if len(c.young) >= maxCached/2 {
		c.old, c.young = c.young, map[event.AggregateID]*Key{}
	}
	c.young[a] = k
	if !c.turning {
		c.turning = true
		c.after(generation, c.turn)
	}
}

// turn ends a generation.
func (c *cache) turn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.old, c.young = c.young, map[event.AggregateID]*Key{}
	if c.turning = len(c.old) > 0; c.turning {
		c.after(generation, c.turn)
	}
}

func (c *cache) drop(a event.AggregateID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped++
	delete(c.young, a)
	delete(c.old, a)
}
