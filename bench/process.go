package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that the benchmark started. It gets a pipe as standard input and ends with it, or with its signal.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan error // has its outcome, once
	said  *bytes.Buffer
}

// launch starts a program; stdout may be nil.
func launch(cmd *exec.Cmd, stdout io.Writer) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan error, 1), said: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = stdout, p.said
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the benchmark, which ends its servers in order
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

// launchServer starts bench/server and waits until it is ready.
func launchServer(ctx context.Context, binary string, env []string, args ...string) (p *process, url string, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, "", fmt.Errorf("make a pipe: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(binary, args...)
	cmd.Env = env
	p, err = launch(cmd, in)
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, "", err
	}
	line := make(chan string, 1)
	go func() { text, _ := bufio.NewReader(out).ReadString('\n'); line <- text }()
	select {
	case text := <-line:
		if url, ok := strings.CutPrefix(strings.TrimSpace(text), "ready "); ok {
			return p, url, nil
		}
		err := p.stop()
		return nil, "", fmt.Errorf("%s did not become ready: %w\n%s", filepath.Base(binary), err, p.said)
	case <-ctx.Done():
		return nil, "", errors.Join(ctx.Err(), p.stop())
	}
}

// stop ends the process in peace and waits for it.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

// kill ends it at once.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

func (p *process) end(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", p.cmd.Process.Pid, err)
	}
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case err := <-p.ended:
		p.ended <- err // for whoever asks again
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() != 1 {
			return nil // of the signal
		}
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", filepath.Base(p.cmd.Path), err, p.said)
		}
		return nil
	case <-timer.C:
		return errors.Join(fmt.Errorf("process %d did not stop", p.cmd.Process.Pid), p.cmd.Process.Kill())
	}
}

// memory reads a field of /proc/PID/status in MB (10^6 bytes).
func (p *process) memory(field string) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("read memory: no %s", field)
}

// onDisk is how many bytes the files below a folder take; files that vanish meanwhile count as nothing.
func onDisk(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512 // files may be sparse
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return total, nil
}
