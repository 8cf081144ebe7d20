package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	commandPatience = 90 * time.Second
	killPatience    = 10 * time.Second
)

// shell runs commands in a temporary folder, as a user would in a terminal there.
type shell struct {
	dir        string // temporary; the folder of every command
	repository string // absolute
	env        []string
}

func newShell(repository string) (*shell, error) {
	root, err := filepath.Abs(repository)
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	dir, err := os.MkdirTemp("", "eventful-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	s := &shell{dir: dir, repository: root}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "EVENTFUL_") && !strings.HasPrefix(pair, "XDG_CONFIG_HOME=") && !strings.HasPrefix(pair, "HOME=") {
			s.env = append(s.env, pair)
		}
	}
	s.env = append(s.env, "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "PATH="+filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	return s, nil
}

// prepare puts the binaries and the example's files into the folder.
func (s *shell) prepare(ctx context.Context, binary string) error {
	fmt.Printf("in %s\n", s.dir)
	target := filepath.Join(s.dir, "bin", "eventful")
	if err := os.Mkdir(filepath.Dir(target), 0o700); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if binary == "" {
		if err := s.build(ctx, target, "./cmd/eventful"); err != nil {
			return err
		}
	} else if absolute, err := filepath.Abs(binary); err != nil {
		return fmt.Errorf("prepare: %w", err)
	} else if err := os.Symlink(absolute, target); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if err := s.build(ctx, filepath.Join(s.dir, "bin", "tamper"), "./examples/tamper"); err != nil {
		return err
	}
	for _, name := range []string{"schema.yaml", "mapping.yaml", "opensearch.yaml", "sepsis.csv"} {
		text, err := os.ReadFile(filepath.Join(s.repository, "examples", "sepsis", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.dir, name), text, 0o600)
		}
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return nil
}

func (s *shell) build(ctx context.Context, target, source string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", target, source)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.repository, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w", source, err)
	}
	return nil
}

// set exports a variable for every later command, and shows it.
func (s *shell) set(name, value string) {
	fmt.Printf("$ export %s=%s\n", name, value)
	s.env = append(s.env, name+"="+value)
}

// command is one command line. Its standard error is shown as it comes, on the same stream as everything else, so that lines keep their order in a file too.
type command struct {
	args   []string
	env    []string // for this command alone
	to     string   // file for the standard output; "": it is shown
	status int      // the exit status that is expected
}

// run runs a command and gives its standard output. Another exit status than the expected one is an error.
func (s *shell) run(ctx context.Context, c command) ([]byte, error) {
	line := strings.Join(append(append([]string{}, c.env...), quote(c.args)...), " ")
	if c.to != "" {
		line += " > " + c.to
	}
	fmt.Printf("$ %s\n", line)
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "bin", c.args[0]), c.args[1:]...)
	if _, err := os.Lstat(cmd.Path); err != nil {
		cmd = exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	}
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s.dir, append(append([]string{}, s.env...), c.env...), &out, os.Stdout, killPatience
	if c.to == "" {
		both := io.MultiWriter(os.Stdout, &out) // one writer: the command gets one pipe for both
		cmd.Stdout, cmd.Stderr = both, both
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w", line, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != c.status {
		return nil, fmt.Errorf("%s: exit status %d, expected %d", line, got, c.status)
	}
	if c.to != "" {
		if err := os.WriteFile(filepath.Join(s.dir, c.to), out.Bytes(), 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", c.to, err)
		}
	}
	return out.Bytes(), nil
}

// show runs an eventful command whose output is for the reader.
func (s *shell) show(ctx context.Context, args ...string) error {
	_, err := s.run(ctx, command{args: append([]string{"eventful"}, args...)})
	return err
}

// other runs another program.
func (s *shell) other(ctx context.Context, args ...string) error {
	_, err := s.run(ctx, command{args: args})
	return err
}

// inOrder runs steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// ask runs an eventful command with -o json, writes its output to a file of that name, and decodes it.
func (s *shell) ask(ctx context.Context, file string, into any, c command) error {
	c.args, c.to = append(append([]string{"eventful"}, c.args...), "-o", "json"), file
	out, err := s.run(ctx, c)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read the answer in %s: %w", file, err)
	}
	return nil
}

// put writes a secret to a file.
func (s *shell) put(name, content string) error {
	if content == "" {
		return fmt.Errorf("nothing to write into %s", name)
	}
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content+"\n"), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// quote shows arguments as a shell takes them.
func quote(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsAny(a, " ?*'\"$") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return out
}

// cleanUp ends the servers that still run in the folder, by the process ids that they wrote there, and removes it.
func (s *shell) cleanUp(keep bool) error {
	var all error
	for _, data := range []string{".eventful", "copy"} {
		all = errors.Join(all, s.end(filepath.Join(s.dir, data)))
	}
	if keep {
		fmt.Printf("kept %s\n", s.dir)
		return all
	}
	return errors.Join(all, os.RemoveAll(s.dir))
}

// end stops the server of a data folder if one runs; it is killed if it does not stop.
func (s *shell) end(data string) error {
	var info struct {
		PID int `json:"pid"`
	}
	text, err := os.ReadFile(filepath.Join(data, "run.json"))
	if err != nil || json.Unmarshal(text, &info) != nil || info.PID <= 1 {
		return nil // none runs
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*killPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "bin", "eventful"), "stop", "--force", "--timeout", killPatience.String(), "--data-dir", data)
	cmd.Env = s.env
	if err := cmd.Run(); err == nil {
		return nil
	}
	server, err := os.FindProcess(info.PID)
	if err == nil {
		err = server.Kill()
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the server with process id %d: %w", info.PID, err)
	}
	return nil
}
