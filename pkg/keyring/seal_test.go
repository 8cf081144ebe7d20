package keyring_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/eventfuldb/eventful/pkg/keyring"
)

func TestSealAndUnseal(t *testing.T) {
	key := [32]byte{1}
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("long"), 1<<18)} {
		sealed := keyring.Seal(key, "session", plain)
		if got, want := len(sealed), len(plain)+29; got != want {
			t.Errorf("got %d bytes, want %d", got, want)
		}
		got, err := keyring.Unseal(key, "session", sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %.20q, %v, want %.20q", got, err, plain)
		}
		if bytes.Equal(sealed, keyring.Seal(key, "session", plain)) {
			t.Error("got the same bytes twice, want a fresh nonce")
		}
	}
}

func TestUnsealRefuses(t *testing.T) {
	key := [32]byte{1}
	sealed := keyring.Seal(key, "session", []byte("token"))
	if _, err := keyring.Unseal([32]byte{2}, "session", sealed); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("other key: got %v, want ErrWrongKey", err)
	}
	if _, err := keyring.Unseal(key, "other", sealed); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("other name: got %v, want ErrWrongKey", err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if i == 0 {
			changed[i] = 0
		}
		if _, err := keyring.Unseal(key, "session", changed); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("byte %d changed: got %v, want ErrWrongKey", i, err)
		}
		if _, err := keyring.Unseal(key, "session", sealed[:i]); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("cut at %d: got %v, want ErrWrongKey", i, err)
		}
	}
	newer := bytes.Clone(sealed)
	newer[0] = 2
	if _, err := keyring.Unseal(key, "session", newer); !errors.Is(err, keyring.ErrNewer) {
		t.Errorf("newer layout: got %v, want ErrNewer", err)
	}
}

// FuzzUnseal holds that nothing but what Seal made opens.
func FuzzUnseal(f *testing.F) {
	key := [32]byte{1}
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add(make([]byte, 29))
	f.Add(keyring.Seal([32]byte{2}, "session", []byte("token")))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if plain, err := keyring.Unseal(key, "session", sealed); err == nil {
			t.Errorf("got %q, want an error", plain)
		}
	})
}
