package fieldkey_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

var ada = event.AggregateID{Type: "patient", ID: "Ada"}

func keysOn(t *testing.T, b fieldkey.Bucket, change func(*fieldkey.Config)) *fieldkey.Keys {
	t.Helper()
	cfg := fieldkey.Config{Site: "main", Bucket: b, Wrap: [32]byte{1}, Name: [32]byte{2}, Unique: [32]byte{3}}
	if change != nil {
		change(&cfg)
	}
	k, err := fieldkey.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func made(t *testing.T, k *fieldkey.Keys, a event.AggregateID) *fieldkey.Key {
	t.Helper()
	key, err := k.Make(t.Context(), a)
	if err != nil || key == nil {
		t.Fatalf("make the key of %s: got %v, %v", a, key, err)
	}
	return key
}

func placeOf(a event.AggregateID) fieldkey.Place {
	return fieldkey.Place{Site: "main", Aggregate: a, Field: "name"}
}

func TestMemoryConforms(t *testing.T) {
	m := fieldkeytest.NewMemory()
	fieldkeytest.TestBucket(t, func(*testing.T) fieldkey.Bucket { return m })
}

func TestEveryTextComesBack(t *testing.T) {
	key := made(t, keysOn(t, fieldkeytest.NewMemory(), nil), ada)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Repeat(rapid.String().Draw(t, "text"), rapid.IntRange(1, 40).Draw(t, "times"))
		var unique *event.Hash
		if rapid.Bool().Draw(t, "unique") {
			unique = new(event.Hash(sha256.Sum256([]byte("unique"))))
		}
		sealed := key.Seal(placeOf(ada), text, unique)
		bytes, err := base64.RawURLEncoding.DecodeString(sealed)
		if err != nil || len(text) > 7 && strings.Contains(string(bytes), text) {
			t.Errorf("the sealed value holds its text, or does not decode: %v", err)
		}
		got, err := key.Open(placeOf(ada), sealed)
		if err != nil || got != text {
			t.Fatalf("got %q, %v, want %q", got, err, text)
		}
		parsed, err := event.ParseSealed(sealed)
		if err != nil || (parsed.Unique == nil) != (unique == nil) || unique != nil && *parsed.Unique != *unique {
			t.Errorf("keyed hash: got %v, %v, want %v", parsed, err, unique)
		}
	})
}

// A value opens under its own key and at its own place, as it was sealed, and not else.
func TestNothingElseOpens(t *testing.T) {
	k := keysOn(t, fieldkeytest.NewMemory(), nil)
	key := made(t, k, ada)
	sealed := key.Seal(placeOf(ada), strings.Repeat("secret", 50), new(event.Hash{7}))
	places := map[string]fieldkey.Place{
		"site": {Site: "other", Aggregate: ada, Field: "name"}, "branch": {Site: "main", Branch: 1, Aggregate: ada, Field: "name"},
		"type": {Site: "main", Aggregate: event.AggregateID{Type: "ward", ID: "Ada"}, Field: "name"}, "id": {Site: "main", Aggregate: event.AggregateID{Type: "patient", ID: "Bob"}, Field: "name"},
		"field": {Site: "main", Aggregate: ada, Field: "note"}, "shifted": {Site: "main", Aggregate: event.AggregateID{Type: "patient", ID: "Adan"}, Field: "ame"},
	}
	for name, place := range places {
		if text, err := key.Open(place, sealed); !errors.Is(err, fieldkey.ErrNotOpened) || text != "" {
			t.Errorf("another %s: got %q, %v, want ErrNotOpened", name, text, err)
		}
	}
	if _, err := made(t, k, event.AggregateID{Type: "patient", ID: "Bob"}).Open(placeOf(ada), sealed); !errors.Is(err, fieldkey.ErrNotOpened) {
		t.Errorf("another key: got %v, want ErrNotOpened", err)
	}
	parsed, err := event.ParseSealed(sealed)
	if err != nil || !parsed.Compressed {
		t.Fatalf("got %v, %v, want a compressed value", parsed, err)
	}
	for name, change := range map[string]func(*event.SealedValue){
		"flag": func(s *event.SealedValue) { s.Compressed = false }, "keyed hash": func(s *event.SealedValue) { s.Unique = new(event.Hash{8}) },
		"no keyed hash": func(s *event.SealedValue) { s.Unique = nil }, "nonce": func(s *event.SealedValue) { s.Nonce[3]++ }, "ciphertext": func(s *event.SealedValue) { s.Ciphertext[0]++ },
	} {
		changed, _ := event.ParseSealed(sealed)
		change(changed)
		if _, err := key.Open(placeOf(ada), changed.String()); !errors.Is(err, fieldkey.ErrNotOpened) {
			t.Errorf("another %s: got %v, want ErrNotOpened", name, err)
		}
	}
	if _, err := key.Open(placeOf(ada), "plain text"); !errors.Is(err, event.ErrDecode) {
		t.Errorf("no sealed value: got %v, want ErrDecode", err)
	}
}

// What was sealed by this program once must open for ever (docs/spec/log.md, section 3).
func TestKnownAnswers(t *testing.T) {
	m := fieldkeytest.NewMemory()
	k := keysOn(t, m, nil)
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(i)
	}
	name := nameOf(t, k, m)
	if err := m.Put(t.Context(), name, keyring.Seal([32]byte{1}, "field key\x00main\x00patient\x00Ada", secret), 0); err != nil {
		t.Fatal(err)
	}
	key, err := k.Get(t.Context(), ada)
	if err != nil || key == nil {
		t.Fatalf("got %v, %v, want a key", key, err)
	}
	if got, want := key.Commitment().String(), knownCommitment; got != want {
		t.Errorf("commitment: got %s, want %s", got, want)
	}
	if got, want := key.Digest("name", "Ada Lovelace"), knownDigest; got != want {
		t.Errorf("digest: got %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(hashOf(k.UniqueHash("patient", "name", "Ada Lovelace"))), knownUnique; got != want {
		t.Errorf("keyed hash: got %s, want %s", got, want)
	}
	for text, sealed := range map[string]string{"Ada Lovelace": knownSealed, strings.Repeat("Ada ", 30): knownPacked} {
		got, err := key.Open(placeOf(ada), sealed)
		if err != nil || got != text {
			t.Errorf("got %q, %v, want %q; sealed now: %s", got, err, text, key.Seal(placeOf(ada), text, nil))
		}
	}
}

func hashOf(h event.Hash) []byte { return h[:] }

// nameOf is where the key of ada lies: a key is made to see it, and destroyed.
func nameOf(t *testing.T, k *fieldkey.Keys, m *fieldkeytest.Memory) string {
	t.Helper()
	key := made(t, k, ada)
	var name string
	for name = range m.Values() {
	}
	if err := k.Destroy(t.Context(), ada, key.Commitment()); err != nil {
		t.Fatal(err)
	}
	if len(m.Values()) != 0 || strings.Contains(name, "Ada") {
		t.Fatalf("got %d keys, name %s", len(m.Values()), name)
	}
	return name
}

func TestAKeyIsMadeOnce(t *testing.T) {
	m := fieldkeytest.NewMemory()
	var running sync.WaitGroup
	got := make([]event.Hash, 8)
	for i := range got {
		k := keysOn(t, m, nil) // processes of their own
		running.Go(func() { got[i] = made(t, k, ada).Commitment() })
	}
	running.Wait()
	for i := range got {
		if got[i] != got[0] {
			t.Errorf("process %d: got the key %s, want %s", i, got[i], got[0])
		}
	}
	if len(m.Values()) != 1 {
		t.Errorf("got %d keys, want 1", len(m.Values()))
	}
}

// Making fails before and behind its effect; tried again it gives the one key that there is.
func TestMakingFailsEachWay(t *testing.T) {
	for _, before := range []bool{true, false} {
		t.Run(fmt.Sprintf("not done %t", before), func(t *testing.T) {
			m, failures := fieldkeytest.NewMemory(), 1
			m.Fail = func(_ string, at bool) error {
				if at == before && failures > 0 {
					failures--
					return eventlog.ErrUnknown
				}
				return nil
			}
			k := keysOn(t, m, nil)
			key, err := k.Make(t.Context(), ada)
			if before == (err == nil) || err != nil && !errors.Is(err, eventlog.ErrUnknown) {
				t.Fatalf("got %v, %v", key, err)
			}
			again := made(t, k, ada)
			if key != nil && again.Commitment() != key.Commitment() || len(m.Values()) != 1 {
				t.Errorf("got another key %s, %d in all", again, len(m.Values()))
			}
		})
	}
}

func TestDestroyFailsEachWay(t *testing.T) {
	for _, before := range []bool{true, false} {
		m := fieldkeytest.NewMemory()
		k := keysOn(t, m, nil)
		key := made(t, k, ada)
		failures := 1
		m.Fail = func(_ string, at bool) error {
			if at == before && failures > 0 {
				failures--
				return eventlog.ErrUnknown
			}
			return nil
		}
		if err := k.Destroy(t.Context(), ada, key.Commitment()); !errors.Is(err, eventlog.ErrUnknown) {
			t.Fatalf("not done %t: got %v, want ErrUnknown", before, err)
		}
		if k.Cached(ada) != nil {
			t.Errorf("not done %t: the key is still in memory", before)
		}
		if err := k.Destroy(t.Context(), ada, key.Commitment()); err != nil || len(m.Values()) != 0 {
			t.Fatalf("not done %t: got %v, %d keys left", before, err, len(m.Values()))
		}
		fresh := made(t, k, ada)
		if err := k.Destroy(t.Context(), ada, key.Commitment()); err != nil || len(m.Values()) != 1 || fresh.Commitment() == key.Commitment() {
			t.Errorf("not done %t: got %v; a repeat must leave the next key alone", before, err)
		}
	}
}

// No key is kept for longer than a minute, and no more than the cache has room for.
func TestKeysLeaveMemory(t *testing.T) {
	m := fieldkeytest.NewMemory()
	var due []func()
	k := keysOn(t, m, func(c *fieldkey.Config) {
		c.After = func(d time.Duration, f func()) {
			if d > 30*time.Second {
				t.Errorf("a generation of %s, want 30 s at most", d)
			}
			due = append(due, f)
		}
	})
	for i := range 10_000 {
		a := event.AggregateID{Type: "patient", ID: fmt.Sprint(i)}
		if made(t, k, a); k.Cached(a) == nil {
			t.Fatalf("key %d is not in memory", i)
		}
	}
	held := 0
	for i := range 10_000 {
		if k.Cached(event.AggregateID{Type: "patient", ID: fmt.Sprint(i)}) != nil {
			held++
		}
	}
	if held == 0 || held > 8192 {
		t.Errorf("got %d keys in memory, want at most 8192", held)
	}
	for range 2 {
		if len(due) != 1 {
			t.Fatalf("got %d turns due, want 1", len(due))
		}
		turn := due[0]
		due = nil
		turn()
	}
	if k.Cached(event.AggregateID{Type: "patient", ID: "9999"}) != nil || len(due) != 0 {
		t.Errorf("behind two generations a key is in memory, %d turns due", len(due))
	}
}

func TestForeignKeysAreRefused(t *testing.T) {
	m := fieldkeytest.NewMemory()
	made(t, keysOn(t, m, nil), ada)
	foreign := keysOn(t, m, func(c *fieldkey.Config) { c.Wrap = [32]byte{9} })
	if key, err := foreign.Get(t.Context(), ada); !errors.Is(err, keyring.ErrWrongKey) || key != nil {
		t.Errorf("get: got %v, %v, want ErrWrongKey", key, err)
	}
	if key, err := foreign.Make(t.Context(), ada); !errors.Is(err, keyring.ErrWrongKey) || key != nil {
		t.Errorf("make: got %v, %v, want ErrWrongKey", key, err)
	}
	other := keysOn(t, m, func(c *fieldkey.Config) { c.Site = "other" })
	if key, err := other.Get(t.Context(), ada); err != nil || key != nil {
		t.Errorf("another site: got %v, %v, want none", key, err)
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	key := made(t, keysOn(t, fieldkeytest.NewMemory(), nil), ada)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, key); got != "fieldkey.Key("+key.Commitment().String()+")" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}
