package keyring_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/keyring"
)

// cheap keeps tests fast.
var cheap = keyring.Cost{Memory: 64, Time: 1, Threads: 1}

var (
	master = []byte("correct horse battery staple")
	dek    = []byte("ein ganz anderer Schlüssel")
)

func create(t *testing.T) (string, *keyring.Keyring, *keyring.Secrets) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	k, s, err := keyring.CreateWithCost(path, "ward", master, dek, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return path, k, s
}

func load(t *testing.T, path string) *keyring.Keyring {
	t.Helper()
	k, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestCreateLoadOpen(t *testing.T) {
	path, created, want := create(t)
	k := load(t, path)
	got, err := k.Open(dek)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("secrets (-created +opened):\n%s", diff)
	}
	if k.Site() != "ward" || k.OperatorJWT() != created.OperatorJWT() || len(k.OperatorKeys()) != 2 {
		t.Errorf("got site %q, %d operator keys, want ward and 2", k.Site(), len(k.OperatorKeys()))
	}
	seed, err := k.OpenOperator(master)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := publicOf(t, seed), k.OperatorKeys()[0]; got != want {
		t.Errorf("got operator %s, want %s", got, want)
	}
	if got, want := publicOf(t, want.OperatorSigningSeed), k.OperatorKeys()[1]; got != want {
		t.Errorf("got signing key %s, want %s", got, want)
	}
	for _, a := range []keyring.Account{keyring.LOG, keyring.APP, keyring.SYS} {
		checkAccount(t, k, got, a)
	}
}

func checkAccount(t *testing.T, k *keyring.Keyring, s *keyring.Secrets, a keyring.Account) {
	t.Helper()
	claims, err := jwt.DecodeAccountClaims(k.AccountJWT(a))
	if err != nil {
		t.Fatal(err)
	}
	if claims.Subject != k.AccountID(a) || s.Accounts[a].ID != k.AccountID(a) {
		t.Errorf("%s: got ids %s, %s, %s, want one", a, claims.Subject, k.AccountID(a), s.Accounts[a].ID)
	}
	if got, want := claims.Limits.IsJSEnabled(), a != keyring.SYS; got != want {
		t.Errorf("%s: got JetStream %v, want %v", a, got, want)
	}
	text, seed, err := s.EngineUser(a, "writer")
	if err != nil {
		t.Fatal(err)
	}
	user, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	if !claims.DidSign(user) || user.Subject != publicOf(t, seed) || user.BearerToken || user.Name != "writer" {
		t.Errorf("%s: got user %s, want one of the account that answers the nonce", a, user)
	}
}

func publicOf(t *testing.T, seed []byte) string {
	t.Helper()
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func TestLocalUser(t *testing.T) {
	_, _, s := create(t)
	text, _, err := s.LocalUser()
	if err != nil {
		t.Fatal(err)
	}
	user, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	want := jwt.Permissions{Pub: jwt.Permission{Allow: []string{"adm.key.account", "adm.key.add", "adm.key.show", "adm.key.update", "adm.key.revoke", "adm.token.revoke", "adm.credential.record", "adm.server.status"}},
		Sub: jwt.Permission{Allow: []string{"_INBOX." + user.Subject + ".>"}}}
	if diff := cmp.Diff(want, user.Permissions); diff != "" || !user.BearerToken {
		t.Errorf("bearer %v, permissions (-want +got):\n%s", user.BearerToken, diff)
	}
	if _, _, err := s.EngineUser("NONE", "x"); err == nil {
		t.Error("got a user of no account, want an error")
	}
}

func TestWrongKeys(t *testing.T) {
	path, _, _ := create(t)
	k := load(t, path)
	for _, wrong := range [][]byte{nil, []byte("x"), master, append([]byte(" "), dek...)} {
		if _, err := k.Open(wrong); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("open with %q: got %v, want ErrWrongKey", wrong, err)
		}
	}
	if _, err := k.OpenOperator(dek); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("open the operator with the DEK: got %v, want ErrWrongKey", err)
	}
}

func TestWeakSecrets(t *testing.T) {
	long := []byte(strings.Repeat("x", keyring.MaxSecret+1))
	for _, c := range []struct{ master, dek []byte }{
		{nil, dek}, {master, nil}, {[]byte("fifteen letters"), dek}, {master, []byte("ÄÖÜÄÖÜÄÖÜÄÖÜÄÖÜ")}, {long, dek}, {master, long}, {master, master},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		_, _, err := keyring.CreateWithCost(path, "ward", c.master, c.dek, cheap)
		if !errors.Is(err, keyring.ErrWeakSecret) {
			t.Errorf("%q and %q: got %v, want ErrWeakSecret", c.master, c.dek, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("got a key file, want none")
		}
	}
	if err := keyring.CheckSecret([]byte("sixteen letters!")); err != nil {
		t.Errorf("got %v for 16 characters, want them accepted", err)
	}
}

func TestCreateRefuses(t *testing.T) {
	path, _, _ := create(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := keyring.CreateWithCost(path, "ward", master, dek, cheap); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v for an existing file, want os.ErrExist", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("got another file (%v), want it untouched", err)
	}
	fresh := filepath.Join(t.TempDir(), "keys.json")
	if _, _, err := keyring.CreateWithCost(fresh, "No Site", master, dek, cheap); err == nil {
		t.Error("got a bad site accepted, want an error")
	}
	if _, _, err := keyring.CreateWithCost(fresh, "ward", master, dek, keyring.Cost{}); err == nil {
		t.Error("got no cost accepted, want an error")
	}
}

func TestFileIsForItsOwner(t *testing.T) {
	path, _, _ := create(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got mode %04o, want 0600", got)
	}
	for _, mode := range []os.FileMode{0o604, 0o640, 0o620, 0o644, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Load(path); !errors.Is(err, keyring.ErrExposed) {
			t.Errorf("mode %04o: got %v, want ErrExposed", mode, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("got %d files (%v), want keys.json alone", len(entries), err)
	}
	if _, err := keyring.Load(filepath.Join(t.TempDir(), "keys.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for no file, want os.ErrNotExist", err)
	}
}

// rewrite changes the file as JSON.
func rewrite(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		t.Fatal(err)
	}
	change(content)
	if data, err = json.Marshal(content); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestChangedFiles(t *testing.T) {
	_, other, _ := create(t)
	kdf := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c["dek"].(map[string]any)["kdf"].(map[string]any)[name] = value }
	}
	for name, c := range map[string]struct {
		change func(map[string]any)
		want   error
	}{
		"newer version":   {func(c map[string]any) { c["version"] = 2 }, keyring.ErrNewer},
		"no version":      {func(c map[string]any) { delete(c, "version") }, keyring.ErrCorrupt},
		"bad site":        {func(c map[string]any) { c["site"] = "../x" }, keyring.ErrCorrupt},
		"another site":    {func(c map[string]any) { c["site"] = "other" }, keyring.ErrWrongKey},
		"no operator":     {func(c map[string]any) { c["operator"] = "x" }, keyring.ErrCorrupt},
		"other operator":  {func(c map[string]any) { c["operator"] = other.OperatorJWT() }, keyring.ErrCorrupt},
		"other accounts":  {func(c map[string]any) { c["accounts"].(map[string]any)["APP"] = c["accounts"].(map[string]any)["LOG"] }, keyring.ErrWrongKey},
		"no accounts":     {func(c map[string]any) { delete(c, "accounts") }, keyring.ErrCorrupt},
		"1 TiB of memory": {kdf("memory", 1<<30), keyring.ErrCorrupt},
		"a year of time":  {kdf("time", 1<<30), keyring.ErrCorrupt},
		"no threads":      {kdf("threads", 0), keyring.ErrCorrupt},
		"no salt":         {kdf("salt", ""), keyring.ErrCorrupt},
		"other salt":      {kdf("salt", "AAAAAAAAAAAAAAAAAAAAAA=="), keyring.ErrWrongKey},
		"other algorithm": {kdf("algorithm", "md5"), keyring.ErrCorrupt},
		"seals exchanged": {func(c map[string]any) { c["dek"] = c["master"] }, keyring.ErrWrongKey},
		"seal gone":       {func(c map[string]any) { c["dek"].(map[string]any)["sealed"] = "" }, keyring.ErrWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			path, _, _ := create(t)
			rewrite(t, path, c.change)
			k, err := keyring.Load(path)
			if err == nil {
				_, err = k.Open(dek)
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	for name, content := range map[string]string{"empty": "", "no JSON": "x", "cut": `{"version":1`, "large": strings.Repeat(" ", 1<<20+1)} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keyring.Load(path); !errors.Is(err, keyring.ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrCorrupt", name, err)
		}
	}
}

func TestChangeKeys(t *testing.T) {
	path, k, want := create(t)
	fresh, freshMaster := []byte("a fresh DEK for the ward"), []byte("a fresh master key, too")
	if err := k.Renew(keyring.Renewal{}, keyring.Renewal{Old: master, New: fresh}, keyring.By{}); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("got %v with the wrong old DEK, want ErrWrongKey", err)
	}
	if err := k.Renew(keyring.Renewal{}, keyring.Renewal{Old: dek, New: []byte("short")}, keyring.By{}); !errors.Is(err, keyring.ErrWeakSecret) {
		t.Errorf("got %v with a short DEK, want ErrWeakSecret", err)
	}
	if err := k.Renew(keyring.Renewal{Old: master, New: freshMaster}, keyring.Renewal{Old: dek, New: fresh}, keyring.By{}); err != nil {
		t.Fatal(err)
	}
	k = load(t, path)
	if _, err := k.Open(dek); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("got %v with the old DEK, want ErrWrongKey", err)
	}
	got, err := k.Open(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("secrets (-before +after):\n%s", diff)
	}
	if _, err := k.OpenOperator(freshMaster); err != nil {
		t.Errorf("got %v with the fresh master key, want it to open", err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	path, _, s := create(t)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%s %v %+v %#v %s %s", s, *s, s, s, text, file)
	for _, secret := range []string{s.JetStreamKey, string(s.OperatorSigningSeed), string(s.Accounts[keyring.APP].SigningSeed), string(master), string(dek)} {
		if strings.Contains(printed, secret) {
			t.Errorf("got the secret %.4s… in print or in the file, want it sealed", secret)
		}
	}
}

func TestDefaultCostIsAccepted(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 64 MiB and some tenths of a second")
	}
	path := filepath.Join(t.TempDir(), "keys.json")
	fresh := keyring.New{Site: "ward", MasterKey: master, DEK: dek, Cost: keyring.DefaultCost}
	if _, _, err := fresh.Create(path); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, path).Open(dek); err != nil {
		t.Error(err)
	}
}

// Derived keys are the same for every copy of the file, whatever the DEK is changed to, and differ by purpose.
func TestDerivedKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	k, made, err := keyring.CreateWithCost(path, "ward", master, dek, cheap)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Renew(keyring.Renewal{}, keyring.Renewal{Old: dek, New: []byte("another data key of this test")}, keyring.By{}); err != nil {
		t.Fatal(err)
	}
	loaded, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := loaded.Open([]byte("another data key of this test"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[32]byte]string{made.StateKey: "state", made.IndexKey: "index", made.SessionKey: "session"}
	for _, purpose := range []string{"a", "b", ""} {
		first, err := made.Derived(purpose)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := opened.Derived(purpose); err != nil || again != first {
			t.Errorf("%q: got another key from the opened file (%v)", purpose, err)
		}
		if other, ok := seen[first]; ok {
			t.Errorf("%q: got the same key as for %q", purpose, other)
		}
		seen[first] = purpose
	}
}

// TestRightsUser: a user has what it is given and its own inboxes; one that is given nothing to publish may publish nothing.
func TestRightsUser(t *testing.T) {
	_, _, s := create(t)
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	text, seed, err := s.RightsUser(keyring.LOG, "reader", keyring.Rights{Publish: []string{"a.>"}, Deny: []string{"a.b"}, Subscribe: []string{"c"}}, until)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jwt.DecodeUserClaims(text)
	if err != nil {
		t.Fatal(err)
	}
	own := "_INBOX." + claims.Subject + ".>"
	want := jwt.Permissions{Pub: jwt.Permission{Allow: []string{"a.>"}, Deny: []string{"a.b"}}, Sub: jwt.Permission{Allow: []string{own, "c"}}}
	if diff := cmp.Diff(want, claims.Permissions); diff != "" || claims.Expires != until.Unix() || claims.BearerToken || len(seed) == 0 {
		t.Errorf("expires %d, bearer %v, permissions (-want +got):\n%s", claims.Expires, claims.BearerToken, diff)
	}
	text, _, err = s.RightsUser(keyring.APP, "nobody", keyring.Rights{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if claims, err = jwt.DecodeUserClaims(text); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(jwt.StringList{">"}, claims.Pub.Deny); diff != "" || claims.Expires != 0 {
		t.Errorf("expires %d, may not publish (-want +got):\n%s", claims.Expires, diff)
	}
}

// TestCopyWithNewKeys: another store's keys, the same site.
func TestCopyWithNewKeys(t *testing.T) {
	path, k, s := create(t)
	other := filepath.Join(filepath.Dir(path), "other.json")
	if err := k.CopyWithNewKeys(other, master, keyring.By{}); !errors.Is(err, keyring.ErrWrongKey) {
		t.Errorf("with another DEK: got %v, want %v", err, keyring.ErrWrongKey)
	}
	if err := k.CopyWithNewKeys(other, dek, keyring.By{}); err != nil {
		t.Fatal(err)
	}
	if err := k.CopyWithNewKeys(other, dek, keyring.By{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: got %v, want %v", err, os.ErrExist)
	}
	copied := load(t, other)
	got, err := copied.Open(dek)
	if err != nil {
		t.Fatal(err)
	}
	if got.JetStreamKey == s.JetStreamKey || got.StateKey == s.StateKey || got.IndexKey == s.IndexKey {
		t.Error("a key of what is stored is the old one")
	}
	got.JetStreamKey, got.StateKey, got.IndexKey = s.JetStreamKey, s.StateKey, s.IndexKey
	if diff := cmp.Diff(s, got); diff != "" {
		t.Errorf("what stays (-old +new):\n%s", diff)
	}
	if _, err := copied.OpenOperator(master); err != nil || copied.OperatorJWT() != k.OperatorJWT() {
		t.Errorf("the operator: %v", err)
	}
}
