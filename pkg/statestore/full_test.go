package statestore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// under is a store on a small disk that somebody else fills.
type under struct {
	t               *testing.T
	c               statestore.Config
	s               *statestore.Store
	stored, refused int
	filled          atomic.Int64
}

const disk = 128 << 20

// write stores batches of 16 KB until done says so, or a disk without room refuses them, while fill takes the room and gives it back.
func (u *under) write(fill func(stop *atomic.Bool), done func() bool) {
	u.t.Helper()
	var stop atomic.Bool
	var filling sync.WaitGroup
	filling.Go(func() {
		for !stop.Load() {
			fill(&stop)
			u.filled.Add(1)
		}
	})
	defer filling.Wait()
	defer stop.Store(true)
	for !done() {
		err := u.s.Update(func(b *statestore.Batch) error {
			for k := range 50 {
				b.Set(fmt.Appendf(nil, "key-%d", k), []byte(strings.Repeat(fmt.Sprintf("%08d", u.stored+1), 40)))
			}
			return nil
		})
		switch {
		case err == nil:
			u.stored++
		case errors.Is(err, syscall.ENOSPC):
			u.refused++
		default:
			u.t.Fatal(err)
		}
	}
}

// holds reads back what was stored last.
func (u *under) holds() {
	u.t.Helper()
	for k := range 50 {
		if v, err := u.s.Get(fmt.Appendf(nil, "key-%d", k)); err != nil || string(v[:8]) != fmt.Sprintf("%08d", u.stored) {
			u.t.Fatalf("key %d: got %.8s, error %v, want batch %d", k, v, err, u.stored)
		}
	}
}

// fillings is how often the disk is filled.
func fillings() int64 {
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		return 300
	}
	return 4
}

// All the room is taken at once, at any moment, so that it is missing in the middle of a file: the batch is refused, and what was stored before is there.
func TestADiskThatFillsAtOnce(t *testing.T) {
	if !disktest.Alone(t, "REQUIRE_DISK") {
		return
	}
	random := rand.New(rand.NewPCG(disktest.Seed(t), 0))
	mount := disktest.Tmpfs(t, "REQUIRE_DISK", disk)
	all := &under{t: t}
	for all.filled.Load() < fillings() {
		u := &under{t: t, c: config(t.TempDir())}
		u.c.Dir = mount + "/store"
		u.s = open(t, u.c)
		u.write(func(*atomic.Bool) {
			<-time.After(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
			free := disktest.Fill(t, mount, 0)
			<-time.After(time.Duration(random.Int64N(int64(20 * time.Millisecond))))
			free()
		}, func() bool { return u.stored >= 300 || u.filled.Load() >= fillings() })
		u.holds()
		closeStore(t, u.s)
		if err := statestore.Remove(u.c.Dir); err != nil {
			t.Fatal(err)
		}
		all.stored, all.refused = all.stored+u.stored, all.refused+u.refused
		all.filled.Add(u.filled.Load())
	}
	all.enough()
}

func (u *under) enough() {
	u.t.Helper()
	u.t.Logf("%d batches stored, %d refused, disk filled %d times", u.stored, u.refused, u.filled.Load())
	if u.stored == 0 || u.refused == 0 {
		u.t.Error("want both")
	}
}

// The room is taken at 400 MB a second, while runs are merged too.
func TestADiskThatFills(t *testing.T) {
	if !disktest.Alone(t, "REQUIRE_DISK") {
		return
	}
	mount := disktest.Tmpfs(t, "REQUIRE_DISK", disk)
	u := &under{t: t, c: config(mount + "/store")}
	u.s = open(t, u.c)
	u.write(func(stop *atomic.Bool) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for left := int64(disk); left > 0 && !stop.Load(); left -= 2 << 20 {
			<-tick.C
			free := disktest.Fill(t, mount, left)
			if left <= 2<<20 {
				free()
			}
		}
	}, func() bool { return u.filled.Load() >= fillings() })
	if err := os.Remove(mount + "/filled"); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	u.enough()
	u.holds()
	closeStore(t, u.s)
	u.s = open(t, u.c)
	u.holds()
}
