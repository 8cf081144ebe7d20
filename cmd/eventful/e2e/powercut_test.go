package e2e_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// requirePower is the variable that makes the power cut fail where it cannot be made.
const requirePower = "REQUIRE_POWERCUT"

// TestPowerCut runs the server on a disk of its own, under load, and takes the power away at a random moment: what was flushed is there, and of the rest any part. The server
// must have every acknowledged event exactly once, prove everything, and answer as it does with state and index built anew. The same with --unsafe-no-sync must
// lose acknowledged events: else this is no power cut, and the test counts as not run.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	if !disktest.Alone(t, requirePower) {
		return
	}
	rounds := 1
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		rounds = 20
	}
	random := rand.New(rand.NewPCG(disktest.Seed(t), 0))
	control, load := cutUnderLoad(t, random, "--unsafe-no-sync")
	control.abandoned = true
	lost := control.lost(load)
	if lost == 0 {
		disktest.CannotRun(t, requirePower, "a server that does not flush lost none of %d acknowledged events", len(load.acked))
	}
	t.Logf("without flushes, %d of %d acknowledged events were lost", lost, len(load.acked))
	control.killLeftover()
	for range rounds {
		s, load := cutUnderLoad(t, random)
		s.start()
		s.checkWritten(load.sent, load.acked)
		s.must("aggregate:verify", "--all")
		s.seed()
		want := s.answers()
		s.stop()
		remove(t, filepath.Join(s.dir, "state"))
		remove(t, filepath.Join(s.dir, "index"))
		s.start()
		if diff := cmp.Diff(want, s.answers()); diff != "" {
			t.Errorf("answers with state and index built anew (-as they were +anew):\n%.3000s", diff)
		}
		s.must("aggregate:verify", "--all")
		s.stop()
		s.abandoned = true // its disk goes before it
		t.Logf("%d acknowledged events are there", len(load.acked))
	}
}

// cutUnderLoad gives a site whose disk lost its power, on the disk as it was left, not started; args are those of start under load.
func cutUnderLoad(t *testing.T, random *rand.Rand, args ...string) (*site, *load) {
	t.Helper()
	disk := disktest.NewDevice(t, requirePower, 256<<20)
	s := configuredIn(t, t.TempDir(), filepath.Join(disk.Mount(), "data"), "EVENTFUL_MIN_FREE=16MiB", "EVENTFUL_MIN_FREE_PERCENT=0", "EVENTFUL_DEK="+dataKey)
	s.openWithSchema()
	if len(args) > 0 { // what was made before is not to be lost
		s.stop()
		syscall.Sync()
		s.start(args...)
	}
	load := s.write(0)
	enough := 300 + random.IntN(1000)
	until(t, "commands are stored", func() bool { return load.answered() >= enough })
	was := s.info()
	image := disk.Cut(random)
	if err := syscall.Kill(was.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) { // it may have died of a disk without power
		t.Fatal(err)
	}
	load.stop()
	until(t, "the server is gone", func() bool { return syscall.Kill(was.PID, 0) != nil })
	s.dir = filepath.Join(image.Mount(""), "data")
	s.env = slices.DeleteFunc(s.env, func(e string) bool { return strings.HasPrefix(e, "EVENTFUL_DATA_DIR=") })
	s.env = append(s.env, "EVENTFUL_DATA_DIR="+s.dir)
	t.Cleanup(s.killLeftover) // before the disk goes
	return s, load
}

// lost counts acknowledged commands that the server does not have.
func (s *site) lost(load *load) int {
	s.t.Helper()
	s.start("--unsafe-no-sync")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, there, lost := s.client(), map[string]bool{}, 0
	read := map[string]bool{}
	for _, answer := range load.acked {
		at := answer.Commits[0]
		if !read[at.ID] {
			read[at.ID] = true
			for e, err := range c.History(ctx, event.AggregateID{Type: at.Type, ID: at.ID}, client.PageSize(1000)) {
				if err != nil {
					break // what cannot be read is lost
				}
				there[e.Hash] = true
			}
		}
		if !there[at.Hashes[0]] {
			lost++
		}
	}
	return lost
}
