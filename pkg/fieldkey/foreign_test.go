package fieldkey_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/fieldkey/fieldkeytest"
)

// junk are values that anybody who may ask JetStream can have stored in the place of a key: answers of the server, and what it holds elsewhere.
func junk() map[string][]byte {
	return map[string][]byte{
		"an answer of JetStream": []byte(`{"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":404}}`),
		"nothing":                {},
		"a block":                append([]byte{1}, make([]byte, 500)...),
		"zeros":                  make([]byte, 61),
	}
}

// TestWhatIsNoKeyGivesWay: it is named as such, does not keep a key from being made, and is destroyed as a key is.
func TestWhatIsNoKeyGivesWay(t *testing.T) {
	for name, value := range junk() {
		m, removed := fieldkeytest.NewMemory(), 0
		put := func() {
			t.Helper()
			for place := range keysPlace(t, m) {
				if err := m.Put(t.Context(), place, value, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		k := keysOn(t, m, func(c *fieldkey.Config) { c.Removed = func(string, int) { removed++ } })
		put()
		if key, err := k.Get(t.Context(), ada); key != nil || !errors.Is(err, fieldkey.ErrForeign) || !fieldkey.Unreadable(err) {
			t.Errorf("%s: get: got %v, %v, want ErrForeign", name, key, err)
		}
		made := made(t, k, ada)
		if removed != 1 {
			t.Errorf("%s: told %d times that it was removed, want once", name, removed)
		}
		if err := k.Destroy(t.Context(), ada, made.Commitment()); err != nil {
			t.Fatal(err)
		}
		put()
		if err := k.Destroy(t.Context(), ada, made.Commitment()); err != nil || len(m.Values()) != 0 {
			t.Errorf("%s: destroy: got %v, %d values left", name, err, len(m.Values()))
		}
	}
}

// TestNewerKeysStay: a key of a layout that this program does not know is not taken for junk.
func TestNewerKeysStay(t *testing.T) {
	m := fieldkeytest.NewMemory()
	value := append([]byte{2}, make([]byte, 99)...)
	for place := range keysPlace(t, m) {
		if err := m.Put(t.Context(), place, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	k := keysOn(t, m, nil)
	_, getting := k.Get(t.Context(), ada)
	_, making := k.Make(t.Context(), ada)
	for _, err := range []error{getting, making} {
		if err == nil || fieldkey.Unreadable(err) {
			t.Errorf("got %v, want an error that is not for ever", err)
		}
	}
	for _, there := range m.Values() {
		if !bytes.Equal(there, value) {
			t.Error("the newer key was changed")
		}
	}
}

// keysPlace is where the key of Ada lies; it is empty behind that.
func keysPlace(t *testing.T, m *fieldkeytest.Memory) map[string][]byte {
	t.Helper()
	k := keysOn(t, m, nil)
	key := made(t, k, ada)
	places := m.Values()
	if err := k.Destroy(t.Context(), ada, key.Commitment()); err != nil {
		t.Fatal(err)
	}
	return places
}
