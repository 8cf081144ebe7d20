package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
)

const (
	// statusPatience bounds the wait for the writer's status.
	statusPatience = 5 * time.Second
	// maxLag is how many events an index may be behind: more than a second's work.
	maxLag = 50_000
	// lagPause is when an index that is behind is looked at again: it must have moved.
	lagPause = time.Second
)

// status is the part of adm.server.status that is read.
type status struct {
	Logs     []logStatus    `json:"logs"`
	Writers  *site          `json:"writers"`  // nil: no writer answered, or one that does not tell
	Inbox    string         `json:"inbox"`    // why commands of the durable inbox are not delivered; empty: they are
	Refusing string         `json:"refusing"` // why writes are refused; empty: they are not
	Disks    []space.Volume `json:"disks"`    // of the writer's process
}

type logStatus struct {
	Log       string `json:"log"`
	State     string `json:"state"`
	Indexed   uint64 `json:"indexed"`
	LagEvents uint64 `json:"lag-events"`
	Shortened bool   `json:"shortened"`
	Unsigned  string `json:"unsigned"` // why no checkpoints are signed; empty: they are
	Error     string `json:"error"`
}

// engines asks the writer how each log is. What an index in another process is like, only that process knows.
func (x *examination) engines(ctx context.Context) {
	here := x.Running != nil && !x.Running.NoEngines
	first, err := x.ask(ctx)
	if err != nil {
		x.silent(err)
		return
	}
	x.writers(first)
	x.inbox(first)
	x.refusing(first)
	if !here {
		x.notChecked("it is in another process: `eventful_projector_lag_events` of the projector says how far it is")(checkIndex)
		x.notChecked("they lie beside engines in other processes")(checkStores)
		return
	}
	x.indexes(ctx, first)
	x.stores(first)
}

func (x *examination) ask(ctx context.Context) (s status, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	return s, x.Status(ctx, &s)
}

// silent: no engine answered. Where there is no log there has never been a writer, so beside `start --no-engines` there need not be any.
func (x *examination) silent(err error) {
	if x.Running != nil && x.Running.NoEngines && x.bare {
		x.notChecked("the server was started with --no-engines, there is no log yet, and no writer elsewhere answered")(checkWriter)
	} else {
		x.found(checkWriter, "start the writer; `eventful logs`, or what it wrote to standard error, says why it is not there", "no writer answered: %v", err)
	}
	x.notChecked("no writer answered")(checkInbox, checkIndex, checkStores)
}

// inbox is emptied by the process that writes the system log, which is the one that answers.
func (x *examination) inbox(s status) {
	if s.Inbox == "" {
		x.ok(checkInbox, "nothing keeps its commands from being delivered")
		return
	}
	x.found(checkInbox, "`eventful logs`, or what the writer wrote to standard error, has each attempt. If the row of the streams is a finding, mend that first; then restart the nats-servers, "+
		"and the writers. The commands wait in stream CMD_INBOX until then: do not delete it", "%s", s.Inbox)
}

// refusing says what the writer's guard sees on its machine, where that is not this one.
func (x *examination) refusing(s status) {
	if len(s.Disks) > 0 && !slices.ContainsFunc(s.Disks, func(d space.Volume) bool { return d.Limit > 0 }) {
		x.unguarded()
	}
	if s.Writers != nil {
		for _, m := range s.Writers.Members {
			if m.Refusing != "" && m.Refusing != s.Refusing { // that of who answers is told below
				x.withoutRoom(s.Writers, m)
			}
		}
	}
	switch {
	case s.Refusing != "":
		x.found(checkDisk, "make room or raise the limit of what is named; writing goes on by itself", "the writer refuses writes: %s", s.Refusing)
	case x.Running == nil:
		for _, d := range s.Disks {
			x.ok(checkDisk, "%s of the writer's process: %s", d.Folder, d)
		}
	}
}

// withoutRoom is about a writer that hands its logs to writers with room, where there are any.
func (x *examination) withoutRoom(s *site, m siteMember) {
	if m.Leads == 0 {
		x.found(checkDisk, "make room there, or raise its limit: it takes its share of the logs again by itself. Until then it replaces no other writer that has room",
			"writer %s has no room, and writes no log: %s", s.name(m.ID), m.Refusing)
		return
	}
	x.found(checkDisk, "make room there, or raise its limit: writing goes on by itself. Its logs go to other writers that follow them and have room on their own disks: start one, or make room for one. A full store of the nats-servers is full for all of them",
		"writer %s refuses the commands of its logs: %s", s.name(m.ID), m.Refusing)
}

func (l logStatus) orNothing() string {
	if l.Error == "" {
		return "no error was told"
	}
	return l.Error
}

// indexes must be near the end of their logs, and move while they are not there.
func (x *examination) indexes(ctx context.Context, first status) {
	behind := map[string]logStatus{}
	for _, l := range first.Logs {
		if l.LagEvents > 0 {
			behind[l.Log] = l
		}
	}
	now := first
	if len(behind) > 0 {
		select {
		case <-time.After(lagPause):
		case <-ctx.Done():
		}
		var err error
		if now, err = x.ask(ctx); err != nil {
			x.silent(err)
			return
		}
	}
	slow := 0
	for _, l := range now.Logs {
		before, was := behind[l.Log]
		switch {
		case l.LagEvents > maxLag:
			slow++
			x.found(checkIndex, "wait while it is built (`eventful status` shows it move); reads that do not wait for a position are older than the log",
				"the index of log %s is %d events behind", l.Log, l.LagEvents)
		case was && l.LagEvents > 0 && l.Indexed == before.Indexed:
			slow++
			x.found(checkIndex, "`eventful logs` says why; `eventful restart` reads on, and builds a damaged index anew",
				"the index of log %s stands still, %d events behind", l.Log, l.LagEvents)
		}
	}
	if slow == 0 {
		x.ok(checkIndex, "every log is indexed (%d)", len(now.Logs))
	}
}

// stores are there while engines in this process use them.
func (x *examination) stores(s status) {
	missing := 0
	for _, l := range s.Logs {
		for what, dir := range map[string]string{"writer's state": run.StateDir(x.DataDir, l.Log), "index": run.IndexDir(x.DataDir, l.Log)} {
			if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
				missing++
				x.found(checkStores, "`eventful restart`: it is made anew from the log", "the %s of log %s is not where it was left: %v", what, l.Log, err)
			}
		}
	}
	if missing == 0 {
		x.ok(checkStores, "state and index of every log are there (%d)", len(s.Logs))
	}
}
