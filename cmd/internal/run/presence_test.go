package run_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// serveVariable names the data folder on which this test binary, started by a test, runs a server.
const serveVariable = "EVENTFUL_TEST_SERVE"

var dek = []byte("0123456789abcdef0123456789abcdef")

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveVariable); dir != "" {
		serve(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func serve(dir string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s := run.Server{DataDir: dir, DEK: dek, Host: "127.0.0.1", NoEngines: true, UnsafeNoSync: true, Log: zerolog.Nop()}
	if err := s.Serve(ctx, func(info *run.Info) { fmt.Println(info.PID) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// server is a server in a process of its own.
type server struct {
	*exec.Cmd
	dir string
	out *bufio.Reader
}

func configured(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, _, err := keyring.CreateWithCost(filepath.Join(dir, run.KeyFile), "here", []byte("a master key of the test"), dek, keyring.Cost{Memory: 64, Time: 1, Threads: 1}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startOn starts a server and waits until it is ready.
func startOn(t *testing.T, dir string) *server {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{cmd, dir, bufio.NewReader(out)}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := s.out.ReadString('\n'); err != nil || strings.TrimSpace(line) != strconv.Itoa(cmd.Process.Pid) {
		t.Fatalf("got %q, %v, want the server to be ready", line, err)
	}
	return s
}

func (s *server) remove(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// A server whose files were removed is found, writes them again, and can be ended.
func TestLostRunFiles(t *testing.T) {
	s := startOn(t, configured(t))
	before, err := run.Find(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.remove(t, "run.json", "eventful.pid")
	info, err := run.Find(s.dir)
	if err != nil || info == nil || info.PID != s.Process.Pid || info.HTTP != before.HTTP || info.NATS == "" || info.Site != "here" || !info.Ready {
		t.Fatalf("got %+v, %v without run.json, want %+v", info, err, before)
	}
	poll(t, "run.json and eventful.pid are written again", func() bool {
		text, err := os.ReadFile(filepath.Join(s.dir, "eventful.pid"))
		_, other := os.Stat(filepath.Join(s.dir, "run.json"))
		return err == nil && other == nil && string(text) == strconv.Itoa(s.Process.Pid)+"\n"
	})
	s.remove(t, "lock")
	poll(t, "the lock is taken anew", func() bool {
		info, err := run.Find(s.dir)
		return err == nil && info != nil && info.PID == s.Process.Pid && info.Ready
	})
	if _, err := run.Acquire(s.dir); !errors.Is(err, &problem.Problem{Code: problem.Locked}) {
		t.Errorf("got %v for another lock, want locked", err)
	}
	s.remove(t, "run.json", "eventful.pid")
	if err := run.End(t.Context(), s.dir, 20*time.Second, false); err != nil {
		t.Fatalf("got %v, want the server to end", err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("got %v, want an end in peace", err)
	}
	if info, err := run.Find(s.dir); info != nil || err != nil {
		t.Errorf("got %+v, %v behind the end, want nothing", info, err)
	}
}

// A server that is told to end answers at its port until it is written down that it is stopping: who finds nobody there, having found the server, looks into the data folder again.
func TestThePortOutlivesTheWordOfItsEnd(t *testing.T) {
	s := startOn(t, configured(t))
	pipe := filepath.Join(s.dir, "run.json.new")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil { // writing it down takes until somebody reads
		t.Fatal(err)
	}
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var info *run.Info
	poll(t, "the lock file says that it is stopping", func() (said bool) {
		var err error
		info, err = run.Find(s.dir)
		return err == nil && info != nil && info.Stopping
	})
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 50 {
		answer, err := web.Get(info.HTTP + "/livez")
		if err != nil {
			t.Fatalf("got %v before it was written down", err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.ReadFile(pipe); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("got %v, want an end in peace", err)
	}
}

// Right behind kill -9 a server can be started, whatever of it is left.
func TestStartBehindKill(t *testing.T) {
	dir := configured(t)
	for range 3 {
		s := startOn(t, dir)
		if err := s.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if info, err := run.Find(dir); info != nil || err != nil {
			t.Fatalf("got %+v, %v, want nobody", info, err)
		}
		lock, err := run.Acquire(dir)
		if err != nil {
			t.Fatalf("got %v, want the lock", err)
		}
		if info, err := run.Find(dir); info == nil || info.PID != 0 || err != nil {
			t.Errorf("got %+v, %v while a command works on the folder, want no process id", info, err)
		}
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
	}
}

// As long as the kernel is ending the holder, those who look and those who want the lock wait.
func TestWaitForTheDying(t *testing.T) {
	for name, ask := range map[string]func(dir string) error{
		"find": func(dir string) error {
			info, err := run.Find(dir)
			if info != nil {
				err = fmt.Errorf("found %+v", info)
			}
			return err
		},
		"acquire": func(dir string) error {
			lock, err := run.Acquire(dir)
			if err == nil {
				err = lock.Release()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			lock, err := run.Acquire(dir)
			if err != nil {
				t.Fatal(err)
			}
			pid, mark := zombie(t)
			text := fmt.Sprintf(`{"format": 1, "pid": %d, "mark": %q}`, pid, mark)
			if err := os.WriteFile(filepath.Join(dir, "lock"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(500*time.Millisecond, func() { _ = lock.Release() })
			if err := ask(dir); err != nil {
				t.Errorf("got %v, want to have waited", err)
			}
		})
	}
}

// zombie gives a process that has ended and that nobody has asked for its status, and when it began.
func zombie(t *testing.T) (pid int, mark string) {
	t.Helper()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	poll(t, "the process has ended", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		_, behind, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(behind)
		mark = fields[19]
		return fields[0] == "Z"
	})
	return cmd.Process.Pid, mark
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
