package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
)

// infoFormat is the version of run.json and of what the lock file says.
const infoFormat = 1

// Info says where a running server is to be found: the content of the lock file, which decides, and of run.json, for others to read. Both are 0600
// and lie in the data folder while a server runs.
type Info struct {
	Format       int               `json:"format"`
	PID          int               `json:"pid"`
	Mark         string            `json:"mark,omitempty"` // tells this process from a later one with the same id; empty: not known here
	Since        time.Time         `json:"since"`
	Version      string            `json:"version"`
	Site         string            `json:"site"`
	HTTP         string            `json:"http"`            // base URL
	NATS         string            `json:"nats"`            // URL
	Given        map[string]string `json:"given,omitempty"` // settings that were given to start as flags; restart keeps them
	NoEngines    bool              `json:"no-engines,omitempty"`
	UnsafeNoSync bool              `json:"unsafe-no-sync,omitempty"`
	Certificate  string            `json:"certificate,omitempty"` // file of the server's certificate; empty: no TLS
	Ready        bool              `json:"ready"`                 // commands are accepted
	Stopping     bool              `json:"stopping,omitempty"`    // what is under way comes to its end, and then the process does
	Credential   string            `json:"credential,omitempty"`  // JWT of the local credential: server status and key administration, nothing else
}

// Find gives the server that runs on a data folder; nil if none does. Leftovers of a server that was killed do not count: the lock decides. For one
// that is dying it waits, at most five seconds. An Info without a process id: a server is just starting, or another command works on the folder.
func Find(dir string) (*Info, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; <-tick.C {
		locked, err := isLocked(dir)
		if err != nil || !locked {
			return nil, err
		}
		info, err := holder(dir)
		if err != nil || time.Since(began) >= info.patience() {
			return info, err
		}
	}
}

// holder is what the lock file says of who holds it; else, as for servers before that, run.json.
func holder(dir string) (*Info, error) {
	path := filepath.Join(dir, lockFile)
	text, err := os.ReadFile(path)
	if err == nil && json.Valid(text) {
		return parseInfo(path, text)
	}
	path = filepath.Join(dir, infoFile)
	text, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Info{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return parseInfo(path, text)
}

func parseInfo(path string, text []byte) (*Info, error) {
	info := &Info{}
	if err := json.Unmarshal(text, info); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if info.Format > infoFormat {
		return nil, problem.New(problem.Invalid, "%s has format %d; this eventful knows formats up to %d", path, info.Format, infoFormat).
			WithHint("use the eventful that started the server")
	}
	return info, nil
}

// publish writes run.json and the pid file. Both are hints only, so they need no flush; a torn one cannot be seen because of the rename.
func (i *Info) publish(dir string) error {
	text, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", infoFile, err)
	}
	for name, content := range map[string][]byte{infoFile: append(text, '\n'), pidFile: []byte(strconv.Itoa(i.PID) + "\n")} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", content, 0o600); err != nil {
			return notWritable(dir, err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return notWritable(dir, err)
		}
	}
	return nil
}

func withdraw(dir string) error {
	var all error
	for _, name := range []string{infoFile, pidFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}
