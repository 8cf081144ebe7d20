package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// TestWritersWithoutRoom: two writers, each on a small disk of its own. One of these is filled, and the other writer gets its logs; nothing is refused behind that. The other one is filled too: nothing moves,
// commands are refused in words, and reads go on. With room again one writes, and, in torture, both.
func TestWritersWithoutRoom(t *testing.T) {
	t.Parallel()
	if !disktest.Alone(t, requireDisk) {
		return
	}
	types := names(3) // and the system log
	w, disks := newWritersOnDisks(t, types...)
	both := func() bool {
		s := w.sharing()
		return s.followed(2, 4) && min(s.Members[0].Leads, s.Members[1].Leads) >= 1
	}
	until(t, "two writers share the logs", both)
	x := w.roomTraffic(types...)
	x.flows(20)

	first := w.leader(types[0])
	second := w.other(first)
	filled := time.Now()
	free := disktest.Fill(t, disks[first], 60<<20)
	until(t, "the writer with room has all logs", func() bool { return w.leads(first) == 0 && w.leads(second) == 4 })
	x.flows(20)
	refused, last := x.refusals()
	t.Logf("%d commands were refused; the last one %v behind the full disk", refused, last.Sub(filled).Round(time.Millisecond))
	if refused == 0 {
		t.Error("no command was refused by a writer whose disk is full")
	}
	if took := last.Sub(filled); took > 10*time.Second {
		t.Errorf("commands were refused for %v, want some seconds", took)
	}
	disktest.Fill(t, disks[first], 0) // it follows on a disk that is full to the last byte
	x.flows(100)
	if got, _ := x.refusals(); got != refused {
		t.Errorf("%d commands were refused behind the hand-over, want none", got-refused)
	}
	if list := w.must("writer:list", "--account="+w.account); strings.Count(list, "no room") != 4 {
		t.Errorf("writer:list does not name who has no room:\n%s", list)
	}
	o := w.run("writer:resign", types[0], "--account="+w.account)
	if o.status != 4 || !strings.Contains(o.stderr, "no other writer that has room") {
		t.Errorf("writer:resign: got exit status %d with %s, want a conflict that says why", o.status, o.stderr)
	}

	freeSecond := disktest.Fill(t, disks[second], 60<<20)
	until(t, "commands are refused", func() bool { got, _ := x.refusals(); return got > refused+20 })
	w.must("aggregate:get", types[0]+"/room", "--wait-for=latest")
	if w.leads(first) != 0 || w.leads(second) != 4 {
		t.Error("logs moved to a writer that has no room either")
	}
	freeSecond()
	x.flows(20)
	refused, _ = x.refusals()

	if os.Getenv("EVENTFUL_TORTURE") != "" { // half a minute
		room := time.Now()
		free()
		untilWithin(t, 2*time.Minute, "the first writer has a share again", both)
		t.Logf("it had its share %v behind the room", time.Since(room).Round(time.Second))
		x.flows(20)
		if got, _ := x.refusals(); got != refused {
			t.Errorf("%d commands were refused although there was room, want none", got-refused)
		}
	}
	x.end(w.client())
	w.verify()
}

// newWritersOnDisks are two writers like those of newWriters whose folders lie on small file systems, and where.
func newWritersOnDisks(t *testing.T, types ...string) (w *writers, disks map[*engine]string) {
	t.Helper()
	w, disks = &writers{cluster: newCluster(t, 1)}, map[*engine]string{}
	for i := range 2 {
		name, disk := fmt.Sprint("writer-", i), disktest.Tmpfs(t, requireDisk, 160<<20)
		if err := os.Symlink(disk, filepath.Join(w.root, name)); err != nil {
			t.Fatal(err)
		}
		e := w.engine("writer", name, "--min-free=80MiB")
		w.engines, disks[e] = append(w.engines, e), disk
	}
	w.engine("projector", "projector")
	w.introduceTypes(types...)
	return w, disks
}

// leads is how many logs a writer serves.
func (w *writers) leads(e *engine) (n int) {
	w.t.Helper()
	s := w.sharing()
	for _, l := range s.Logs {
		if l.State == "serving" && w.process(s, l.Member) == e {
			n++
		}
	}
	return n
}

// roomTraffic is a client for each type that writes one event after the other to one aggregate, and sends what was refused for want of room again.
type roomTraffic struct {
	t     *testing.T
	types []string
	stop  context.CancelFunc
	wait  sync.WaitGroup

	mu       sync.Mutex // guards below
	versions map[string]event.Version
	refused  int
	last     time.Time // when a command was refused
	failures []error
}

func (w *writers) roomTraffic(types ...string) *roomTraffic {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	x := &roomTraffic{t: w.t, types: types, stop: stop, versions: map[string]event.Version{}}
	w.t.Cleanup(func() { stop(); x.wait.Wait() })
	for _, name := range types {
		c := w.impatient()
		x.wait.Go(func() { x.write(ctx, c, name) })
	}
	return x
}

func (x *roomTraffic) write(ctx context.Context, c *client.Client, name string) {
	for version := event.Version(0); ctx.Err() == nil; {
		within, cancel := context.WithTimeout(context.Background(), patience)
		answer, err := c.Command(within, client.Command{Aggregate: event.AggregateID{Type: name, ID: "room"}, Event: "note", Fields: client.Fields{"text": fmt.Sprint(version)},
			Expected: client.Exactly(version), Context: client.Context{CommandID: fmt.Sprint(name, "-", version)}})
		cancel()
		x.mu.Lock()
		switch p := problem.From(err); {
		case err == nil && answer.Commits[0].Version != version+1:
			x.failures = append(x.failures, fmt.Errorf("version %d of %s was stored as %d", version+1, name, answer.Commits[0].Version))
		case err == nil:
			version++
			x.versions[name] = version
		case errors.Is(err, client.ErrNoSpace), p.Code == problem.UnknownOutcome && strings.Contains(p.Detail, "must stay free"): // the same command id tells
			x.refused, x.last = x.refused+1, time.Now()
		default:
			x.failures = append(x.failures, fmt.Errorf("version %d of %s: %w", version+1, name, err))
		}
		failed := len(x.failures) > 0
		x.mu.Unlock()
		if failed {
			return
		}
	}
}

// flows waits until as many further events of each type are stored.
func (x *roomTraffic) flows(more event.Version) {
	x.t.Helper()
	x.mu.Lock()
	want := map[string]event.Version{}
	for _, name := range x.types {
		want[name] = x.versions[name] + more
	}
	x.mu.Unlock()
	until(x.t, fmt.Sprintf("%d more events of each type", more), func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(x.failures) > 0 {
			x.t.Fatal(errors.Join(x.failures...))
		}
		return !slices.ContainsFunc(x.types, func(name string) bool { return x.versions[name] < want[name] })
	})
}

func (x *roomTraffic) refusals() (n int, last time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.refused, x.last
}

// end ends the clients; the logs hold what was answered.
func (x *roomTraffic) end(c *client.Client) {
	x.t.Helper()
	x.stop()
	x.wait.Wait()
	for _, err := range x.failures {
		x.t.Error(err)
	}
	for name, version := range x.versions {
		state, err := c.Get(context.Background(), event.AggregateID{Type: name, ID: "room"}, client.Latest())
		if err != nil || state.Version != version {
			x.t.Errorf("%s: got %+v, %v, want version %d", name, state, err, version)
		}
	}
}
