package token

import (
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// How many checks that fail a process makes, for each user and for each auth key that the tokens name: so many at once, and so many a second. A check costs about 0.1 ms.
const (
	userBurst, userRate = 20, 10
	keyBurst, keyRate   = 500, 500
)

// limits bound the processor time that wrong tokens cost. They know the users of at most limitedUsers wrong tokens, and only auth keys that exist.
type limits struct {
	mu    sync.Mutex // guards the rest
	users generations[string, *bucket]
	keys  map[string]*bucket
}

const limitedUsers = 4096

// bucket is what is left at a time.
type bucket struct {
	left float64
	at   time.Time
}

// fill adds what came since.
func (b *bucket) fill(now time.Time, rate, burst float64) {
	if since := now.Sub(b.at); since > 0 {
		b.left = min(burst, b.left+since.Seconds()*rate)
	}
	b.at = now
}

func newLimits() *limits {
	return &limits{users: newGenerations[string, *bucket](limitedUsers), keys: make(map[string]*bucket)}
}

// take takes one check for the user and the auth key that a token names; both take part in it, or neither. done gives it back where the token passed.
func (l *limits) take(key, user string, now time.Time) (done func(passed bool), p *problem.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.users.get(user)
	if u == nil {
		u = &bucket{left: userBurst, at: now}
		l.users.put(user, u)
	}
	k := l.keys[key]
	if k == nil {
		k = &bucket{left: keyBurst, at: now}
		l.keys[key] = k
	}
	u.fill(now, userRate, userBurst)
	k.fill(now, keyRate, keyBurst)
	if u.left < 1 || k.left < 1 {
		return nil, problem.New(problem.Unavailable, "the token was not looked at: too many wrong tokens of auth key %.80s come in", key).
			WithHint("send it again in a moment; a token that was used before is not slowed")
	}
	u.left--
	k.left--
	return func(passed bool) {
		if !passed {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		u.left++
		k.left++
	}, nil
}

// forget drops the auth keys: some may not be there any more.
func (l *limits) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.keys)
}

// generations is a map of at most size entries: when half of them are young, they become the old ones, and the former old ones are dropped. What is looked up is
// young again.
type generations[K comparable, V any] struct {
	half       int
	young, old map[K]V
}

func newGenerations[K comparable, V any](size int) generations[K, V] {
	return generations[K, V]{half: max(size/2, 1), young: make(map[K]V)}
}

func (g *generations[K, V]) get(key K) (v V) {
	if v, ok := g.young[key]; ok {
		return v
	}
	v, ok := g.old[key]
	if ok {
		g.put(key, v)
	}
	return v
}

func (g *generations[K, V]) put(key K, v V) {
	if len(g.young) >= g.half {
		g.old, g.young = g.young, make(map[K]V)
	}
	g.young[key] = v
}
