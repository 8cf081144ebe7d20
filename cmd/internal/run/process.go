package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// End stops the server on a data folder and returns when the folder is free: SIGTERM, and with force SIGKILL after patience. It signals only the
// process that run.json names and that began when run.json says. No server: no error.
func End(ctx context.Context, dir string, patience time.Duration, force bool) error {
	info, err := Find(dir)
	if err != nil || info == nil {
		return err
	}
	process, err := info.process()
	if err != nil {
		return err
	}
	defer process.Release()
	if err := process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop process %d: %w", info.PID, err)
	}
	switch done, err := free(ctx, dir, patience); {
	case err != nil || done:
		return err
	case !force:
		return problem.New(problem.Unavailable, "the server with process id %d is still stopping after %s", info.PID, patience).
			WithHint("wait, or kill it with `eventful stop --force`: acknowledged events are safe either way")
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill process %d: %w", info.PID, err)
	}
	if done, err := free(ctx, dir, patience); err != nil || !done {
		return errors.Join(err, problem.New(problem.Internal, "process %d was killed and still holds the data folder", info.PID))
	}
	return withdraw(dir)
}

// process opens the server's process and makes sure that it is that one, not a later one with the same id.
func (i *Info) process() (*os.Process, error) {
	if i.PID == 0 {
		return nil, problem.New(problem.Unavailable, "a server is just starting on this data folder, or another command works on it").
			WithHint("try again in a moment")
	}
	p, err := os.FindProcess(i.PID)
	if err != nil {
		return nil, fmt.Errorf("find process %d: %w", i.PID, err)
	}
	if mark := processMark(i.PID); i.Mark != mark {
		return nil, errors.Join(p.Release(), problem.New(problem.Locked,
			"the data folder is locked, but process %d is not the server that run.json tells of", i.PID).
			WithHint("find out who holds the lock, for example with `fuser`, and end it"))
	}
	return p, nil
}

// free waits until nobody holds the folder's lock; false: not within patience.
func free(ctx context.Context, dir string, patience time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		locked, err := isLocked(dir)
		if err != nil || !locked {
			return !locked, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return false, nil
			}
			return false, ctx.Err()
		}
	}
}

// processMark is when a process began, in clock ticks since the machine did (proc(5), stat, field 22). Empty where there is no /proc.
func processMark(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field, in parentheses, may hold anything: count behind it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}
