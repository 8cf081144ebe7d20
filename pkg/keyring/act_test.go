package keyring_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/token"
)

var by = keyring.By{User: "anna(1000)", Host: "ward-7"}

// noting is a key file that knows who made it.
func noting(t *testing.T) (string, *keyring.Keyring) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	k, _, err := keyring.New{Site: "ward", MasterKey: master, DEK: dek, Cost: cheap, By: by, Settings: map[string]string{"site": "ward"}}.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, k
}

// mustHold compares the acts of a file, as a fresh reader sees them, with what is wanted: event and what was proved.
func mustHold(t *testing.T, path string, want ...string) []keyring.Act {
	t.Helper()
	acts, err := load(t, path).Acts()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range acts {
		text := a.Event + " " + a.Proved
		if a.Pending {
			text += " pending"
		}
		got = append(got, text)
		if age := time.Since(a.At); a.By != by || age < -time.Second || age > time.Minute || len(a.ID) != 26 {
			t.Errorf("%s: got %+v", a.Event, a)
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
	return acts
}

func TestActsAreNotedWithWhatTheyDo(t *testing.T) {
	path, k := noting(t)
	freshMaster, fresh := []byte("another master key of this test"), []byte("another data key of this test")
	if err := k.Renew(keyring.Renewal{Old: master, New: freshMaster}, keyring.Renewal{Old: dek, New: fresh}, by); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.json")
	if err := k.CopyWithNewKeys(other, fresh, by); err != nil {
		t.Fatal(err)
	}
	want := []string{"site-configured master-key", "master-key-replaced master-key", "dek-replaced dek"}
	acts := mustHold(t, path, want...)
	mustHold(t, other, append(want, "store-reencrypted dek")...)
	if err := k.NoteSettings(by, map[string]string{"port": "1"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := load(t, other).CarryActs(k); err != nil {
			t.Fatal(err)
		}
	}
	mustHold(t, other, append(want, "store-reencrypted dek", "settings-changed nothing pending")...)
	if err := k.SettleSettings(func(map[string]string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if got := acts[0].Settings["site"]; got != "ward" {
		t.Errorf("got site %q, want ward", got)
	}
	for _, secret := range [][]byte{master, dek, fresh, freshMaster} {
		for _, a := range acts {
			if strings.Contains(a.Proof, string(secret)) {
				t.Errorf("%s holds a secret", a.Event)
			}
		}
	}
	for _, refused := range []keyring.Renewal{{Old: master, New: freshMaster}, {Old: fresh, New: []byte("short")}} { // the first does not open any more
		if err := k.Renew(keyring.Renewal{}, refused, by); err == nil {
			t.Error("got no error")
		}
	}
	k.LeaveOut([]string{acts[0].ID, acts[2].ID, "unknown"})
	mustHold(t, path, want...) // nothing was written
	if err := k.NoteSettings(by, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, want[1], "settings-changed nothing pending")
}

func TestSettingsAreNotedBeforeTheyAreChanged(t *testing.T) {
	path, k := noting(t)
	for _, c := range []struct {
		master, dek []byte
		proved      string
	}{{master, nil, "master-key"}, {nil, dek, "dek"}, {nil, nil, "nothing"}, {dek, master, "nothing"}} {
		if err := k.NoteSettings(by, map[string]string{"port": c.proved}, c.master, c.dek); err != nil {
			t.Fatal(err)
		}
	}
	first := []string{"site-configured master-key", "settings-changed master-key", "settings-changed dek"}
	mustHold(t, path, first[0], first[1]+" pending", first[2]+" pending", "settings-changed nothing pending", "settings-changed nothing pending")
	if err := k.SettleSettings(func(s map[string]string) bool { return s["port"] != "nothing" }); err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, first...)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := load(t, path).SettleSettings(func(map[string]string) bool { t.Error("asked though nothing is pending"); return false }); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was written anew (%v)", err)
	}
}

// TestForgedActs: acts that somebody wrote into the file himself prove nothing, and what is no act is named, without hiding the others.
func TestForgedActs(t *testing.T) {
	path, _ := noting(t)
	otherPath, _ := noting(t) // of another site
	foreign := mustHold(t, otherPath, "site-configured master-key")[0].Proof
	own := mustHold(t, path, "site-configured master-key")[0].Proof
	order, err := token.Order{Act: token.OrderRevokeToken, ID: "x"}.Sign(operatorSeed(t, path), load(t, path).AccountID(keyring.APP), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	unproved := func(event, host string) string {
		pair, err := nkeys.CreateOperator()
		if err != nil {
			t.Fatal(err)
		}
		c := jwt.NewGenericClaims(load(t, path).AccountID(keyring.APP))
		c.Data["eventful"] = map[string]any{"v": "1", "act": event, "id": strings.Repeat("A", 26), "host": host, "settings": map[string]string{"role": "writer"}}
		text, err := c.Encode(pair)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	flipped := []byte(own)
	flipped[len(own)/2] ^= 1
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string]string{
		"another site's": foreign, "an order": order, "flipped": string(flipped), "nonsense": "nonsense", "empty": "",
		"a DEK replaced without any": unproved("dek-replaced", ""), "a master key replaced without one": unproved("master-key-replaced", ""), "configured by nobody": unproved("site-configured", ""),
		"credentials of nobody": unproved("credentials-made", ""), "re-encrypted by nobody": unproved("store-reencrypted", ""), "settings without bound": unproved("settings-changed", strings.Repeat("x", 100_000)),
	} {
		t.Run(name, func(t *testing.T) {
			text := bytes.Replace(whole, []byte(`"acts": [`), []byte(`"acts": [{"act":"`+forged+`"},`), 1)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			acts, err := load(t, path).Acts()
			if !errors.Is(err, keyring.ErrCorrupt) || len(acts) != 1 || acts[0].Proof != own {
				t.Errorf("got %d acts, %v, want the true one and ErrCorrupt", len(acts), err)
			}
		})
	}
	if _, err := token.ReadOrder(own, load(t, path).OperatorKeys()[0], load(t, path).AccountID(keyring.APP), time.Now()); err == nil {
		t.Error("an act is taken for an order")
	}
}

func operatorSeed(t *testing.T, path string) []byte {
	t.Helper()
	seed, err := load(t, path).OpenOperator(master)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// TestTooManyActs: nothing is done that could not be noted.
func TestTooManyActs(t *testing.T) {
	path, note := noting(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	acts, err := note.Acts()
	if err != nil {
		t.Fatal(err)
	}
	many := bytes.Repeat([]byte(`{"act":"`+acts[0].Proof+`"},`), keyring.MaxActs-1)
	if err := os.WriteFile(path, bytes.Replace(whole, []byte(`"acts": [`), append([]byte(`"acts": [`), many...), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	k := load(t, path)
	if err := k.Renew(keyring.Renewal{}, keyring.Renewal{Old: dek, New: []byte("another data key of this test")}, by); !errors.Is(err, keyring.ErrFull) {
		t.Errorf("got %v, want %v", err, keyring.ErrFull)
	}
	if _, err := load(t, path).Open(dek); err != nil {
		t.Errorf("the DEK was replaced: %v", err)
	}
	k.LeaveOut([]string{acts[0].ID})
	if err := k.NoteSettings(by, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, path, "settings-changed nothing pending")
	if err := k.NoteSettings(by, map[string]string{"tls-cert": strings.Repeat("x", 600<<10)}, nil, nil); !errors.Is(err, keyring.ErrFull) {
		t.Errorf("an act larger than the file may be: got %v, want %v", err, keyring.ErrFull)
	}
	mustHold(t, path, "settings-changed nothing pending")
}
