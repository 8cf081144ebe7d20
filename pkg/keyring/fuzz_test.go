package keyring_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/pkg/keyring"
)

// FuzzLoad holds that a key file is whole, newer or damaged, and that a whole one says whom a server trusts.
func FuzzLoad(f *testing.F) {
	path := filepath.Join(f.TempDir(), "keys")
	_, _, err := keyring.New{Site: "site", MasterKey: []byte("a master key that is long enough 1"), DEK: []byte("a data key that is long enough 22"), Cost: keyring.DefaultCost}.Create(path)
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(bytes.Replace(whole, []byte(`"version": 1`), []byte(`"version": 99`), 1))
	f.Add(bytes.Replace(whole, []byte(`"act": "ey`), []byte(`"pending": true, "act": "`), 1))
	f.Add(bytes.Replace(whole, []byte(`"accounts"`), []byte(`"account"`), 1))
	for _, seed := range []string{"", "null", "{}", `{"version":1}`, `{"version":2}`, `{"version":1,"accounts":{"APP":null}}`, `{"version":"1"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := keyring.Load(path)
		if err != nil {
			if !errors.Is(err, keyring.ErrCorrupt) && !errors.Is(err, keyring.ErrNewer) {
				t.Errorf("got %v, want ErrCorrupt or ErrNewer", err)
			}
			return
		}
		acts, err := k.Acts()
		for _, a := range acts {
			if a.ID == "" || a.Event == "" || a.Issuer == "" {
				t.Errorf("got an act %+v (%v)", a, err)
			}
		}
		if k.Site() == "" || len(k.OperatorKeys()) == 0 || k.AccountID(keyring.APP) == "" {
			t.Errorf("got site %q, operator keys %q, account %q", k.Site(), k.OperatorKeys(), k.AccountID(keyring.APP))
		}
	})
}
