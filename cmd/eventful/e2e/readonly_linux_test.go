package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/eventfuldb/eventful/internal/disktest"
)

// A data folder that cannot be written any more, while the server runs: writes are refused, reads go on, and so do writes when it can be written again.
func TestUnwritableWhileRunning(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	load := s.write(0)
	until(t, "some commands are stored", func() bool { return load.answered() >= 100 })
	c := s.client()
	writable := unwritable(t, s.dir)
	until(t, "writes are refused", func() bool { return s.refusing(c) })
	s.refused(6, "the data folder cannot be written", "event:add", "patient/note", "--id=A")
	s.refused(6, "the server answers reads, and refuses writes", "status")
	s.readsGoOn()
	if o := s.run("doctor"); o.status != 1 || !strings.Contains(o.stdout, "the data folder cannot be written") {
		t.Errorf("doctor: got exit status %d with\n%s\nwant it as a finding", o.status, o.stdout)
	}
	writable()
	before := load.answered()
	until(t, "writes are accepted again", func() bool { return load.answered() >= before+100 })
	load.stop()
	s.checkWritten(load.sent, load.acked)
}

// unwritable makes a folder unwritable for this user. Modes do not hold back root, so for root it is made immutable.
func unwritable(t *testing.T, dir string) (writable func()) {
	t.Helper()
	set := func(off bool) error { return os.Chmod(dir, map[bool]os.FileMode{true: 0o500, false: 0o700}[off]) }
	if os.Geteuid() == 0 {
		set = func(off bool) error { return immutable(dir, off) }
	}
	if err := set(true); err != nil {
		disktest.CannotRun(t, requireDisk, "make a folder unwritable: %v", err)
	}
	on := func() {
		if err := set(false); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(on) // else nobody can remove it
	return on
}

// immutable sets or clears the attribute that chattr calls i.
func immutable(dir string, on bool) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	if flags &^= unix.STATX_ATTR_IMMUTABLE; on {
		flags |= unix.STATX_ATTR_IMMUTABLE // the same bit as FS_IMMUTABLE_FL
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags))
}

// A file system that is mounted read-only: start says so, and works when it is mounted writable.
func TestStartOnAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	if !disktest.Alone(t, requireDisk) {
		return
	}
	s, mount := onDisk(t, "0")
	s.must("event:add", "patient/note", "--id=A", "--text=before")
	s.stop()
	remount(t, mount, unix.MS_RDONLY)
	for _, args := range [][]string{{"start", "--port=0", "--nats-port=0"}, {"config", "--port=0"}} {
		if o := s.run(args...); o.status == 0 || !strings.Contains(o.stderr, "read-only file system") {
			t.Errorf("%s on a read-only disk: got exit status %d with\n%s\nwant it refused, with the reason", args[0], o.status, o.stderr)
		}
	}
	s.refused(6, "read-only file system", "start", "--port=0", "--nats-port=0")
	if o := s.run("doctor"); o.status != 1 || !strings.Contains(o.stdout, "read-only file system") {
		t.Errorf("doctor: got exit status %d with\n%s\nwant the read-only disk as a finding", o.status, o.stdout)
	}
	remount(t, mount, 0)
	s.start()
	s.must("aggregate:get", "patient/A")
	s.must("event:add", "patient/note", "--id=A", "--text=behind", "--expected-version=1")
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	var err error
	until(t, "the file system is free to be mounted anew", func() bool { // a process that has ended may still hold a file
		err = unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "")
		return !errors.Is(err, unix.EBUSY)
	})
	if err != nil {
		t.Fatalf("mount %s anew: %v", filepath.Base(dir), err)
	}
}
