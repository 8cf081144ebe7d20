package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/internal/postgrestest"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// Secrets of these tests are stretched as little as may be, as they start hundreds of processes.
func TestMain(m *testing.M) {
	keyring.DefaultCost = keyring.Cost{Memory: 8, Time: 1, Threads: 1}
	testscript.Main(leakless{m}, map[string]func(){
		"eventful":      main,
		"writer":        func() { os.Exit(run.Standalone{Name: "writer", Writer: true}.Main()) },
		"projector":     func() { os.Exit(run.Standalone{Name: "projector", Projector: true}.Main()) },
		"plugin-runner": func() { os.Exit(run.Standalone{Name: "plugin-runner", Runner: true}.Main()) },
		"httpget":       httpGet,
	})
}

// leakless fails a run that leaves goroutines behind. nats-server 2.15.2, a member of a cluster that is shut down while it makes a stream or joins a
// raft group, can leave that store open (seen once in some 40 runs): those two loops of a store are its own.
type leakless struct{ *testing.M }

func (l leakless) Run() int {
	status := l.M.Run()
	left := goleak.Find(goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
	if status == 0 && left != nil {
		fmt.Fprintln(os.Stderr, left)
		return 1
	}
	return status
}

// TestScripts runs the real binary, command by command, as users do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Condition: func(name string) (bool, error) {
			if name == "root" { // root may write everywhere
				return os.Geteuid() == 0, nil
			}
			if name == "postgres" { // with REQUIRE_POSTGRES=1 a missing one is a failure
				return postgrestest.Available() == nil || os.Getenv("REQUIRE_POSTGRES") == "1", nil
			}
			return false, fmt.Errorf("no condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":       exits,
			"capture":     capture,
			"freeport":    freePort,
			"takeport":    takePort,
			"running":     waitRunning,
			"killed":      killed,
			"answers":     answers,
			"nothing":     nothing,
			"secretless":  secretless,
			"sealed":      sealed,
			"shows":       shows,
			"expired":     waitExpired,
			"halfway":     waitHalfway,
			"edit":        editStream,
			"junk":        junk,
			"cluster":     startCluster,
			"postgres":    startPostgres,
			"feed":        startFeed,
			"losing":      losing,
			"published":   published,
			"sql":         runSQL,
			"stopnats":    stopNATS,
			"eventually":  eventually,
			"certificate": makeCertificate,
		},
	})
}

// setupScript gives each script a home of its own, and the folder of the examples of plugins, and sees to it that no server outlives it.
func setupScript(env *testscript.Env) error {
	examples, err := filepath.Abs("../../examples/plugins")
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLES", examples)
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("NO_COLOR", "1")
	env.Defer(func() {
		if err := stopAll(env.WorkDir); err != nil {
			env.T().Log("stop servers:", err)
		}
	})
	return os.Mkdir(filepath.Join(env.WorkDir, "home"), 0o700)
}

func stopAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "run.json" {
			return nil // it went away while we looked
		}
		return run.End(context.Background(), filepath.Dir(path), 10*time.Second, true)
	})
}

// exits N PROGRAM ARGS... runs a program that must end with exit status N.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("got exit status %d, want %d", got, want)
	}
}

// capture VAR REGEXP [FILE] puts the first group that matches in the file (by default stdout) into a variable.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: capture VAR REGEXP [FILE]")
	}
	file := "stdout"
	if len(args) == 3 {
		file = args[2]
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile(file))
	if len(found) != 2 {
		ts.Fatalf("%s does not match %s with one group", file, args[1])
	}
	ts.Setenv(args[0], found[1])
}

// freeport VAR puts a TCP port that nobody listens on into a variable.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	l := takeFirst(ts, neg, args)
	ts.Check(l.Close())
}

// takeport VAR takes a TCP port until the script ends.
func takePort(ts *testscript.TestScript, neg bool, args []string) {
	l := takeFirst(ts, neg, args)
	ts.Defer(func() { _ = l.Close() })
}

func takeFirst(ts *testscript.TestScript, neg bool, args []string) net.Listener {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport VAR, takeport VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	return l
}

// killed DIR kills the server on a data folder as a power cut would, and waits until the folder is free.
func killed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: killed DIR")
	}
	dir := ts.MkAbs(args[0])
	info, err := run.Find(dir)
	ts.Check(err)
	if info == nil || info.PID <= 1 {
		ts.Fatalf("no server runs on %s", dir)
	}
	process, err := os.FindProcess(info.PID)
	ts.Check(err)
	ts.Check(process.Kill())
	poll(ts, "the lock of "+dir, func() bool {
		info, err := run.Find(dir)
		return err == nil && info == nil
	})
}

// expired TOKEN waits until the access token has expired.
func waitExpired(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expired TOKEN")
	}
	claims, err := jwt.DecodeUserClaims(args[0])
	ts.Check(err)
	poll(ts, "the end of a token", func() bool { return time.Now().Unix() >= claims.Expires })
}

// halfway TOKEN waits until more than half of its lifetime is over.
func waitHalfway(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: halfway TOKEN")
	}
	claims, err := jwt.DecodeUserClaims(args[0])
	ts.Check(err)
	middle := time.Unix(claims.IssuedAt, 0).Add(time.Duration(claims.Expires-claims.IssuedAt) * time.Second / 2)
	poll(ts, "half of a token's lifetime", func() bool { return time.Now().After(middle) })
}

// running DIR waits until the server on a data folder accepts commands.
func waitRunning(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: running DIR")
	}
	dir := ts.MkAbs(args[0])
	poll(ts, "a server on "+dir, func() bool {
		info, err := run.Find(dir)
		return err == nil && info != nil && info.Ready
	})
}

// answers URL waits until it gives status 200.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: answers URL")
	}
	poll(ts, args[0], func() bool {
		answer, err := http.Get(args[0])
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	})
}

func poll(ts *testscript.TestScript, what string, done func() bool) {
	tick, late := time.NewTicker(10*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("waited too long for %s", what)
		}
	}
}

// nothing DIR NAME makes sure that nothing below a folder has that name.
func nothing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: nothing DIR NAME")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == args[1] {
			err = fmt.Errorf("%s is there", path)
		}
		return err
	}))
}

// secretless DIR TEXT makes sure that neither arguments nor environment of the server on a data folder hold the text. Where there is no /proc it
// does nothing.
func secretless(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: secretless DIR TEXT")
	}
	info, err := run.Find(ts.MkAbs(args[0]))
	ts.Check(err)
	if info == nil {
		ts.Fatalf("no server runs on %s", args[0])
	}
	for _, name := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(info.PID), name))
		if err == nil && strings.Contains(string(text), args[1]) {
			ts.Fatalf("%s of the server holds the secret", name)
		}
	}
}

// shows REGEXP PROGRAM ARGS... runs a program until its output matches.
func shows(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: shows REGEXP PROGRAM [ARG...]")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	poll(ts, args[0], func() bool { return ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout")) })
}

// sealed DIR TEXT... makes sure that no file below a folder holds a text, in its content or its path.
func sealed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: sealed DIR TEXT...")
	}
	seen := 0
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, text := range args[1:] {
			if err == nil && (strings.Contains(string(content), text) || strings.Contains(path, text)) {
				err = fmt.Errorf("%s holds %q", path, text)
			}
		}
		seen++
		return err
	}))
	if seen == 0 {
		ts.Fatalf("there is no file in %s", args[0])
	}
}

// httpGet is a program of the scripts: it prints the body behind a URL; its exit status is 1 unless the status is 200.
func httpGet() {
	answer, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, answer.Status, err)
		os.Exit(1)
	}
}
