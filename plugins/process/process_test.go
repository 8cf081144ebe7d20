package process_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/plugins/process"
)

// TestMain is the child too: its first argument says how it behaves.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2], os.Args[3:])
		return
	}
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil { // else each child waits a second for its race detector
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

type line struct {
	ID, Subject, AggregateType, AggregateVersion string
	Deletes, Forgotten                           bool
}

func child(how string, args []string) {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for n := 0; lines.Scan(); n++ {
		var e line
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			panic(err)
		}
		switch how {
		case "exit":
			return
		case "hang": // reads on, and says nothing
		case "garbage":
			fmt.Println("hello there")
		case "stranger":
			fmt.Println(`{"id":"nobody","status":"done"}`)
		case "long": // a line of 1 GiB
			for range 1 << 10 {
				fmt.Print(strings.Repeat("x", 1<<20))
			}
		case "deaf": // closes its input
			os.Stdin.Close()
			<-time.After(time.Hour)
		case "daemon": // ends, and leaves behind who holds its pipes, out of reach of a kill of its group
			left := exec.Command("setsid", "sleep", "600")
			left.Stdin, left.Stdout, left.Stderr = os.Stdin, os.Stdout, os.Stderr
			if err := left.Start(); err != nil {
				panic(err)
			}
			if err := os.WriteFile(fmt.Sprint(args[0], "/", left.Process.Pid), nil, 0o600); err != nil {
				panic(err)
			}
			panic("it ends")
		case "late": // dies once, half-way
			if _, err := os.Stat(args[0] + ".died"); err != nil && n == 50 {
				_ = os.WriteFile(args[0]+".died", nil, 0o600)
				return
			}
			keep(args[0], e)
		case "keep":
			keep(args[0], e)
		}
	}
}

// keep notes what came, and acknowledges it.
func keep(path string, e line) {
	if e.AggregateType != "eventful-test" && !e.Forgotten {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(f, "%s\x00%s\x00%t\n", e.Subject, e.AggregateVersion, e.Deletes)
		f.Close()
	}
	fmt.Printf("{\"id\":%q,\"status\":\"done\"}\n", e.ID)
}

func open(t *testing.T, args ...string) plugin.Plugin {
	t.Helper()
	return openWith(t, process.Host{Programs: []string{self()}}, strings.Join(append([]string{self(), "child"}, args...), " "))
}

func openWith(t *testing.T, host process.Host, command string) plugin.Plugin {
	t.Helper()
	return plugintest.Open(t, process.Kind(host), plugin.Settings{Name: "test", Site: "here", Options: plugin.Values{"command": command}})
}

// newest reads what the child kept: the last version that came.
func newest(t *testing.T, path string, a event.AggregateID) (v event.Version) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		parts := strings.Split(strings.TrimSpace(l), "\x00")
		if parts[0] != a.String() {
			continue
		}
		if _, err := fmt.Sscan(parts[1], &v); err != nil {
			t.Fatal(err)
		}
		if parts[2] == "true" {
			v = 0
		}
	}
	return v
}

func TestConforms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kept")
	plugintest.Run(t, plugintest.Target{
		Kind: process.Kind(process.Host{Programs: []string{self()}}), Deletes: true,
		Open:   func(t *testing.T) plugin.Plugin { return open(t, "keep", path) },
		Newest: func(t *testing.T, a event.AggregateID) event.Version { return newest(t, path, a) },
	})
}

// The example in Python keeps what came, the newest version last, and takes out what is forgotten.
func TestTheExample(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is missing: the example is written in it")
	}
	example, err := filepath.Abs("../../examples/plugins/process.py")
	if err != nil {
		t.Fatal(err)
	}
	path, host := filepath.Join(t.TempDir(), "mirror"), process.Host{Programs: []string{example}}
	plugintest.Run(t, plugintest.Target{
		Kind: process.Kind(host), Versioned: true,
		Open: func(t *testing.T) plugin.Plugin { return openWith(t, host, example+" "+path) },
		Newest: func(t *testing.T, a event.AggregateID) (v event.Version) {
			text, err := os.ReadFile(path)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			for l := range strings.Lines(string(text)) {
				var one struct {
					Aggregate string
					Version   event.Version
				}
				if err := json.Unmarshal([]byte(l), &one); err != nil {
					t.Fatalf("%q: %v", l, err)
				}
				if one.Aggregate == a.String() {
					v = one.Version
				}
			}
			return v
		},
	})
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if strings.Contains(l, `"patient/forgotten-`) && strings.Contains(l, "Ada") {
			t.Errorf("got %s, want it without what was forgotten", l)
		}
	}
}

// A child that misbehaves loses nothing, and holds no call for longer than it may take.
func TestChildrenThatMisbehave(t *testing.T) {
	for how, want := range map[string]string{
		"exit": "the program ended: exit status 0", "hang": "did not acknowledge", "garbage": "no JSON object; each line of its standard output must be an acknowledgement", "long": "more than 65536 bytes", "deaf": "",
		"stranger": `acknowledged "nobody", which nobody waits for`,
	} {
		t.Run(how, func(t *testing.T) {
			p := open(t, how)
			var changes []plugin.Change
			for i := range 2000 { // more than a pipe holds
				changes = append(changes, plugintest.Change(fmt.Sprint("a", i), 1, "text", strings.Repeat("x", 200)))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			for _, o := range p.Deliver(ctx, plugin.Batch{Changes: changes}) {
				if o.Status != plugin.StatusRetry || o.Err == nil || !strings.Contains(o.Err.Error(), want) {
					t.Fatalf("got %s, %v, want retry with %q", o.Status, o.Err, want)
				}
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the call took %s", took)
			}
			if o := p.Deliver(t.Context(), plugin.Batch{Changes: changes[:1]}); o[0].Status != plugin.StatusRetry || !strings.Contains(o[0].Err.Error(), "started again in") {
				t.Errorf("got %s, %v: a child that failed is not started again at once", o[0].Status, o[0].Err)
			}
		})
	}
}

// A child that leaves somebody behind who holds its pipes is replaced, told by how it ended, and closed, as any other.
func TestAChildThatLeavesADaemon(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("setsid is missing")
	}
	dir := t.TempDir()
	daemons := func() (pids []int) {
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range left {
			pid, err := strconv.Atoi(one.Name())
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return pids
	}
	t.Cleanup(func() { // behind the plugin, which must not need it
		for _, pid := range daemons() {
			if left, err := os.FindProcess(pid); err != nil || left.Kill() != nil {
				t.Errorf("the daemon %d was not there any more: %v", pid, err)
			}
		}
	})
	p := open(t, "daemon", dir)
	var changes []plugin.Change
	for i := range 2000 { // more than a pipe holds, which nobody reads any more
		changes = append(changes, plugintest.Change(fmt.Sprint("a", i), 1, "text", strings.Repeat("x", 200)))
	}
	until(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		o := p.Deliver(ctx, plugin.Batch{Changes: changes})[0]
		if o.Status != plugin.StatusRetry || !strings.Contains(o.Err.Error(), "the program ended: exit status 2") {
			t.Fatalf("got %s, %v, want retry with how the program ended", o.Status, o.Err)
		}
		return len(daemons()) > 1
	})
}

func TestAChildThatDiesIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kept")
	p := open(t, "late", path)
	left := map[int]bool{}
	for i := range 200 {
		left[i] = true
	}
	for deadline := time.Now().Add(20 * time.Second); len(left) > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d changes did not arrive", len(left))
		}
		var numbers []int
		var changes []plugin.Change
		for i := range left {
			numbers, changes = append(numbers, i), append(changes, plugintest.Change(fmt.Sprint("a", i), 1))
		}
		for n, o := range p.Deliver(t.Context(), plugin.Batch{Changes: changes}) {
			if o.Status == plugin.StatusDone {
				delete(left, numbers[n])
			}
		}
	}
	for i := range 200 {
		if v := newest(t, path, event.AggregateID{Type: "patient", ID: fmt.Sprint("a", i)}); v != 1 {
			t.Errorf("a%d: got version %d", i, v)
		}
	}
}

// self is this program, which plays the child.
func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// TestAProgramThatGoes: one that was there when the plugin was opened.
func TestAProgramThatGoes(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if err := os.WriteFile(gone, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := process.Kind(process.Host{Programs: []string{gone}})
	p, err := k.Open(t.Context(), plugin.Settings{Options: plugin.Values{"command": gone}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Test(t.Context()); err == nil || !strings.Contains(err.Error(), "start the program") {
		t.Errorf("one that cannot be run: got %v", err)
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		err := p.Test(t.Context())
		return err != nil && strings.Contains(err.Error(), "find the program")
	})
}

// The pauses before a program that fails is started again do not grow beyond what the configuration allows.
func TestThePausesAreBounded(t *testing.T) {
	t.Parallel()
	p, err := process.Kind(process.Host{Programs: []string{self()}}).Open(t.Context(), plugin.Settings{Name: "test", Site: "here", Options: plugin.Values{"command": self() + " child exit", "max-backoff": "150ms"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	pause, told := regexp.MustCompile(`started again in ([0-9a-zµ.]+):`), 0
	deadline := time.Now().Add(30 * time.Second)
	for starts := 0; starts < 5; {
		err := p.Test(t.Context())
		found := pause.FindStringSubmatch(fmt.Sprint(err))
		if found == nil {
			starts++ // it ran, and ended
		} else if left, err := time.ParseDuration(found[1]); err != nil || left > 150*time.Millisecond {
			t.Fatalf("got a pause of %s, %v, want at most 150ms", found[1], err)
		} else if told++; time.Now().After(deadline) {
			t.Fatal("it is not started again")
		}
	}
	if told == 0 {
		t.Error("no pause was told")
	}
}
