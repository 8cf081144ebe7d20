package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// The descriptors that a daemon inherits, behind standard input, output and error.
const (
	dekFD    = 3 // it reads the DEK here, so that no argument and no environment holds it
	reportFD = 4 // it says here once that it is ready, or why not
)

// report is what a daemon tells the process that started it.
type report struct {
	Info    *Info            `json:"info,omitempty"`
	Problem *problem.Problem `json:"problem,omitempty"`
}

// Spawn starts this program again as a daemon with args, hands it the DEK through a pipe, and waits until it is ready. Its standard output and error
// go to the log file. If it does not become ready, the error is the daemon's own. If ctx ends first the daemon is told to stop.
func Spawn(ctx context.Context, dir string, args []string, dek []byte) (*Info, error) {
	log, err := OpenLog(dir)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	key, keyEnd, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the DEK: %w", err)
	}
	defer keyEnd.Close()
	answer, answerEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe for the answer: %w", err), key.Close())
	}
	defer answer.Close()
	cmd, err := daemon(args, log, key, answerEnd)
	if err == nil {
		err = cmd.Start()
	}
	if err = errors.Join(err, key.Close(), answerEnd.Close()); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	// A pipe holds 64 KiB, more than any secret; a daemon that died already is found below.
	if _, err := keyEnd.Write(dek); err != nil && !errors.Is(err, syscall.EPIPE) {
		return nil, errors.Join(fmt.Errorf("hand over the DEK: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	if err := keyEnd.Close(); err != nil {
		return nil, fmt.Errorf("hand over the DEK: %w", err)
	}
	return await(ctx, cmd, answer)
}

func daemon(args []string, log, key, answer *os.File) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &exec.Cmd{
		Path:        self,
		Args:        append([]string{os.Args[0]}, args...),
		Dir:         "/",
		Env:         withoutSecrets(os.Environ()),
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{key, answer},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}, nil
}

// withoutSecrets takes every EVENTFUL_ variable away: the daemon gets its settings as flags and its secret through the pipe.
func withoutSecrets(environ []string) []string {
	var kept []string
	for _, e := range environ {
		if !strings.HasPrefix(e, "EVENTFUL_") {
			kept = append(kept, e)
		}
	}
	return kept
}

func await(ctx context.Context, cmd *exec.Cmd, answer io.Reader) (*Info, error) {
	got := make(chan []byte, 1)
	go func() { // ends when the daemon reports or ends: then the pipe is closed
		text, _ := io.ReadAll(answer)
		got <- text
	}()
	var text []byte
	select {
	case text = <-got:
	case <-ctx.Done():
		err := cmd.Process.Signal(syscall.SIGTERM)
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
		<-got
		return nil, errors.Join(ctx.Err(), err, ignoreExit(cmd.Wait()))
	}
	var r report
	if err := json.Unmarshal(bytes.TrimSpace(text), &r); err == nil && r.Info != nil {
		return r.Info, cmd.Process.Release()
	}
	err := ignoreExit(cmd.Wait())
	if r.Problem != nil {
		return nil, errors.Join(r.Problem, err)
	}
	return nil, errors.Join(problem.New(problem.Internal, "the server ended before it was ready (%s)", cmd.ProcessState).
		WithHint("`eventful logs` shows what it said"), err)
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// Inherited reads the DEK from the pipe that Spawn made. Only a daemon may call it, once, before it starts any process: none of these gets the pipes, which the
// waiting parent reads to their end.
func Inherited() ([]byte, error) {
	unix.CloseOnExec(dekFD)
	unix.CloseOnExec(reportFD)
	f := os.NewFile(dekFD, "dek")
	dek, err := io.ReadAll(io.LimitReader(f, 1<<17))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read the DEK from the parent process: %w", err)
	}
	return dek, nil
}

// Report tells the waiting parent that the daemon is ready (err nil) or why it is not. Only a daemon may call it, once.
func Report(info *Info, err error) error {
	r := report{Info: info}
	if err != nil {
		r = report{Problem: problem.From(err)}
	}
	f := os.NewFile(reportFD, "report")
	return errors.Join(json.NewEncoder(f).Encode(r), f.Close())
}
