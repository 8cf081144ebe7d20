// Package lease says which process writes which log: members, leases, handover and balance, over a small compare-and-set table.
//
// Correctness never rests on a lease but on the fence of the log (docs/spec/log.md: expected sequence and epoch). Leases make one process at a time
// try, and let no answer that stores nothing leave a process that may be out of date (docs/adr/0001-leases.md).
//
// Each process is a member with one Keeper. The Keeper renews the member's record by compare-and-set; whoever finds a member silent for TTL deletes that record,
// by compare-and-set too, before it touches one of its leases. So a renewal that was acknowledged proves that nobody else has taken anything, and a
// lease counts from before its renewal was sent: the owner stops before anybody else begins, however late news travel.
package lease

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
)

// Config is all a Keeper needs. Zero values of the fields marked "default" take the default.
type Config struct {
	Table   Table
	Site    string // see event.CheckSite; members of one site share its logs
	Member  Member // this process
	Handler Handler

	TTL    time.Duration // default 3 s: how long a lease holds from before its renewal was sent; renewed every quarter. All members need the same
	Settle time.Duration // default 5 s: how long membership must not have changed before a log is handed over for balance
	Pace   time.Duration // default 1 s: pause between two hand-overs of this member for balance; how long it had no room before it hands its logs over
	Back   time.Duration // default 2 s: how long a successor may take before the log is claimed back; and how long logs have to be left when Run is told to end
	// Grace is how long a log without any record is left alone after the table was first seen, or seen again after a gap: a table that was lost (it
	// lies in memory) leaves owners behind that may still answer. Default TTL, and never less than that; negative: none, which is right only where
	// the servers have just started in this process.
	Grace time.Duration

	// Gone tells that a process which the table names under this member's id has ended for certain, so that its leases may be taken at once. Default: that is
	// never certain. Then a Keeper that finds such a record waits for TTL whether that process lives, and ends with ErrSameMember if it does.
	Gone func(Member) bool

	// Room tells whether this process has room for what it writes itself; false where another process could do what this one refuses. While it has none, and until
	// it had some for 6 Settle, it takes no log that a member with room follows, and hands over those that it has (docs/adr/0016-room.md). Default: there always is. Asked
	// by the Keeper's loop all the time; must not block.
	Room func() bool

	Now     func() time.Time // default time.Now; its monotonic reading counts
	Wall    func() time.Time // default: Now; the wall clock, which may jump. A lease holds by both
	Log     zerolog.Logger   // facts in the past tense
	Changed func()           // default: none; called when Owners, Members or Alone may give another answer; must not block
}

// Member is one writer process.
type Member struct {
	ID      string // kept in the process's own folder, of which a lock proves that one process at a time has it: ^[A-Za-z0-9_-]{1,64}$
	Name    string // for people
	Host    string
	Version string // of the program
	PID     int
}

// Handler takes over and gives up logs. The Keeper calls it from one goroutine, one call after the other, never while a call of the same Handler
// has not come back; the calls must not block, nor wait for the Keeper: hand on.
type Handler interface {
	// Lead: the lease is this member's, to take over (state taking; it is not Held yet). Read the log to its end, fence it, subscribe to its commands in
	// the lease's group, then call Serving, from which on the lease may be Held. If a Lease of the same log is in the middle of a hand-over
	// (Left was called), its successor failed: the new one replaces it without a Gone, in the same group, and what is held is decided under it.
	Lead(*Lease)
	// Leave: hand over. Stop deciding, hold what arrives, settle and answer what is in flight, then call Left. The lease may stay Held until then.
	Leave(*Lease)
	// Gone: the lease ended; it is never Held again. With republish, what was received and not decided is to be published again, after the
	// subscription ended: the log was handed over and who leads it now gets it. Without, it is dropped: its senders ask again.
	Gone(l *Lease, republish bool)
}

// State says what the owner of a log does.
type State string

// States of a lease.
const (
	Free    State = ""        // nobody's; the former owner gave it up
	Taking  State = "taking"  // the owner takes over and answers nothing yet
	Serving State = "serving" // the owner decides
	Leaving State = "leaving" // the owner hands over to the successor
	Unknown State = "unknown" // the record is of a newer version, or none
)

// Owner is what the table says of one log.
type Owner struct {
	Log        string
	Member     string // id; empty: nobody's
	Name, Host string // of the member, if it lives
	PID        int    // of the member, if it lives
	Live       bool   // the member's record is there, and was renewed within TTL as seen from here
	State      State
	Successor  string // id, when leaving
	Group      string
	Epoch      uint64 // of the owner, once it serves
	Generation uint64
}

var memberID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.TTL, 3 * time.Second}, {&c.Settle, 5 * time.Second}, {&c.Pace, time.Second}, {&c.Back, 2 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Grace >= 0 {
		c.Grace = max(c.Grace, c.TTL)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wall == nil {
		c.Wall = c.Now
	}
	if c.Gone == nil {
		c.Gone = func(Member) bool { return false }
	}
	if c.Room == nil {
		c.Room = func() bool { return true }
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	return c
}

func (c Config) check() error {
	var problems []error
	if c.Table == nil {
		problems = append(problems, errors.New("no Table: where should the leases live?"))
	}
	if c.Handler == nil {
		problems = append(problems, errors.New("no Handler: who takes the logs over?"))
	}
	if err := event.CheckSite(c.Site); err != nil {
		problems = append(problems, err)
	}
	if !memberID.MatchString(c.Member.ID) {
		problems = append(problems, fmt.Errorf("member id %.80q is not %s", c.Member.ID, memberID))
	}
	if c.TTL < 0 || c.Settle < 0 || c.Pace < 0 || c.Back < 0 {
		problems = append(problems, errors.New("a duration is negative"))
	}
	return errors.Join(problems...)
}
