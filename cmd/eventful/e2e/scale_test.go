package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/registry"
)

// witnessing is a program that notes each change, when it came, and who brought it.
const witnessing = `#!/usr/bin/env python3
import json, os, sys, time
out = os.open(sys.argv[1], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
for line in sys.stdin:
    e = json.loads(line)
    note = {"id": e["aggregateid"], "version": int(e["aggregateversion"]), "runner": os.getppid(), "at": time.time()}
    os.write(out, (json.dumps(note) + "\n").encode())
    print(json.dumps({"id": e["id"], "status": "done"}), flush=True)
`

// witnessed is a line of it.
type witnessed struct {
	ID      string
	Version uint64
	Runner  int
	At      float64 // seconds since 1970
}

// rebalancedWithin is what it may take until all partitions are worked on by whom they shall be; tests allow twice that, as the machine may be loaded, and say what it took.
const rebalancedWithin = 5 * time.Second

// shared is a plugin whose partitions are shared by runners that come and go.
type shared struct {
	*cluster
	path string // of what the target noted
}

const sharedPartitions = 6

// newShared starts a writer and a projector; configure makes the plugin whose program notes what it gets, not enabled yet.
func newShared(t *testing.T) (s shared, configure func()) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is missing: the program of the plugin is written in it")
	}
	s = shared{newCluster(t, 1), ""}
	s.path = filepath.Join(s.root, "noted")
	program := s.program("witnessing.py", witnessing)
	s.engine("writer", "writer")
	s.engine("projector", "projector")
	s.put("schema.yaml", schemaText)
	s.introduce(filepath.Join(s.root, "schema.yaml"))
	return s, func() {
		s.must("plugin:config", "noting", "--type=process", "--command="+program+" "+s.path, fmt.Sprint("--partitions=", sharedPartitions), "--types=patient", "--account="+s.account)
	}
}

// TestPartitionsFollowTheRunners goes from one plugin-runner to three and back while clients write: partitions move within seconds, first deliveries are in the order of each
// aggregate, and nothing is lost.
func TestPartitionsFollowTheRunners(t *testing.T) {
	t.Parallel()
	s, configure := newShared(t)
	first := s.engine("plugin-runner", "runner-0")
	configure()
	s.must("plugin:enable", "noting", "--account="+s.account)
	load := s.load(4, 30)
	s.divided("the first runner has all partitions", first)

	began := time.Now()
	second, third := s.engine("plugin-runner", "runner-1"), s.engine("plugin-runner", "runner-2")
	s.report("one runner became three", began, s.divided("three runners share the partitions", first, second, third))
	began = time.Now()
	second.stop()
	s.report("three became two, in order", began, s.divided("two runners share the partitions", first, third))
	began = time.Now()
	third.kill()
	s.report("two became one, by kill -9", began, s.divided("the first runner has all partitions again", first))

	wrote := load()
	var notes []witnessed
	until(t, "everything arrives", func() bool { notes = s.notes(); return s.inOrder(notes) == wrote })
	t.Logf("%d changes, %d of them came again; the longest silence of a partition was %s", wrote, len(notes)-wrote, silence(notes).Round(time.Millisecond))
	s.verify()
}

// load has clients write one command after the other, each to aggregates of its own in turn; end gives how many were stored.
func (s shared) load(clients, aggregates int) (end func() int) {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stored, failed := make([]int, clients), make([]error, clients)
	var all sync.WaitGroup
	for i := range clients {
		c := s.client()
		all.Go(func() {
			for n := 0; ctx.Err() == nil && failed[i] == nil; n++ {
				a := event.AggregateID{Type: "patient", ID: fmt.Sprintf("p%d-%d", i, n%aggregates)}
				_, failed[i] = c.Command(context.Background(), client.Command{Aggregate: a, Event: "note", Fields: client.Fields{"text": fmt.Sprint(n)}, Expected: client.Exactly(event.Version(n / aggregates))})
				stored[i]++
			}
		})
	}
	s.t.Cleanup(func() { stop(); all.Wait() })
	return func() (total int) {
		s.t.Helper()
		stop()
		all.Wait()
		if err := errors.Join(failed...); err != nil {
			s.t.Fatal(err)
		}
		for _, n := range stored {
			total += n
		}
		return total
	}
}

// notes are what the target got so far.
func (s shared) notes() (all []witnessed) {
	s.t.Helper()
	text, err := os.ReadFile(s.path)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var one witnessed
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

func partitionOf(n witnessed) int {
	return registry.Partition(event.AggregateID{Type: "patient", ID: n.ID}, sharedPartitions)
}

// divided waits until these runners alone, and each of them as many, bring the changes of all partitions, and says when that began.
func (s shared) divided(what string, runners ...*engine) (since time.Time) {
	s.t.Helper()
	want := map[int]int{}
	for _, r := range runners {
		want[r.cmd.Process.Pid] = sharedPartitions / len(runners)
	}
	untilWithin(s.t, 4*rebalancedWithin, what, func() bool {
		var now, begun [sharedPartitions]witnessed // the newest note of each partition, and the first one of who brought it
		for _, n := range s.notes() {
			p := partitionOf(n)
			if now[p].Runner != n.Runner {
				begun[p] = n
			}
			now[p] = n
		}
		have, last := map[int]int{}, 0.0
		for p := range now {
			have[now[p].Runner]++
			last = max(last, begun[p].At)
		}
		since = time.UnixMicro(int64(last * 1e6))
		return fmt.Sprint(have) == fmt.Sprint(want)
	})
	return since
}

func (s shared) report(what string, began, settled time.Time) {
	s.t.Helper()
	took := settled.Sub(began)
	s.t.Logf("%s: %s", what, took.Round(time.Millisecond))
	if took > 2*rebalancedWithin {
		s.t.Errorf("%s: took %s, want %s", what, took, rebalancedWithin)
	}
}

// inOrder is how many changes came, repeats left out, each behind the version in front of it.
func (s shared) inOrder(notes []witnessed) (n int) {
	s.t.Helper()
	newest := map[string]uint64{}
	for _, one := range notes {
		switch {
		case one.Version == newest[one.ID]+1:
			newest[one.ID]++
			n++
		case one.Version > newest[one.ID]:
			s.t.Fatalf("got %+v behind version %d", one, newest[one.ID])
		}
	}
	return n
}

// silence is the longest time without a change in a partition.
func silence(notes []witnessed) (longest time.Duration) {
	last := map[int]float64{}
	for _, one := range notes {
		p := partitionOf(one)
		if before, ok := last[p]; ok {
			longest = max(longest, time.Duration((one.At-before)*1e9))
		}
		last[p] = one.At
	}
	return longest
}

// TestPausedRunners stops two plugin-runners in turn, each as if its machine slept, and lets it go on while the other has its partitions and clients write: what it still had under way may come again, but first
// deliveries stay in the order of each aggregate, as the target itself notes, and nothing is lost.
func TestPausedRunners(t *testing.T) {
	t.Parallel()
	s, configure := newShared(t)
	first, second := s.engine("plugin-runner", "runner-0"), s.engine("plugin-runner", "runner-1")
	configure()
	s.must("plugin:enable", "noting", "--account="+s.account)
	load := s.load(4, 30)
	s.divided("both share the partitions", first, second)
	for _, turn := range []struct{ sleeps, stays *engine }{{first, second}, {second, first}} {
		turn.sleeps.pause()
		t.Cleanup(turn.sleeps.resume) // whatever happens: who is stopped cannot be ended in order
		s.divided("the other one has all partitions", turn.stays)
		turn.sleeps.resume()
		s.divided("both share the partitions again", first, second)
	}
	wrote := load()
	var notes []witnessed
	until(t, "everything arrives", func() bool { notes = s.notes(); return s.inOrder(notes) == wrote })
	t.Logf("%d changes, %d of them came again", wrote, len(notes)-wrote)
	s.verify()
}
