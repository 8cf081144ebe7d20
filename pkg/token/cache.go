package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// Cache is Verify with a memory: a token that was checked is known by its whole text, one that failed by its digest, and checked again only for its times and for being ended. It bounds
// how many wrong ones it checks (docs/spec/tokens.md, section 9): beyond that they are refused as unavailable. It holds at most the size it was made with of each kind.
// Claims that it returns are shared and must not be changed. Safe for concurrent use.
type Cache struct {
	keys   Keys
	limits *limits

	mu         sync.RWMutex // guards the rest
	half       int
	young, old map[string]*Claims
	refused    generations[[sha256.Size]byte, *problem.Problem]
	generation uint64 // counts Forget, so that a check that began before it is not kept
}

// NewCache makes a cache for at most size tokens, at least 2.
func NewCache(keys Keys, size int) *Cache {
	c := &Cache{keys: keys, half: max(size/2, 1), limits: newLimits()}
	c.Forget()
	return c
}

// Verify is the function Verify, with the answer kept. Times, and whether the token was ended, are checked in each call.
func (c *Cache) Verify(token string, now time.Time) (*Claims, error) {
	if token == "" || len(token) > MaxSize {
		return Verify(token, now, c.keys)
	}
	claims, isOld, generation := c.look(token)
	if claims == nil {
		var p *problem.Problem
		if claims, p = c.check(token, now, generation); p != nil {
			return nil, p
		}
	}
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

// Known reports whether the token passed before, and is still kept; its times and its end are not looked at.
func (c *Cache) Known(token string) bool {
	if token == "" || len(token) > MaxSize {
		return false
	}
	claims, _, _ := c.look(token)
	return claims != nil
}

// check checks what neither the clock nor the end of a token changes, if it may check that many, and keeps what came of it.
func (c *Cache) check(token string, now time.Time, generation uint64) (*Claims, *problem.Problem) {
	digest := sha256.Sum256([]byte(token))
	if p := c.refusal(digest); p != nil {
		return nil, p
	}
	key, user := names(token)
	if _, known := c.keys.Key(key); key != "" && !known {
		return nil, unknownIssuer(key)
	}
	done, p := c.limits.take(key, user, now)
	if p != nil {
		return nil, p
	}
	claims, p := read(token, c.keys)
	done(p == nil)
	if p != nil {
		c.refuse(digest, p, generation)
		return nil, p
	}
	c.keep(token, claims, generation)
	return claims, nil
}

// names are the auth key and the user that a token seems to name: it is only looked for them, as reading a large wrong one costs more than a signature. Empty: they are not
// where programs put them.
func names(token string) (key, user string) {
	_, rest, _ := strings.Cut(token, ".")
	body, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return "", ""
	}
	return member(text, `"iss":"`), member(text, `"sub":"`)
}

// publicKey is how long a public key is as text.
const publicKey = 56

func member(text []byte, name string) string {
	at := bytes.Index(text, []byte(name))
	if at < 0 {
		return ""
	}
	value := text[at+len(name):]
	if len(value) <= publicKey || value[publicKey] != '"' {
		return ""
	}
	return string(value[:publicKey])
}

// Forget drops everything; it is called whenever an auth key was added, changed or revoked, after Keys knows of it.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young, c.old = make(map[string]*Claims), nil
	c.refused = newGenerations[[sha256.Size]byte, *problem.Problem](2 * c.half)
	c.generation++
	c.limits.forget()
}

func (c *Cache) refusal(digest [sha256.Size]byte) *problem.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused.get(digest)
}

func (c *Cache) refuse(digest [sha256.Size]byte, p *problem.Problem, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation == c.generation {
		c.refused.put(digest, p)
	}
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
