package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
)

var (
	master  = regexp.MustCompile(`(?m)^master key +(\S+)$`)
	secrets = regexp.MustCompile(`\b(SA[A-Z2-7]{56}|eyJ[\w-]+\.[\w-]+\.[\w-]+)`)
	status  = regexp.MustCompile(`# .*exit status (\d)`)
	export  = regexp.MustCompile(`^export (\w+)=\S*…`)
)

// TestReadme runs the commands of "Ten minutes" as they stand in README, in order.
func TestReadme(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tour, found := strings.Cut(string(text), "\n## Ten minutes\n")
	if tour, _, _ = strings.Cut(tour, "\n## "); !found {
		t.Fatal("README has no section Ten minutes")
	}
	r := newReader(t, root)
	for _, line := range strings.Split(tour, "\n") {
		if command, ok := strings.CutPrefix(line, "    "); ok {
			r.follow(command)
		}
	}
	if r.ran < 15 {
		t.Errorf("got %d commands, want at least 15: was the tour found?", r.ran)
	}
}

// reader is somebody who types what README says, in a folder where the repository's docs are.
type reader struct {
	t         *testing.T
	root, dir string
	env       []string
	last      string // what the newest command printed
	ran       int
}

func newReader(t *testing.T, root string) *reader {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(root, "docs"), filepath.Join(dir, "docs")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run.End(context.Background(), filepath.Join(dir, ".eventful"), 10*time.Second, true); err != nil {
			t.Error("stop the server:", err)
		}
	})
	r := &reader{t: t, root: root, dir: dir}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "EVENTFUL_") {
			r.env = append(r.env, pair)
		}
	}
	r.env = append(r.env, "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "EVENTFUL_PORT=0", "EVENTFUL_NATS_PORT=0")
	return r
}

// follow does one line: a command, or the export of a secret that the command before has shown.
func (r *reader) follow(line string) {
	r.t.Helper()
	switch e := export.FindStringSubmatch(line); {
	case strings.HasPrefix(line, "git clone "), strings.HasPrefix(line, "go build "): // the tests have a binary of this tree
	case e != nil:
		secret := secrets.FindString(r.last)
		if secret == "" {
			r.t.Fatalf("%s\nthe command before shows no secret:\n%s", line, r.last)
		}
		r.env = append(r.env, e[1]+"="+secret)
	case strings.HasPrefix(line, "python3 ") && os.Getenv("REQUIRE_PYTHON") != "1" && !has("python3"):
		r.t.Log("left out, there is no python3:", line)
	default:
		r.run(line)
	}
}

func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func (r *reader) run(line string) {
	r.t.Helper()
	want := 0
	if s := status.FindStringSubmatch(line); s != nil {
		want, _ = strconv.Atoi(s[1])
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(r.t.Context(), "sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.dir, r.env, &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatalf("%s\n%v", line, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		r.t.Fatalf("$ %s\n%s\ngot exit status %d, want %d", line, &out, got, want)
	}
	r.last, r.ran = out.String(), r.ran+1
	if m := master.FindStringSubmatch(r.last); m != nil { // a script gives it in a file, a person types it
		path := filepath.Join(r.dir, "master.key")
		if err := os.WriteFile(path, []byte(m[1]), 0o600); err != nil {
			r.t.Fatal(err)
		}
		r.env = append(r.env, "EVENTFUL_MASTER_KEY_FILE="+path)
	}
}
