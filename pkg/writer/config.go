package writer

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/statestore"
)

// Config is all a Writer needs. Zero values of the fields marked "default" take the default.
type Config struct {
	Site  string         // the origin site in every commit; see event.CheckSite
	Store eventlog.Store // where the logs live
	Dir   string         // folder of the writer's states, one folder a log; made if missing
	Key   []byte         // 16, 24 or 32 bytes that encrypt the states; another key means a rebuild

	WindowCommands uint64        // default 1,000,000: accepted commands of a log whose ids are remembered
	WindowAge      time.Duration // default 24 h of block time: how long they are
	MaxBlock       int           // default 1,000,000 bytes: hard limit of a block's commits; the block itself is up to 16 KiB larger
	Queue          int           // default 16,384 commands a log that wait to be decided; more are refused as unavailable
	CacheBytes     int64         // default 32 MiB a log: opened pages of the state
	CachedHeads    int           // default 65,536 a log: heads of aggregates kept in memory

	// Lease shares the logs with other processes. Without a Table this Writer leads every log, and no other one of the site may run. Table and Member.ID are
	// needed; Site, Handler and Log are the Writer's to set.
	Lease     lease.Config
	Peers     Peers                   // carries calls to the other processes; needed where there are any
	Keys      *fieldkey.Keys          // of encrypted fields; without them commands that set such a field are refused
	Snapshots eventlog.Snapshots      // default none: where states lie beside the logs (package archive)
	Room      func() *problem.Problem // default: there always is; asked before every command and act: a problem refuses it. Must not block

	Now     func() time.Time      // default time.Now
	Log     zerolog.Logger        // facts in the past tense
	Metrics prometheus.Registerer // default: none
	Opened  func()                // default: none; called when a log was opened, and so perhaps made; must not block

	fail func(log string, at statestore.Step) error // default: nil; a test's, for the states
}

// failing is what the state of a log asks before it does something; nil: nothing.
func (c Config) failing(log string) func(statestore.Step) error {
	if c.fail == nil {
		return nil
	}
	return func(at statestore.Step) error { return c.fail(log, at) }
}

func (c Config) withDefaults() Config {
	if c.WindowCommands == 0 {
		c.WindowCommands = 1_000_000
	}
	if c.WindowAge == 0 {
		c.WindowAge = 24 * time.Hour
	}
	if c.MaxBlock == 0 {
		c.MaxBlock = 1_000_000
	}
	if c.Queue == 0 {
		c.Queue = 16384
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 32 << 20
	}
	if c.CachedHeads == 0 {
		c.CachedHeads = 1 << 16
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Room == nil {
		c.Room = func() *problem.Problem { return nil }
	}
	if c.Opened == nil {
		c.Opened = func() {}
	}
	return c
}

func (c Config) check() error {
	var problems []error
	if err := event.CheckSite(c.Site); err != nil {
		problems = append(problems, err)
	}
	if c.Store == nil {
		problems = append(problems, errors.New("no Store: where should the logs live?"))
	}
	if c.Dir == "" {
		problems = append(problems, errors.New("no Dir: where should the states live?"))
	}
	if n := len(c.Key); n != 16 && n != 24 && n != 32 {
		problems = append(problems, errors.New("the Key must have 16, 24 or 32 bytes"))
	}
	return errors.Join(problems...)
}
