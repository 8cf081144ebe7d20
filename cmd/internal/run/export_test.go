package run

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// ActEntry enters acts of a data folder.
type ActEntry struct{ *actEntry }

// NewActEntry enters them by a function.
func NewActEntry(dir string, keys *keyring.Keyring, enter func(context.Context, writer.ConfigAct) *problem.Problem, log zerolog.Logger) ActEntry {
	return ActEntry{&actEntry{dir: dir, app: keys.AccountID(keyring.APP), log: log, enter: enter, done: map[string]bool{}, refused: map[string]bool{}}}
}

// SendAgain has what was refused sent again.
func (a ActEntry) SendAgain() { a.sendAgain() }

// Look enters what is new.
func (a ActEntry) Look(ctx context.Context) error { return a.look(ctx) }

// ParseInfo reads what the lock file or run.json holds.
func ParseInfo(text []byte) (*Info, error) { return parseInfo("run.json", text) }

// Join takes a folder of states; fresh says that no lease of before need be waited for. release notes whether there are others, and gives the folder up.
func Join(dir string) (id string, fresh bool, release func(others bool), err error) {
	m, err := join(dir, zerolog.Nop())
	if err != nil {
		return "", false, nil, err
	}
	c := m.config(true)
	return c.Member.ID, c.Grace < 0, func(others bool) {
		_ = m.note(others, true)
		_ = m.lock.Release()
	}, nil
}

// PolicyOf is the policy of a log.
func PolicyOf(p Policies, log string) archive.Policy { return p.of(log) }

// WatchStreams records changes of streams; messages are how many calls may wait to be looked at, 0: as many as in a server.
func WatchStreams(ctx context.Context, nc *nats.Conn, w *writer.Writer, messages int) error {
	s := watch("LOG", nc)
	if messages > 0 {
		s.messages, s.every = messages, time.Second
	}
	return Engines{Site: "here", Log: zerolog.Nop()}.watchStreams(ctx, w, s)
}

// Secret is what Recorded hides.
const Secret = "5ec2e7"

// Recorded tells whether what a server tells of a call is recorded, and as what.
func Recorded(account string, told any) (writer.StreamChange, bool) {
	data, err := json.Marshal(told)
	if err != nil {
		return writer.StreamChange{}, false
	}
	c, ok := streamWatch{secret: Secret}.changeOf(data, changes())
	return c, ok && !Engines{Site: "here"}.usual(account, c)
}

// WatchStreamsClosely is WatchStreams with looks at the streams every few milliseconds.
func WatchStreamsClosely(ctx context.Context, nc *nats.Conn, w *writer.Writer) error {
	s := watch("LOG", nc)
	s.every = time.Second
	return Engines{Site: "here", Log: zerolog.Nop()}.watchStreams(ctx, w, s)
}

// LookAcross looks at streams while the connection is away and comes back, behind a change of one that was heard, and gives what that and the next looks find.
func LookAcross(ctx context.Context, nc *nats.Conn, changed string, away func()) (found []writer.StreamChange, err error) {
	c := newComparison(watch("LOG", nc), "here")
	if _, err := c.look(ctx); err != nil {
		return nil, err
	}
	c.changed[changed] = true
	before := nc.Stats().Reconnects
	away()
	now, err := c.watch.see(ctx, c.site)
	if err != nil {
		return nil, err
	}
	found = c.compare(now, before)
	for range confirmations {
		more, err := c.look(ctx)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// RoomOf is what the leases are told of room.
func RoomOf(e Engines, guard *space.Watcher) func() bool { return e.roomOf(guard) }
