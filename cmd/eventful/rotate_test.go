package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

var (
	oldMaster, freshMaster = []byte("old-master-key-of-this-test"), []byte("new-master-key-of-this-test")
	oldDEK, freshDEK       = []byte("old-data-key-of-this-test"), []byte("new-data-key-of-this-test")
)

// rotationApp is an app on a configured folder whose DEK is kept.
func rotationApp(t *testing.T) *app {
	t.Helper()
	a, _ := sessionApp(t)
	a.out, a.in, a.form = &bytes.Buffer{}, nil, "json"
	cheap := keyring.Cost{Memory: 64, Time: 1, Threads: 1}
	if _, _, err := keyring.CreateWithCost(filepath.Join(a.settings.DataDir, run.KeyFile), "ward", oldMaster, oldDEK, cheap); err != nil {
		t.Fatal(err)
	}
	if _, err := a.settings.StoreDEK(oldDEK); err != nil {
		t.Fatal(err)
	}
	return a
}

func loadKeys(t *testing.T, a *app) *keyring.Keyring {
	t.Helper()
	keys, err := a.loadKeys()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestRotationIsCutShort ends a rotation before each of its steps, and behind the last. Behind each the site starts, and the same command brings it to its end.
func TestRotationIsCutShort(t *testing.T) {
	given := keyChange{master: oldMaster, dek: oldDEK, newMaster: freshMaster, newDEK: freshDEK}
	for name, c := range map[string]struct {
		flags  configFlags
		change keyChange
	}{
		"given":     {configFlags{rotateDEK: true, rotateMaster: true}, given},
		"DEK":       {configFlags{rotateDEK: true}, keyChange{dek: oldDEK, newDEK: freshDEK}},
		"generated": {configFlags{rotateDEK: true, generate: true}, keyChange{dek: oldDEK}},
		"master":    {configFlags{rotateMaster: true}, keyChange{master: oldMaster, newMaster: freshMaster}},
	} {
		for done := 0; ; done++ {
			a := rotationApp(t)
			var answer configured
			first, err := a.renewal(loadKeys(t, a), c.flags, c.change, &answer)
			if err != nil {
				t.Fatal(err)
			}
			first.show = func() error { return nil }
			steps := first.steps()
			if done > len(steps) {
				break
			}
			t.Run(fmt.Sprintf("%s, %d of %d steps", name, done, len(steps)), func(t *testing.T) {
				for _, s := range steps[:done] {
					if err := s.do(); err != nil {
						t.Fatalf("%s: %v", s.name, err)
					}
				}
				mustStart(t, a)
				again, err := a.renewal(loadKeys(t, a), c.flags, c.change, &answer)
				if c.flags.generate && done == len(steps) {
					return // it had come to its end, and another one would begin
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := again.run(); err != nil {
					t.Fatal(err)
				}
				mustBeRotated(t, a, again)
				mustBeNoted(t, a, again)
			})
		}
	}
}

// mustStart finds the DEK as `start` does and opens the key file with it.
func mustStart(t *testing.T, a *app) {
	t.Helper()
	secret, err := run.DEK(a.settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadKeys(t, a).Open(secret.Bytes); err != nil {
		t.Errorf("the DEK that start finds: %v", err)
	}
}

// mustBeRotated: the new secrets open, the old ones no longer do, and nothing is staged.
func mustBeRotated(t *testing.T, a *app, r *rotation) {
	t.Helper()
	keys := loadKeys(t, a)
	if r.dek.New != nil {
		if _, err := keys.Open(r.dek.New); err != nil {
			t.Errorf("new DEK: %v", err)
		}
		if _, err := keys.Open(oldDEK); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("old DEK: got %v, want %v", err, keyring.ErrWrongKey)
		}
		kept, err := a.settings.Secret(settings.DEK)
		if err != nil || !bytes.Equal(kept.Bytes, r.dek.New) {
			t.Errorf("the kept DEK is not the new one (%v)", err)
		}
	}
	if r.master.New != nil {
		if _, err := keys.OpenOperator(r.master.New); err != nil {
			t.Errorf("new master key: %v", err)
		}
		if _, err := keys.OpenOperator(oldMaster); !errors.Is(err, keyring.ErrWrongKey) {
			t.Errorf("old master key: got %v, want %v", err, keyring.ErrWrongKey)
		}
	}
	if staged, err := a.settings.StagedDEK(); staged != nil || err != nil {
		t.Errorf("a DEK is staged still (%v)", err)
	}
}

// mustBeNoted: each secret that was replaced is noted once, whatever was cut short before.
func mustBeNoted(t *testing.T, a *app, r *rotation) {
	t.Helper()
	acts, err := loadKeys(t, a).Acts()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, act := range acts {
		got[act.Event+" "+act.Proved]++
	}
	want := map[string]int{}
	if r.master.New != nil {
		want["master-key-replaced master-key"] = 1
	}
	if r.dek.New != nil {
		want["dek-replaced dek"] = 1
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
}

// TestSettingsAreCutShort ends a change of settings before each of its steps, and behind the last. What a writer would enter then is what was done; the same command
// brings it to its end, and it stands there once.
func TestSettingsAreCutShort(t *testing.T) {
	given := map[string]any{"port": 1234, "insecure": true}
	for done := range 5 {
		a := rotationApp(t)
		run := func(n int) {
			r := &rotation{config: a.settings, keys: loadKeys(t, a), dek: keyring.Renewal{Old: oldDEK}}
			for _, s := range a.settingSteps(r, given)[:n] {
				if err := s.do(); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
			}
		}
		run(done)
		saved := done >= 3
		if got := settings.InForce(a.settings.DataDir, map[string]string{"port": "1234", "insecure": "true"}); got != saved {
			t.Fatalf("%d steps: got the settings in force %v, want %v", done, got, saved)
		}
		if got := entering(t, a); got != saved {
			t.Errorf("%d steps: got that a writer enters the act %v, want %v", done, got, saved)
		}
		run(4)
		run(4) // it changes nothing any more
		if !entering(t, a) {
			t.Errorf("%d steps, and all of them: the act is not entered", done)
		}
	}
}

// entering reports whether a writer would enter that settings were changed; never twice.
func entering(t *testing.T, a *app) bool {
	t.Helper()
	acts, err := loadKeys(t, a).Acts()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, act := range acts {
		if !act.Pending || settings.InForce(a.settings.DataDir, act.Settings) {
			n++
		}
		if act.Event != keyring.ActSettings || act.Proved != keyring.ProvedDEK || len(act.Settings) != 2 {
			t.Errorf("got %+v", act)
		}
	}
	if n > 1 {
		t.Errorf("got %d acts", n)
	}
	return n > 0
}

func TestRotationRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		flags  configFlags
		change keyChange
	}{
		"wrong DEK":            {configFlags{rotateDEK: true, generate: true}, keyChange{dek: oldMaster}},
		"wrong master key":     {configFlags{rotateMaster: true, generate: true}, keyChange{master: oldDEK, dek: oldDEK}},
		"weak":                 {configFlags{rotateDEK: true}, keyChange{dek: oldDEK, newDEK: []byte("fifteen_charact")}},
		"DEK and master alike": {configFlags{rotateDEK: true}, keyChange{master: oldMaster, dek: oldDEK, newDEK: oldMaster}},
	} {
		t.Run(name, func(t *testing.T) {
			a := rotationApp(t)
			path := filepath.Join(a.settings.DataDir, run.KeyFile)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.renewal(loadKeys(t, a), c.flags, c.change, &configured{}); err == nil {
				t.Error("got no error")
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the key file was changed (%v)", err)
			}
		})
	}
}

// TestTwoRotationsAtOnce: the second one is told that there is a first.
func TestTwoRotationsAtOnce(t *testing.T) {
	a := rotationApp(t)
	release, err := holdKeys(a.settings.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holdKeys(a.settings.DataDir); err == nil {
		t.Error("got no error, want that another one is at it")
	}
	release()
	if release, err = holdKeys(a.settings.DataDir); err != nil {
		t.Fatal(err)
	}
	release()
}
