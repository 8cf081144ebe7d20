package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// configActs are the acts of config in the system log, oldest first: the event, and the settings that it names.
func (s *site) configActs() (acts []string) {
	s.t.Helper()
	var page struct {
		Acts []struct {
			Event, Actor, Hash string
			Fields             map[string]string
		}
	}
	args := []string{"audit:list", "--aggregate=eventful-config", "--all"}
	if s.server != "" {
		args = append(args, "--account="+s.account)
	}
	s.ask(&page, args...)
	for _, a := range page.Acts {
		if a.Actor != "operator:local" || len(a.Hash) != 64 || a.Fields["user"] == "" || strings.Count(a.Fields["proof"], ".") != 2 {
			s.t.Errorf("got %+v, want an act with actor and proof", a)
		}
		var settings map[string]string
		if text := a.Fields["settings"]; text != "" && json.Unmarshal([]byte(text), &settings) != nil {
			s.t.Errorf("settings %q are no JSON", text)
		}
		acts = append(acts, strings.TrimSpace(a.Event+" "+settings["memory-threshold"]))
	}
	return acts
}

// done is what config has done so far on a data folder, as the folder itself shows.
type done struct {
	salt, threshold string
	acts            []string
}

var thresholds = regexp.MustCompile(`(?m)^memory-threshold = (\d+)`)

func (d *done) look(t *testing.T, dir string) {
	t.Helper()
	var keys struct {
		DEK struct{ KDF struct{ Salt string } }
	}
	text, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	if err == nil {
		err = json.Unmarshal(text, &keys)
	}
	settings, err2 := os.ReadFile(filepath.Join(dir, "config.toml"))
	if err != nil || err2 != nil || keys.DEK.KDF.Salt == "" {
		t.Fatalf("look at the data folder: %v, %v", err, err2)
	}
	if found := thresholds.FindSubmatch(settings); found != nil && string(found[1]) != d.threshold {
		d.threshold = string(found[1])
		d.acts = append(d.acts, "settings-changed "+d.threshold)
	}
	if salt := keys.DEK.KDF.Salt; salt != d.salt {
		if d.salt != "" {
			d.acts = append(d.acts, "dek-replaced")
		}
		d.salt = salt
	}
}

// TestConfigUnderKills kills `config`, which replaces the DEK and changes a setting, at moments of chance, with a server that runs and without, and the server too. Of
// everything that config did, and of nothing else, there is one act in the system log, in the order in which it was done.
func TestConfigUnderKills(t *testing.T) {
	t.Parallel()
	rounds := 8
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		rounds = 60
	}
	s := newSite(t)
	d := done{acts: []string{"site-configured"}}
	d.look(t, s.dir)
	began := time.Now()
	s.must("config", "--rotate-dek", "--generate", "--memory-threshold=1")
	takes := time.Since(began)
	d.look(t, s.dir)
	for i := range rounds {
		cmd := s.command("config", "--rotate-dek", "--generate", "--memory-threshold="+strconv.Itoa(i+2))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		dies := time.AfterFunc(takes/4+rand.N(takes), func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // it was killed, or not
		dies.Stop()
		d.look(t, s.dir)
		switch i % 4 {
		case 1:
			s.kill()
		case 3:
			s.start()
		}
	}
	if !s.running() {
		s.start()
	}
	s.must("config", "--memory-threshold=1000000")
	d.look(t, s.dir)
	until(t, "the last act is entered", func() bool {
		acts := s.configActs()
		return len(acts) > 0 && acts[len(acts)-1] == "settings-changed 1000000"
	})
	s.kill()
	if err := os.Remove(filepath.Join(s.dir, "acts-entered")); err != nil {
		t.Fatal(err)
	}
	s.start()
	until(t, "all acts were looked at again", func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "acts-entered"))
		return err == nil
	})
	if diff := cmp.Diff(d.acts, s.configActs()); diff != "" {
		t.Errorf("acts (-done +entered):\n%s", diff)
	}
	t.Logf("%d acts, config takes %s", len(d.acts), takes.Round(time.Millisecond))
}

// TestConfigActsReachTheSystemLog: with engines in processes of their own, whichever of their key files `config` changed, and wherever that file is copied to.
func TestConfigActsReachTheSystemLog(t *testing.T) {
	t.Parallel()
	w := newWriters(t, 2, "patient")
	until(t, "both writers follow", func() bool { return w.sharing().followed(2, 2) })
	system := w.leader("eventful")
	other := w.other(system)
	fresh := filepath.Join(w.root, "fresh-dek")
	if err := os.WriteFile(fresh, []byte("canary-fresh-data-key-of-the-tests"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must("config", "--rotate-dek", "--new-dek-file="+fresh, "EVENTFUL_DATA_DIR="+other.dir, "EVENTFUL_DEK="+dataKey)
	want := []string{"site-configured", "dek-replaced"}
	until(t, "the act is entered", func() bool { return len(w.configActs()) >= len(want) })
	before := system.enteredActs()
	keys, err := os.ReadFile(filepath.Join(other.dir, "keys.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(system.dir, "keys.json"), keys, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	until(t, "both have looked at the key file", func() bool {
		now := system.enteredActs()
		return now != before && now == other.enteredActs()
	})
	if diff := cmp.Diff(want, w.configActs()); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
	if text := fmt.Sprint(w.configActs()); strings.Contains(text, "canary") {
		t.Errorf("an act holds a secret: %s", text)
	}
	w.verify()
}

// enteredActs is what a writer noted of the acts in its key file.
func (e *engine) enteredActs() string {
	text, _ := os.ReadFile(filepath.Join(e.dir, "acts-entered")) // none yet
	return string(text)
}
