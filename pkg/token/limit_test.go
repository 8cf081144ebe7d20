package token_test

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// wrong is a token with a signature that is not its own: number n of as many as are wanted, each with another text.
func wrong(text string, n int) string {
	cut := strings.LastIndex(text, ".")
	return text[:cut+1] + fmt.Sprintf("%085d", n) + "A"
}

// Wrong tokens are looked at as often as the limits say, however many come; a token that was used before is not slowed, nor is one of another auth key.
func TestWrongTokensAreLimited(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	k := i.wide()
	k[other.id] = other.wide()[other.id]
	cache := token.NewCache(k, 100)
	now := time.Now()
	good, late := i.mint(t, nil), i.mint(t, nil)
	if _, err := cache.Verify(good, now); err != nil {
		t.Fatal(err)
	}
	looked := 0
	flood := func(n int) {
		for range n {
			text := i.mint(t, nil) // of a user of its own
			_, err := cache.Verify(wrong(text, n), now)
			switch p := problem.From(err); p.Code {
			case problem.Unauthenticated:
				looked++
			case problem.Unavailable:
			default:
				t.Fatalf("got %v", err)
			}
		}
	}
	flood(700)
	if looked != 500 {
		t.Errorf("got %d looked at, want 500", looked)
	}
	if _, err := cache.Verify(good, now); err != nil {
		t.Errorf("a token that was used before: got %v", err)
	}
	_, err := cache.Verify(late, now)
	isProblem(t, err, problem.Unavailable)
	if _, err := cache.Verify(other.mint(t, nil), now); err != nil {
		t.Errorf("a token of another auth key: got %v", err)
	}
	now = now.Add(100 * time.Millisecond)
	if _, err := cache.Verify(late, now); err != nil {
		t.Errorf("a new token later on: got %v", err)
	}
	flood(100)
	if looked != 550 {
		t.Errorf("got %d looked at with 50 more to look at, want 550", looked)
	}
}

// One user's wrong tokens leave the others of the auth key alone; the same wrong token is looked at once.
func TestAUsersWrongTokensAreLimited(t *testing.T) {
	i := newIssuer(t)
	k := &counting{keys: i.wide()}
	cache := token.NewCache(k, 100)
	now, text := time.Now(), i.mint(t, nil)
	count := make(map[problem.Code]int)
	for n := range 300 {
		_, err := cache.Verify(wrong(text, n), now)
		count[problem.From(err).Code]++
	}
	if count[problem.Unauthenticated] != 20 || count[problem.Unavailable] != 280 {
		t.Errorf("got %v, want 20 looked at and 280 not", count)
	}
	for range 300 {
		_, err := cache.Verify(wrong(text, 0), now)
		isProblem(t, err, problem.Unauthenticated)
	}
	for range 50 {
		if _, err := cache.Verify(i.mint(t, nil), now); err != nil {
			t.Fatalf("a good token: got %v", err)
		}
	}
	expired := i.mint(t, nil)
	for range 300 {
		_, err := cache.Verify(expired, now.Add(2*time.Hour))
		isProblem(t, err, problem.Unauthenticated)
	}
}

// However many wrong tokens come, what is kept of them is bounded.
func TestWrongTokensAreNotKept(t *testing.T) {
	i := newIssuer(t)
	cache := token.NewCache(i.wide(), 1000)
	parts := strings.Split(i.mint(t, nil), ".")
	grown := func(from, to int) uint64 {
		for n := from; n < to; n++ {
			claims := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf(`{"iss":%q,"sub":"U%055d","nats":{"type":"user","version":2,"pad":%q}}`, i.id, n, strings.Repeat("x", 1000))))
			if _, err := cache.Verify(parts[0]+"."+claims+"."+parts[2], time.Now().Add(time.Duration(n)*10*time.Millisecond)); err == nil {
				t.Fatal("got a wrong token accepted")
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := grown(0, 4_000)
	after := grown(4_000, 12_000)
	runtime.KeepAlive(cache)
	if after > before+(4<<20) {
		t.Errorf("got %d bytes behind 4,000 wrong tokens and %d behind 12,000, want about as many", before, after)
	}
}

func BenchmarkWrongToken(b *testing.B) { benchmarkWrong(b, 0) }

func BenchmarkWrongLargeToken(b *testing.B) { benchmarkWrong(b, 100) }

// benchmarkWrong checks wrong tokens, above the limit, for further so many types.
func benchmarkWrong(b *testing.B, types int) {
	i := newIssuer(b)
	cache := token.NewCache(i.wide(), 4096)
	text, now := i.mint(b, func(c *token.Claims) {
		for n := range types {
			c.Aggregates = append(c.Aggregates, fmt.Sprintf("another-type-of-aggregate-%d", n))
		}
	}), time.Now()
	b.SetBytes(int64(len(text)))
	n := 0
	for b.Loop() {
		n++
		if _, err := cache.Verify(wrong(text, n), now); err == nil {
			b.Fatal("got a wrong token accepted")
		}
	}
}
