package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// program puts a program for plugins into the folder of the test, and lets the host run it from the next start on.
func (s *site) program(name, text string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.root, name)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.env = append(s.env, "EVENTFUL_PLUGIN_PROGRAMS="+path)
	return path
}

// noting is a program that notes each change in a file before it acknowledges it.
const noting = `#!/usr/bin/env python3
import json, os, sys
out = os.open(sys.argv[1], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
for line in sys.stdin:
    e = json.loads(line)
    note = {"id": e["aggregateid"], "version": int(e["aggregateversion"]), "hash": e["id"], "text": e["data"]["fields"].get("text")}
    os.write(out, (json.dumps(note) + "\n").encode())
    print(json.dumps({"id": e["id"], "status": "done"}), flush=True)
`

// noted is a line of it.
type noted struct {
	ID      string
	Version uint64
	Hash    string
	Text    string
}

// TestPluginsUnderKills kills the server, which runs a plugin, while rows are imported: the target gets every version of every aggregate as the log has it, and
// none before those in front of it.
func TestPluginsUnderKills(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is missing: the program of the plugin is written in it")
	}
	const rows, aggregates = 3000, 61
	s := configuredSite(t)
	program := s.program("noting.py", noting)
	s.openWithSchema()
	target := filepath.Join(s.root, "noted")
	s.must("plugin:config", "noting", "--type=process", "--command="+program+" "+target, "--partitions=3", "--types=patient")
	s.must("plugin:enable", "noting")
	var text bytes.Buffer
	text.WriteString("who,what,mark\n")
	for i := range rows {
		fmt.Fprintf(&text, "P %d/*,note,%d\n", (i*i+i/7)%aggregates, i)
	}
	s.put("rows.csv", text.String())
	s.put("mapping.yaml", "id: who\nevent: {column: what}\nfields: {mark: text}\n")
	s.importUnderKills(rows, "data:import", "rows.csv", "--aggregate=patient", "--mapping=mapping.yaml")
	got := map[string]noted{}
	until(t, "the target has every change", func() bool { clear(got); firsts(t, target, got); return len(got) >= rows })
	again := firsts(t, target, map[string]noted{}) - rows
	want := map[string]noted{}
	for a, err := range s.client().List(context.Background(), "patient", client.Latest(), client.PageSize(1000)) {
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range s.client().History(context.Background(), event.AggregateID{Type: "patient", ID: a.ID}, client.PageSize(1000)) {
			if err != nil {
				t.Fatal(err)
			}
			want[fmt.Sprint(a.ID, " ", uint64(e.Version))] = noted{a.ID, uint64(e.Version), e.Hash, *e.Fields["text"]}
		}
	}
	if len(want) != rows || len(got) != rows {
		t.Errorf("got %d changes, the log has %d, want %d", len(got), len(want), rows)
	}
	for key, one := range want {
		if got[key] != one {
			t.Errorf("%s: got %+v, want %+v", key, got[key], one)
		}
	}
	t.Logf("%d of %d changes came again", again, rows)
}

// firsts takes in what the target noted, and holds it to the order of each aggregate: a version comes behind the one before it, the first time. It gives the number of notes.
func firsts(t *testing.T, path string, into map[string]noted) (notes int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var one noted
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		key := fmt.Sprint(one.ID, " ", one.Version)
		before, known := into[key]
		if known && before != one {
			t.Errorf("got %+v, and before %+v", one, before)
		}
		if _, ok := into[fmt.Sprint(one.ID, " ", one.Version-1)]; !ok && one.Version > 1 {
			t.Fatalf("got %+v before the version in front of it", one)
		}
		into[key] = one
		notes++
	}
	return notes
}

// refusing is a program that refuses what holds a canary, and takes all else.
const refusing = `#!/bin/sh
while IFS= read -r line; do
	id=$(printf '%s' "$line" | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/')
	case $line in
	*'Canary Ada'*) echo "{\"id\":\"$id\",\"status\":\"park\",\"error\":\"it is here\"}" ;;
	*) echo "{\"id\":\"$id\",\"status\":\"done\"}" ;;
	esac
done
`

// refusingPlugin is one that is given values of encrypted fields, and parks each change that has them.
func (s *site) refusingPlugin(program string) {
	s.t.Helper()
	s.must("plugin:config", "refusing", "--type=process", "--command="+program, "--pii", "--state", "--types=patient")
	s.must("plugin:enable", "refusing")
}

// parked is how many changes it has parked.
func (s *site) parked() int {
	s.t.Helper()
	return strings.Count(s.must("plugin:parked", "refusing", "-o", "ndjson"), `"it is here"`)
}

// holding is a program that answers once the file beside it is there, and says by another one that it waits for that.
const holding = `#!/bin/sh
while IFS= read -r line; do
	id=$(printf '%s' "$line" | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/')
	: > "$1.waits"
	while [ ! -e "$1" ]; do sleep 0.05; done
	echo "{\"id\":\"$id\",\"status\":\"done\"}"
done
`

// A server that waits for the target of a plugin before it ends says that it is stopping: no status says that it starts, whenever it is asked for. What the target did not answer comes again.
func TestStatusWhileStopping(t *testing.T) {
	t.Parallel()
	s := configuredSite(t)
	arrived, release := make(chan struct{}, 16), make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release }))
	t.Cleanup(target.Close)
	free := sync.OnceFunc(func() { close(release) })
	t.Cleanup(free)
	arrives := func() {
		t.Helper()
		select {
		case <-arrived:
		case <-time.After(patience):
			t.Fatal("no change came to the target")
		}
	}
	s.openWithSchema()
	s.must("plugin:config", "slow", "--type=webhook", "--url="+target.URL, "--allow-networks=127.0.0.0/8", "--types=patient")
	s.must("plugin:enable", "slow")
	s.must("event:add", "patient/note", "--id=A", "--text=x")
	arrives()
	said := s.statuses()
	stopping := s.command("stop")
	if err := stopping.Start(); err != nil {
		t.Fatal(err)
	}
	server := s.freezeWhileStopping()
	s.refused(6, "is stopping", "status")
	if err := syscall.Kill(server, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := stopping.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, text := range said() {
		if strings.Contains(text, "starting") {
			t.Errorf("status says that it starts:\n%s", text)
		}
	}
	s.refused(6, "no server runs", "status")
	s.start()
	arrives()
	free()
	s.verifyAndStop()
}

// statuses asks for the status over and over, twice at a time, until said is called, which gives all answers.
func (s *site) statuses() (said func() []string) {
	var mu sync.Mutex // guards all
	var all []string
	var asking sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for range 2 {
		asking.Go(func() {
			for ctx.Err() == nil {
				text, _ := s.command("status").CombinedOutput() // an error is an exit status: the text says why
				mu.Lock()
				all = append(all, string(text))
				mu.Unlock()
			}
		})
	}
	said = func() []string {
		cancel()
		asking.Wait()
		return all
	}
	s.t.Cleanup(func() { said() })
	return said
}

// freezeWhileStopping stops the clock of a server that was told to end, as soon as its HTTP port is closed, and gives its process id. From then on it says in its data folder that it is stopping.
func (s *site) freezeWhileStopping() int {
	s.t.Helper()
	was := s.info()
	until(s.t, "the HTTP port is closed", func() bool {
		answer, err := http.Get(was.HTTP + "/livez")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err != nil
	})
	if err := syscall.Kill(was.PID, syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	info, err := run.Find(s.dir)
	if err != nil || info == nil || !info.Stopping {
		_ = syscall.Kill(was.PID, syscall.SIGCONT) // so that it can be stopped
		s.t.Fatalf("the HTTP port is closed: got stopping %t, %v, want a server that says so", info != nil && info.Stopping, err)
	}
	return was.PID
}

// A plugin of which a call is under way is not removed, whatever became of the command that disabled it; --force removes it.
func TestRemovingWaitsForTheRunners(t *testing.T) {
	t.Parallel()
	s := configuredSite(t)
	program := s.program("holding.sh", holding)
	s.openWithSchema()
	s.must("event:add", "patient/note", "--id=A", "--text=x")
	const unsettled = "nobody said in time that nothing is under way"
	for _, force := range []bool{false, true} {
		release := filepath.Join(s.root, fmt.Sprint("release-", force))
		s.must("plugin:config", "slow", "--type=process", "--command="+program+" "+release, "--types=patient")
		s.must("plugin:enable", "slow")
		until(t, "the change is at the target", func() bool { _, err := os.Stat(release + ".waits"); return err == nil })
		s.refused(6, unsettled, "plugin:disable", "slow", "--timeout=6s")
		if force {
			s.must("plugin:remove", "slow", "--force")
		} else {
			s.refused(6, unsettled, "plugin:remove", "slow", "--timeout=6s")
			s.must("plugin:show", "slow")
		}
		if err := os.WriteFile(release, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if !force {
			until(t, "it is removed", func() bool { return s.run("plugin:remove", "slow").status != 6 })
		}
		s.refused(3, "there is no plugin", "plugin:show", "slow")
	}
	s.verifyAndStop()
}
