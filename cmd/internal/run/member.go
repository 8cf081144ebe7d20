package run

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Files in the folder of the writer's states. The others in it have the names of logs, which no dot begins.
const (
	memberFile = ".member" // the id of the process that has the folder, for as long as the folder lives
	othersFile = ".others" // there were other writer processes when this one was last seen
	statesLock = ".lock"   // held by that process
)

// membership is what makes a writer process one of those that share the logs of a site.
type membership struct {
	dir     string
	lock    *Lock
	id      string
	changed chan struct{} // has one element when other processes may have come or gone
}

// join locks the folder of the writer's states: its id is one process's at a time. A folder without an id, or with one that is damaged, gets one.
func join(dir string, log zerolog.Logger) (*membership, error) {
	lock, err := lockStates(dir)
	if err != nil {
		return nil, err
	}
	m := &membership{dir: dir, lock: lock, changed: make(chan struct{}, 1)}
	text, err := os.ReadFile(filepath.Join(dir, memberFile))
	m.id = strings.TrimSpace(string(text))
	if damaged := err == nil && !isMemberID(m.id); damaged || errors.Is(err, fs.ErrNotExist) {
		if err = m.name(); damaged && err == nil {
			log.Warn().Str("file", filepath.Join(dir, memberFile)).Str("member", m.id).Msg("file did not hold the id of a writer process, which got a new one")
		}
	}
	if err != nil {
		return nil, errors.Join(notWritable(dir, err), lock.Release())
	}
	return m, nil
}

const idBytes = 8

// isMemberID tells whether name could have made it.
func isMemberID(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == idBytes
}

func (m *membership) name() error {
	var b [idBytes]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	m.id = hex.EncodeToString(b[:])
	path := filepath.Join(m.dir, memberFile)
	if err := os.WriteFile(path+".new", []byte(m.id+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func lockStates(dir string) (*Lock, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		lock, err := try(filepath.Join(dir, statesLock))
		switch {
		case err == nil:
			return lock, nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, notWritable(dir, err)
		case time.Since(began) > dyingPatience:
			return nil, problem.New(problem.Locked, "the folder %s is in use by another writer", dir).WithHint("give every writer process a --data-dir of its own")
		}
	}
}

// config is the membership for the Writer. fresh says that the NATS server has just started in this process.
func (m *membership) config(fresh bool) lease.Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	c := lease.Config{Member: lease.Member{ID: m.id, Name: host, Host: host, Version: Version(), PID: os.Getpid()}}
	c.Gone = func(former lease.Member) bool { return former.Host == host && hasEnded(former.PID) }
	c.Changed = func() {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
	if fresh && !exists(filepath.Join(m.dir, othersFile)) {
		c.Grace = -1 // whoever could still answer under a lease that is lost would have been here before
	}
	return c
}

// hasEnded tells whether a process of this machine that had the folder, whose lock is ours now, has ended for certain. In a container the next process often has the same id.
func hasEnded(pid int) bool {
	return pid == os.Getpid() || pid > 0 && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// note keeps in the folder whether there are other processes. While that is not sure it stays as it is.
func (m *membership) note(others, sure bool) error {
	path := filepath.Join(m.dir, othersFile)
	switch known := exists(path); {
	case others && !known:
		return os.WriteFile(path, nil, 0o600)
	case !others && sure && known:
		return os.Remove(path)
	}
	return nil
}
