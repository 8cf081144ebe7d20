package token

import (
	"strings"
	"sync"
	"time"
)

// Cache is Verify with a memory: a token that passed is known by its whole text and checked again only for its times and for being ended. It holds accepted tokens
// only, at most the size it was made with. Claims that it returns are shared and must not be changed. Safe for concurrent use.
type Cache struct {
	keys Keys
	half int

	mu         sync.RWMutex // guards the rest
	young, old map[string]*Claims
	generation uint64 // counts Forget, so that a check that began before it is not kept
}

// NewCache makes a cache for at most size tokens, at least 2.
func NewCache(keys Keys, size int) *Cache {
	c := &Cache{keys: keys, half: max(size/2, 1)}
	c.Forget()
	return c
}

// Verify is the function Verify, with the answer kept. Expiry is checked in each call.
func (c *Cache) Verify(token string, now time.Time) (*Claims, error) {
	if len(token) > MaxSize {
		return Verify(token, now, c.keys)
	}
	claims, isOld, generation := c.look(token)
	if claims != nil {
		if p := claims.checkTimes(now); p != nil {
			return nil, p
		}
		if c.keys.Ended(claims.ID) {
			return nil, claims.ended()
		}
		if isOld {
			c.keep(token, claims, generation)
		}
		return claims, nil
	}
	claims, err := Verify(token, now, c.keys)
	if err != nil {
		return nil, err
	}
	c.keep(token, claims, generation)
	return claims, nil
}

// Forget drops everything; it is called whenever an auth key was added, changed or revoked, after Keys knows of it.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young, c.old = make(map[string]*Claims), nil
	c.generation++
}

func (c *Cache) look(token string) (claims *Claims, isOld bool, generation uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if claims = c.young[token]; claims != nil {
		return claims, false, c.generation
	}
	claims = c.old[token]
	return claims, claims != nil, c.generation
}

// keep puts the claims among the young; when those are half the size, they become the old ones and the former old ones are dropped.
func (c *Cache) keep(token string, claims *Claims, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.generation {
		return
	}
	if len(c.young) >= c.half {
		c.old, c.young = c.young, make(map[string]*Claims)
	}
	c.young[strings.Clone(token)] = claims // not the message that it came in
}
