package disktest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/eventfuldb/eventful/internal/disktest"
)

// Somebody who writes while a disk is filled, as a server under load does, finds it full once and for all: nothing comes back before room is made.
func TestFillGivesNothingBack(t *testing.T) {
	const requireDisk = "REQUIRE_DISK"
	if !disktest.Alone(t, requireDisk) {
		return
	}
	const size, most = 256 << 20, 2 << 20
	mount := disktest.Tmpfs(t, requireDisk, size)
	file, err := os.OpenFile(filepath.Join(mount, "written"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	filled, back := make(chan struct{}), make(chan uint64, 1)
	started := make(chan struct{})
	go func() { back <- writeAndWatch(file, mount, started, filled) }()
	<-started
	free := disktest.Fill(t, mount, 0)
	close(filled)
	if n := <-back; n > most {
		t.Errorf("got %d bytes back while the disk was filled, want at most %d", n, most)
	}
	if _, err := file.Write(bytes.Repeat([]byte("x"), most)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got error %v of a write to a full disk, want %v", err, syscall.ENOSPC)
	}
	free()
	if _, err := file.Write(bytes.Repeat([]byte("x"), most)); err != nil {
		t.Errorf("write where there is room again: %v", err)
	}
}

// writeAndWatch writes page by page until the disk is filled, and gives by how many bytes at most the free ones grew meanwhile.
func writeAndWatch(file *os.File, dir string, started, filled chan struct{}) (back uint64) {
	page, least := make([]byte, 4096), ^uint64(0)
	for first := true; ; first = false {
		_, _ = file.Write(page) // it fails when the disk is full
		var s syscall.Statfs_t
		if syscall.Statfs(dir, &s) == nil {
			now := s.Bavail * uint64(s.Bsize)
			least = min(least, now)
			back = max(back, now-least)
		}
		if first {
			close(started)
		}
		select {
		case <-filled:
			return back
		default:
		}
	}
}
