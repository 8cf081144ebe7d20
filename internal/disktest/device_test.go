package disktest_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/eventfuldb/eventful/internal/disktest"
)

const required = "REQUIRE_POWERCUT"

// What was flushed is there behind a cut; what was only written is gone with its page cache; nothing is written or flushed behind it.
func TestPowerCut(t *testing.T) {
	if !disktest.Alone(t, required) {
		return
	}
	d := disktest.NewDevice(t, required, 64<<20)
	mount := d.Mount()
	flushed, written := bytes.Repeat([]byte("flushed "), 1<<13), bytes.Repeat([]byte("written "), 1<<13)
	put(t, filepath.Join(mount, "flushed"), flushed, true)
	put(t, filepath.Join(mount, "written"), written, false)
	image := d.Cut(rand.New(rand.NewPCG(1, 2)))
	f, err := os.OpenFile(filepath.Join(mount, "late"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		if _, err = f.Write(flushed); err == nil {
			err = f.Sync()
		}
		_ = f.Close()
	}
	if err == nil {
		t.Error("got a file flushed without power, want an error")
	}
	after := image.Mount("")
	if got, err := os.ReadFile(filepath.Join(after, "flushed")); err != nil || !bytes.Equal(got, flushed) {
		t.Errorf("got %d bytes, error %v, of what was flushed, want all of it", len(got), err)
	}
	if got, _ := os.ReadFile(filepath.Join(after, "written")); bytes.Equal(got, written) {
		t.Error("got what was written and not flushed, want it lost: this is no power cut")
	}
	if _, err := os.Stat(filepath.Join(after, "late")); err == nil {
		t.Error("got a file from behind the cut")
	}
}

func put(t *testing.T, path string, content []byte, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	if !sync {
		return
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := folder.Sync(); err != nil {
		t.Fatal(err)
	}
}
