package disktest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Device is a disk that loses its power: a file of which it is known what was written since the last flush. The kernel reaches it over FUSE (fuse.go), a loop device makes a
// disk of that file, and ext4 lies on it. So the order of writes and flushes is the kernel's own, and what has not been flushed is under the test's control.
type Device struct {
	t        *testing.T
	required string
	size     int64
	path     string // of the file
	fuse     *os.File
	serving  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	content []byte     // as it would be if all writes had arrived
	open    []change   // writes behind the last flush, in their order
	dead    bool       // there is no power any more
	flushes int
}

// change is one write.
type change struct {
	offset   int64
	old, now []byte
}

// NewDevice makes a disk of so many bytes with an empty ext4 on it.
func NewDevice(t *testing.T, required string, bytes int64) *Device {
	t.Helper()
	image := NewImage(t, required, bytes)
	content, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatalf("reserve memory for a disk: %v", err)
	}
	d := &Device{t: t, required: required, size: bytes, content: content, path: filepath.Join(t.TempDir(), "disk")}
	if err := errors.Join(readInto(content, image.Path), os.WriteFile(d.path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	d.fuse, err = os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		CannotRun(t, required, "open FUSE: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100600,user_id=0,group_id=0,allow_other", d.fuse.Fd())
	if err := unix.Mount("disk", d.path, "fuse.disk", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		CannotRun(t, required, "mount with FUSE: %v", errors.Join(err, d.fuse.Close()))
	}
	d.serving.Go(d.serve)
	t.Cleanup(func() {
		if err := unix.Unmount(d.path, unix.MNT_DETACH|unix.MNT_FORCE); err != nil {
			t.Errorf("unmount the disk: %v", err)
		}
		d.serving.Wait() // it ends when the file system is gone
		if err := errors.Join(d.fuse.Close(), unix.Munmap(content)); err != nil {
			t.Error(err)
		}
	})
	return d
}

// readInto reads a sparse file.
func readInto(content []byte, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // opened for reading only
	for at := int64(0); at < int64(len(content)); {
		from, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		to, err := unix.Seek(int(file.Fd()), from, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := file.ReadAt(content[from:to], from); err != nil {
			return err
		}
		at = to
	}
	return nil
}

// Mount mounts the disk's file system until the test ends.
func (d *Device) Mount() string {
	d.t.Helper()
	image := &Image{t: d.t, required: d.required, Path: d.path}
	return image.mount("errors=remount-ro", false)
}

// Cut takes the power away, at once: from now on every write and flush fails. It gives an image of what the disk holds then: what was flushed, and of what was
// written behind the last flush any part, each sector of 4 KiB by chance.
func (d *Device) Cut(random *rand.Rand) *Image {
	d.t.Helper()
	d.mu.Lock()
	d.dead = true
	kept, lost := 0, 0
	for i := len(d.open) - 1; i >= 0; i-- {
		copy(d.content[d.open[i].offset:], d.open[i].old)
	}
	for _, c := range d.open {
		for at := 0; at < len(c.now); at += sector {
			if random.IntN(2) == 0 {
				lost++
				continue
			}
			kept++
			copy(d.content[c.offset+int64(at):], c.now[at:min(at+sector, len(c.now))])
		}
	}
	d.open = nil
	d.mu.Unlock()
	d.t.Logf("power cut behind flush %d: of the sectors written since, %d arrived and %d did not", d.flushes, kept, lost)
	image := &Image{t: d.t, required: d.required, Path: filepath.Join(d.t.TempDir(), "image")}
	if err := writeSparse(image.Path, d.content); err != nil {
		d.t.Fatal(err)
	}
	return image
}

const sector = 4096

// writeSparse leaves out what is zero.
func writeSparse(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = file.Truncate(int64(len(content)))
	var zero [sector]byte
	for at := 0; at < len(content) && err == nil; at += sector {
		if part := content[at : at+sector]; string(part) != string(zero[:]) {
			_, err = file.WriteAt(part, int64(at))
		}
	}
	return errors.Join(err, file.Close())
}

// write is a write by the kernel.
func (d *Device) write(offset int64, data []byte) unix.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead || offset < 0 || offset+int64(len(data)) > d.size {
		return unix.EIO
	}
	c := change{offset: offset, old: make([]byte, len(data)), now: make([]byte, len(data))}
	copy(c.old, d.content[offset:])
	copy(c.now, data)
	copy(d.content[offset:], data)
	d.open = append(d.open, c)
	return 0
}

func (d *Device) flush() unix.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return unix.EIO
	}
	d.open = nil
	d.flushes++
	return 0
}

func (d *Device) read(offset int64, into []byte) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if offset < 0 || offset >= d.size {
		return 0
	}
	return copy(into, d.content[offset:])
}
