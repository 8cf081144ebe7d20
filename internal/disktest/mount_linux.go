package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// alone is set in the process that Alone made.
const alone = "EVENTFUL_TEST_ALONE"

// Alone runs the calling test, which must be no subtest, in a process of its own that may mount. It gives false in the calling process, whose test then has the
// outcome of the other one and must return, and true in the new one. required names the variable that turns a skip into a failure if it is 1.
func Alone(t *testing.T, required string) bool {
	t.Helper()
	if os.Getenv(alone) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			CannotRun(t, required, "keep mounts to this process: %v", err)
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	if deadline, ok := t.Deadline(); ok {
		cmd.Args = append(cmd.Args, fmt.Sprintf("-test.timeout=%s", time.Until(deadline).Round(time.Second)))
	}
	cmd.Env = append(os.Environ(), alone+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		CannotRun(t, required, "make a mount namespace: %v", err)
	case err != nil:
		t.Errorf("in a process of its own: %v\n%s", err, said.String())
	case strings.Contains(said.String(), "--- SKIP: "+t.Name()):
		t.Skip(said.String())
	default:
		t.Log(said.String())
	}
	return false
}

// Tmpfs mounts a file system in memory of so many bytes until the test ends, and gives its folder.
func Tmpfs(t *testing.T, required string, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		CannotRun(t, required, "mount a tmpfs: %v", err)
	}
	unmountAtEnd(t, dir)
	return dir
}

func unmountAtEnd(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// Image is an ext4 file system in a file.
type Image struct {
	t        *testing.T
	required string
	Path     string
}

// NewImage makes an image of so many bytes.
func NewImage(t *testing.T, required string, bytes int64) *Image {
	t.Helper()
	i := &Image{t: t, required: required, Path: filepath.Join(t.TempDir(), "image")}
	file, err := os.OpenFile(i.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = errors.Join(file.Truncate(bytes), file.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	i.run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", i.Path)
	return i
}

// Mount mounts the image by a loop device that goes past the page cache of the machine. The folder is unmounted when the test ends.
func (i *Image) Mount(options string) string {
	i.t.Helper()
	return i.mount(options, true)
}

func (i *Image) mount(options string, direct bool) string {
	i.t.Helper()
	dir := i.t.TempDir()
	args := []string{"--find", "--show", i.Path}
	if direct {
		args = append(args, "--direct-io=on")
	}
	device := strings.TrimSpace(i.run("losetup", args...))
	err := unix.Mount(device, dir, "ext4", 0, options)
	i.run("losetup", "--detach", device) // the kernel does it when the file system is unmounted
	if err != nil {
		CannotRun(i.t, i.required, "mount %s: %v", device, err)
	}
	unmountAtEnd(i.t, dir)
	return dir
}

func (i *Image) run(name string, args ...string) string {
	i.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		CannotRun(i.t, i.required, "%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fillStep is what Fill takes at once, in bytes. A tmpfs that has less than it is asked for takes all the same, until it is full, and then gives all of it back: who
// watches sees a full disk that has room again. So it is asked for less than anybody takes for room.
const fillStep = 1 << 20

// Fill takes all but so many bytes of the file system under a folder; called again it takes more. The function that it gives makes room again.
func Fill(t *testing.T, dir string, left int64) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filled")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	for take := min(available(t, dir)-left, fillStep); take > 0; {
		err := unix.Fallocate(int(file.Fd()), 0, size, take)
		switch {
		case err == nil:
			size += take
			take = min(available(t, dir)-left, fillStep)
		case errors.Is(err, unix.ENOSPC): // the file itself takes some
			take /= 2
		default:
			t.Fatalf("fill %s: %v", dir, err)
		}
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func available(t *testing.T, dir string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}
