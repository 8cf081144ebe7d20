package e2e_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A server is parted from the others until they go on without it, but at least and at most this long. They go on within an election of nats-server (4 to 9 s), while connections leave the
// parted one and its leases lapse; a machine under load takes longer.
const (
	leastParting = 4 * time.Second
	mostParting  = 30 * time.Second
)

// TestTrafficWhileServersFail: two writers and a replicated log. The nats-server that leads the log is killed, again and again, and then parted from the others, while
// clients write that expect exact versions. The others go on without it, no command fails, and none is lost or stored twice.
func TestTrafficWhileServersFail(t *testing.T) {
	t.Parallel()
	kills, partings := 1, 1
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		kills, partings = 20, 6
	}
	w := &writers{cluster: newCluster(t, 3), within: time.Minute}
	for _, name := range []string{"w1", "w2"} {
		w.engines = append(w.engines, w.engine("writer", name, "--replicas=3"))
	}
	w.engine("projector", "projector")
	w.put("schema.yaml", "aggregate: patient\nevents:\n  note: {fields: [text]}\n")
	w.introduce(filepath.Join(w.root, "schema.yaml"))
	until(t, "both writers follow", func() bool { return w.sharing().followed(2, 2) })
	x := w.traffic(8, "patient")
	x.flows(50, "patient")
	for i := range kills {
		w.killLeader(x, i%2 == 1)
	}
	for range partings {
		w.partLeader(x)
		w.followAgain()
	}
	x.flows(50, "patient")
	x.end(w.client())
	w.verify()
	for _, e := range w.engines {
		if text, err := os.ReadFile(filepath.Join(e.dir, "output")); err != nil || strings.Contains(string(text), "acknowledged events are gone") {
			t.Errorf("a writer took what a server that was cut off said for a loss: %v", err)
		}
	}
	t.Logf("%d commands were answered", x.count("patient"))
}

// followAgain waits until one writer serves each log, and the other follows it.
func (w *writers) followAgain() {
	w.t.Helper()
	var last sharing
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the sharing is %+v\n%s\n%s", last, w.engines[0].output(), w.engines[1].output())
		}
	}()
	untilWithin(w.t, w.within, "both writers follow again", func() bool {
		last = w.sharing()
		return last.followed(2, 2)
	})
}

// leading is the nats-server that leads the patients' log.
func (w *writers) leading() (server int) {
	w.t.Helper()
	until(w.t, "a server leads the log", func() bool {
		server = w.nats.Leader("EVT_" + w.name() + "_patient")
		return server >= 0
	})
	return server
}

// killLeader starts the server again at once, or only when the two others have written.
func (w *writers) killLeader(x *traffic, late bool) {
	w.t.Helper()
	victim, at := w.leading(), time.Now()
	w.nats.Kill(victim)
	if late {
		x.flows(50, "patient")
	}
	w.nats.Start(victim)
	x.flows(50, "patient")
	w.nats.AwaitHealthy()
	w.t.Logf("killed (late start %v): the longest time between two answers was %v", late, x.longest("patient", at).Round(time.Millisecond))
}

// partLeader parts the server until the others have gone on without it. Writers leave it, and clients do when nobody answers for a while.
func (w *writers) partLeader(x *traffic) {
	w.t.Helper()
	victim, at, before := w.leading(), time.Now(), x.count("patient")
	w.nats.Isolate(victim)
	goOn := func() bool { return x.count("patient") > before+50 }
	untilWithin(w.t, w.within, "the others go on, or the parting is over", func() bool {
		return goOn() && time.Since(at) > leastParting || time.Since(at) > mostParting
	})
	if !goOn() {
		w.t.Errorf("the servers that hear each other did not go on within %v", mostParting)
	}
	parted, meanwhile := time.Since(at), x.count("patient")-before
	w.nats.Rejoin(victim)
	x.flows(50, "patient")
	w.nats.AwaitHealthy()
	x.flows(50, "patient")
	w.t.Logf("parted for %v: %d commands were answered meanwhile, the longest time between two answers was %v",
		parted.Round(time.Millisecond), meanwhile, x.longest("patient", at).Round(time.Millisecond))
}

// TestReadyWhileLeasesHold: a writer that cannot renew its leases is not ready, says why, and is ready again by itself.
func TestReadyWhileLeasesHold(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	e := c.engine("writer", "writer")
	c.nats.Kill(0)
	until(t, "it is not ready", func() bool { return !e.ready() })
	answer, err := http.Get("http://127.0.0.1:" + e.httpPort + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "leases could not be renewed") {
		t.Errorf("got status %d, %q, %v, want 503 and the reason", answer.StatusCode, text, err)
	}
	c.nats.Start(0)
	until(t, "it is ready again", e.ready)
}
