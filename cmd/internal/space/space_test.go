package space_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const gib = 1 << 30

// disks are file systems that the test fills.
type disks struct {
	mu  sync.Mutex // guards all
	all map[string]space.Usage
	err error
}

func (d *disks) look(dir string) (space.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[dir], d.err
}

func (d *disks) set(dir string, free uint64, unwritable error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all[dir] = space.Usage{Free: free, Total: 100 * gib, Unwritable: unwritable}
}

// watching runs a Watcher on two disks of 100 GiB; tick has it look, and tells why it refuses then.
func watching(t *testing.T, c space.Config) (w *space.Watcher, d *disks, tick func() string) {
	t.Helper()
	d = &disks{all: map[string]space.Usage{}}
	d.set("/data", 50*gib, nil)
	d.set("/logs", 50*gib, nil)
	ticks := make(chan time.Time)
	c.Folders = []space.Folder{{Name: "data folder", Dir: "/data"}, {Name: "logs", Dir: "/logs"}}
	c.Limits, c.Look, c.Ticks = space.Limits{Bytes: gib, Percent: 5}, d.look, ticks
	w = space.New(c)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("got error %v from Run, want nil", err)
		}
	})
	return w, d, func() string {
		ticks <- time.Time{} // the look before is over …
		ticks <- time.Time{} // … and so is the first of these
		return detail(w)
	}
}

func detail(w *space.Watcher) string {
	p := w.Check()
	if p == nil {
		return ""
	}
	if p.Code != problem.NoSpace || p.Hint == "" || p.ExitStatus() != 6 {
		return fmt.Sprintf("%+v is no problem with a hint", p)
	}
	return p.Detail
}

func TestWritingEndsAndGoesOn(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	w, d, tick := watching(t, space.Config{Log: zerolog.New(&log), Metrics: registry})
	for i, step := range []struct {
		dir        string
		free       uint64
		unwritable error
		want       string
	}{
		{"/logs", 5*gib + 1, nil, ""},
		{"/logs", 5*gib - 1, nil, "the disk of the logs has 5.0 GiB free of 100.0 GiB, and 5.0 GiB must stay free"},
		{"/logs", 5*gib + gib/4, nil, "the disk of the logs has 5.2 GiB free"}, // not yet a tenth more
		{"/logs", 6 * gib, nil, ""},
		{"/logs", 5*gib + gib/4, nil, ""},
		{"/data", 0, nil, "the disk of the data folder has 0 B free"},
		{"/data", 50 * gib, nil, ""},
		{"/data", 50 * gib, syscall.EROFS, "the data folder cannot be written: read-only file system"},
		{"/data", 50 * gib, nil, ""},
	} {
		d.set(step.dir, step.free, step.unwritable)
		if got := tick(); !strings.HasPrefix(got, step.want) || (got == "") != (step.want == "") {
			t.Errorf("step %d: got %q, want %q", i, got, step.want)
		}
		if got := w.Room(); got != (step.want == "") {
			t.Errorf("step %d: got room %v, refused %v", i, got, step.want != "")
		}
		if got := strings.Count(metrics(t, registry), "eventful_writes_refused 1"); (got == 1) != (step.want != "") {
			t.Errorf("step %d: got the metric %d times, want it while writes are refused", i, got)
		}
	}
	d.mu.Lock()
	d.err = errors.New("input/output error")
	d.mu.Unlock()
	if got := tick(); !strings.Contains(got, "input/output error") {
		t.Errorf("got %q of a disk that cannot be examined, want a refusal", got)
	}
	if stopped, again := strings.Count(log.String(), "writes are refused"), strings.Count(log.String(), "accepted again"); stopped != 4 || again != 3 {
		t.Errorf("got %d and %d messages, want one for each of 4 ends and 3 returns:\n%s", stopped, again, log.String())
	}
	if got := w.Limit("logs"); got != 0 { // it could not be looked at
		t.Errorf("got limit %d, want none", got)
	}
}

func metrics(t *testing.T, r *prometheus.Registry) string {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		for _, m := range f.GetMetric() {
			fmt.Fprintln(&text, f.GetName(), m.GetGauge().GetValue())
		}
	}
	return text.String()
}

func TestLimits(t *testing.T) {
	look := func(total uint64) func(string) (space.Usage, error) {
		return func(string) (space.Usage, error) { return space.Usage{Total: total}, nil }
	}
	for _, c := range []struct {
		limits      space.Limits
		total, want uint64
	}{
		{space.Limits{Bytes: gib, Percent: 5}, 10 * gib, gib},
		{space.Limits{Bytes: gib, Percent: 5}, 100 * gib, 5 * gib},
		{space.Limits{Bytes: gib}, 100 * gib, gib},
		{space.Limits{Percent: 5}, 200, 10},
		{space.Limits{}, 100 * gib, 0},
	} {
		w := space.New(space.Config{Folders: []space.Folder{{Name: "x", Dir: "/x"}}, Limits: c.limits, Look: look(c.total)})
		if got := w.Limit("x"); got != c.want {
			t.Errorf("%+v of %d: got %d, want %d", c.limits, c.total, got, c.want)
		}
		if refused := w.Check() != nil; refused != (c.want > 0) {
			t.Errorf("%+v of %d with nothing free: got refused %v", c.limits, c.total, refused)
		}
	}
}

func TestAFault(t *testing.T) {
	fault := errors.New("stream EVT_x cannot be written")
	w := space.New(space.Config{Fault: func() error { return fault }})
	if got := detail(w); got != fault.Error() {
		t.Errorf("got %q, want %q", got, fault)
	}
	if !w.Room() {
		t.Error("got no room in the folders, which have nothing to do with it")
	}
	fault = nil
	if got := detail(w); got != "" {
		t.Errorf("got %q, want no refusal", got)
	}
}

// A cluster writes while more than half of its servers have room.
func TestStoresOfServers(t *testing.T) {
	full, roomy, endless := space.Store{Server: "n1", Used: 96, Max: 100}, space.Store{Server: "n2", Used: 90, Max: 100}, space.Store{Server: "n3", Used: 1 << 50, Max: -1}
	for name, c := range map[string]struct {
		stores []space.Store
		err    error
		want   bool
	}{
		"one server with room": {stores: []space.Store{roomy}},
		"one full server":      {stores: []space.Store{full}, want: true},
		"no limit":             {stores: []space.Store{endless}},
		"one of three":         {stores: []space.Store{full, roomy, endless}},
		"two of three":         {stores: []space.Store{full, full, endless}, want: true},
		"nobody tells":         {err: errors.New("no answer")},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{})
			var once sync.Once
			w, _, tick := watching(t, space.Config{Stores: func(context.Context) ([]space.Store, error) {
				once.Do(func() { close(asked) })
				return c.stores, c.err
			}})
			<-asked
			deadline := time.Now().Add(5 * time.Second)
			for (detail(w) != "") != c.want && time.Now().Before(deadline) {
				tick()
			}
			if got := detail(w); (got != "") != c.want || c.want && !strings.Contains(got, "server n1 holds 96 B of at most 100 B") {
				t.Errorf("got %q, want refused %v", got, c.want)
			}
			if !w.Room() {
				t.Error("got no room in the folders, whose disks are not the servers'")
			}
		})
	}
}

func TestLook(t *testing.T) {
	dir := t.TempDir()
	u, err := space.Look(filepath.Join(dir, "not", "made", "yet"))
	if err != nil || u.Total == 0 || u.Free > u.Total || u.Unwritable != nil {
		t.Errorf("got %+v, error %v, want the file system of the folder above", u, err)
	}
	if err := space.Probe(dir); err != nil {
		t.Errorf("got error %v, want a folder that can be written", err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("got %v, error %v behind the probe, want an empty folder", left, err)
	}
	if err := space.Probe(filepath.Join(dir, "gone")); err == nil {
		t.Error("got no error for a folder that does not exist")
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "17": 17, "1KiB": 1024, "512MiB": 512 << 20, "1GiB": gib, "1.5 GiB": gib + gib/2, " 2TiB ": 2 << 40} {
		if got, err := space.Parse(text); got != want || err != nil {
			t.Errorf("%q: got %d, error %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1GB", "1.5", "1e3GiB", "9999999999EiB", "8EiB", "NaNGiB", "InfGiB", "-1GiB", "0x1p2GiB", "1_0MiB", "18446744073709551616"} {
		if got, err := space.Parse(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1 << 10: "1.0 KiB", 1<<20 + 1<<19: "1.5 MiB", 3 * gib: "3.0 GiB", 1 << 60: "1.0 EiB"} {
		if got := space.Format(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

// A folder that goes away under a running server, or gives its place to another, is not written to: the open files of the old one would take what nobody finds.
func TestAHeldFolderIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	look := func(string) (space.Usage, error) { return space.Usage{Free: 50 * gib, Total: 100 * gib}, nil }
	ticks := make(chan time.Time)
	w := space.New(space.Config{Folders: []space.Folder{{Name: "data folder", Dir: dir, Held: true}}, Limits: space.Limits{Bytes: gib}, Look: look, Ticks: ticks})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	check := func(refused bool) {
		t.Helper()
		ticks <- time.Time{}
		ticks <- time.Time{}
		if got := detail(w); strings.Contains(got, "removed or replaced") != refused {
			t.Errorf("got %q, want it refused: %v", got, refused)
		}
	}
	check(false)
	away := dir + "-away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	check(true)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	check(true)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	check(false)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
