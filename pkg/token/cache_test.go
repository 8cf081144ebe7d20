package token_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// counting counts how often a key was looked up: twice for each token that is checked in full.
type counting struct {
	mu    sync.Mutex // guards the rest
	keys  keys
	calls int
	ended map[string]bool
}

func (c *counting) Ended(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended[id]
}

func (c *counting) end(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = map[string]bool{id: true}
}

func (c *counting) Key(id string) (token.Key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	return c.keys.Key(id)
}

func (c *counting) set(k token.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = keys{k.ID: k}
}

func (c *counting) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls / 2
}

func TestCacheChecksOnceUntilItForgets(t *testing.T) {
	i := newIssuer(t)
	k := &counting{keys: i.wide()}
	cache := token.NewCache(k, 10)
	text := i.mint(t, nil)
	for range 3 {
		if _, err := cache.Verify(text, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if got := k.count(); got != 1 {
		t.Errorf("got %d full checks, want 1", got)
	}
	revoked := i.wide()[i.id]
	revoked.Revoked = true
	k.set(revoked)
	cache.Forget()
	_, err := cache.Verify(text, time.Now())
	isProblem(t, err, problem.Unauthenticated)
}

// A token that was ended is refused in the next call, though the cache knows it.
func TestCacheKnowsWhatWasEnded(t *testing.T) {
	i := newIssuer(t)
	k := &counting{keys: i.wide()}
	cache := token.NewCache(k, 10)
	text, other := i.mint(t, nil), i.mint(t, nil)
	c, err := cache.Verify(text, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	k.end(c.ID)
	for range 2 {
		_, err = cache.Verify(text, time.Now())
		isProblem(t, err, problem.Unauthenticated)
	}
	if _, err := cache.Verify(other, time.Now()); err != nil {
		t.Errorf("another token: got %v", err)
	}
	if _, err := token.Verify(text, time.Now(), k); err == nil || c.Recheck(k) == nil {
		t.Errorf("without a cache: got %v, want it refused", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	i := newIssuer(t)
	k := &counting{keys: i.wide()}
	cache := token.NewCache(k, 4)
	var texts []string
	for n := range 20 {
		texts = append(texts, i.mint(t, func(c *token.Claims) { c.IdentifierID = fmt.Sprint(n) }))
	}
	verify := func(text string) {
		t.Helper()
		if _, err := cache.Verify(text, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range texts {
		verify(text)
		verify(texts[0]) // one in use stays
	}
	if got, want := k.count(), len(texts); got != want {
		t.Errorf("got %d full checks, want %d: what is used stays", got, want)
	}
	verify(texts[1])
	if got, want := k.count(), len(texts)+1; got != want {
		t.Errorf("got %d full checks, want %d: what is not used goes", got, want)
	}
}

func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	i := newIssuer(t)
	cache := token.NewCache(&counting{keys: i.wide()}, 4)
	var texts []string
	for n := range 8 {
		texts = append(texts, i.mint(t, func(c *token.Claims) { c.IdentifierID = fmt.Sprint(n) }))
	}
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for n := range 200 {
				which := (n + w) % len(texts)
				c, err := cache.Verify(texts[which], time.Now())
				if err != nil || c.IdentifierID != fmt.Sprint(which) {
					t.Errorf("got %+v, %v, want token %d", c, err, which)
				}
				if n%50 == 0 {
					cache.Forget()
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkCacheVerify(b *testing.B) {
	i := newIssuer(b)
	cache := token.NewCache(i.wide(), 10)
	text, now := i.mint(b, nil), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cache.Verify(text, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	i := newIssuer(b)
	k, text, now := i.wide(), i.mint(b, nil), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := token.Verify(text, now, k); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzVerify holds that no text makes Verify fail in any way but with a problem, and that what passes is a token of the key.
func FuzzVerify(f *testing.F) {
	i := newIssuer(f)
	good := i.mint(f, nil)
	for _, seed := range []string{"", ".", "..", "a.b.c", good, good + ".", good[:len(good)/2], "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(seed)
	}
	k := i.wide()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := token.Verify(text, time.Now(), k)
		if err != nil {
			if p := problem.From(err); p.Code == problem.Internal || p.Hint == "" {
				t.Errorf("got %v, want a problem with a hint", err)
			}
			return
		}
		if c.Issuer != i.id {
			t.Errorf("got issuer %s, want %s", c.Issuer, i.id)
		}
	})
}

// FuzzTags holds that a token which an auth key signed with any tag at all is refused, or says what its one tag set says.
func FuzzTags(f *testing.F) {
	i := newIssuer(f)
	base := i.mint(f, nil)
	k := i.wide()
	for _, seed := range []string{"write:ward", "read:*", "only:me", "limit:ge", "eventful:2", "inbox:A", "id:", "adm:*", ":", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		text := forge(t, i.seed, goodHeader, func(_, nats map[string]any) { nats["tags"] = append(nats["tags"].([]any), tag) }, base)
		if c, err := token.Verify(text, time.Now(), k); err == nil && len(c.AggregateIDs) == 0 {
			t.Errorf("got %+v with the further tag %q, want it refused", c, tag)
		}
	})
}
