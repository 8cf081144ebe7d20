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
// process that the lock file (or run.json) names and that began when it says. No server: no error.
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
			"the data folder is locked, but process %d is not the server that was started on it", i.PID).
			WithHint("find out who holds the lock, for example with `fuser`, and end it"))
	}
	return p, nil
}

// FindAfter is Find for a server that seems to be ending: it gives it that long to let go of the folder.
func FindAfter(ctx context.Context, dir string, patience time.Duration) (*Info, error) {
	if done, err := free(ctx, dir, patience); err != nil || done {
		return nil, err
	}
	return Find(dir)
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

// patience is how long it is worth waiting for the lock of this holder: long if the kernel is ending it, a moment if there is no such process
// (another one holds the lock, and has not said so yet), else not at all.
func (i *Info) patience() time.Duration {
	if i.PID == 0 {
		return lockPatience
	}
	stat := processStat(i.PID)
	switch {
	case stat == nil && i.Mark == "": // there is no /proc
		if errors.Is(syscall.Kill(i.PID, 0), syscall.ESRCH) {
			return lockPatience
		}
		return 0
	case stat == nil || stat[statMark] != i.Mark:
		return lockPatience
	case isDying(i.PID, stat):
		return dyingPatience
	}
	return 0
}

// Fields of /proc/<pid>/stat behind the name, and what stands in them (proc(5)).
const (
	statState = 0
	statFlags = 6
	statMark  = 19

	flagExiting = 0x4                        // PF_EXITING
	killPending = 1 << (syscall.SIGKILL - 1) // in SigPnd and ShdPnd of /proc/<pid>/status
)

// isDying reports whether the kernel is ending a process: it is a zombie, on its way out, or has a SIGKILL before it.
func isDying(pid int, stat []string) bool {
	if strings.Contains("ZXx", stat[statState]) {
		return true
	}
	if flags, err := strconv.ParseUint(stat[statFlags], 10, 64); err == nil && flags&flagExiting != 0 {
		return true
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true // it was there a moment ago
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && set&killPending != 0 {
			return true
		}
	}
	return false
}

// processMark is when a process began, in clock ticks since the machine did (proc(5), stat, field 22). Empty where there is no /proc.
func processMark(pid int) string {
	if stat := processStat(pid); stat != nil {
		return stat[statMark]
	}
	return ""
}

// processStat gives the fields of /proc/<pid>/stat behind the name of the program, which may hold anything; nil: there is no such process, or no /proc.
func processStat(pid int) []string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= statMark {
		return nil
	}
	return fields
}
