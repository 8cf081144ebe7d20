package run

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

const (
	maxBlock      = 5 << 18  // 1.25 MiB of commits in a block at most: a value of 1 MiB fits, and the index takes a block in one batch of 2 MiB
	blockHeadroom = 16 << 10 // of the server's max_payload, for a block's header and its table
)

// assemble puts the engines together: connections, log store, writer, projector, doors. release closes the connections after all engines ended.
func (e Engines) assemble(ctx context.Context) (engines []engine, release func(), err error) {
	c := &connections{again: make(chan struct{}, 1), recent: jetlog.NewRecent()}
	end := c.close
	defer func() {
		if err != nil {
			end()
		}
	}()
	if err = e.reach(ctx, c); err != nil {
		return nil, nil, err
	}
	guard, m := e.guardSpace(c), (*membership)(nil)
	engines = append(e.guards(c), engine{"space guard", guard.Run, closed()})
	api := natsapi.Config{App: c.app, Site: e.Site, Version: serviceVersion(), Operators: e.Operators, Log: e.Log}
	if e.Projector {
		more, err := e.ofProjector(c, &api, guard)
		if err != nil {
			return nil, nil, err
		}
		engines = append(engines, more...)
	}
	if e.Writer {
		if m, err = join(filepath.Join(e.Dir, stateDir), e.Log); err != nil {
			return nil, nil, err
		}
		end = both(end, m.lock.Release)
		if api.Writer, err = e.writer(c, api.Projector, guard, m); err != nil {
			return nil, nil, err
		}
		if err := e.keeps(ctx, c, &api); err != nil {
			return nil, nil, err
		}
	}
	if e.Runner {
		delivering, leave, err := e.delivery(c)
		if err != nil {
			return nil, nil, err
		}
		engines, end = append(engines, delivering...), both(end, leave)
	}
	if api.Writer == nil && api.Projector == nil {
		return engines, end, nil // a plugin-runner alone has no doors
	}
	if err := e.checkpoints(ctx, c, &api); err != nil {
		return nil, nil, err
	}
	app := e.account(c.app, &api)
	api.Status = func(ctx context.Context) any { return e.status(ctx, api, guard) }
	doors, err := natsapi.New(api)
	if err != nil {
		return nil, nil, err
	}
	engines = append(engines, e.doors(doors))
	if api.Writer != nil {
		engines = append(engines, e.ofWriter(c, api, app, m)...)
	}
	return append(engines, e.ofInbox(api)...), end, nil
}

// ofInbox empties the inbox, behind the doors: it sends to them.
func (e Engines) ofInbox(api natsapi.Config) []engine {
	if api.Inbox == nil {
		return nil
	}
	if e.Kept != nil {
		e.Kept(api.Inbox)
	}
	return []engine{{"inbox", api.Inbox.Run, closed()}}
}

// guards look after the servers behind the connections.
func (e Engines) guards(c *connections) []engine {
	return []engine{
		{"sync guard", func(ctx context.Context) error { return e.guardSync(ctx, c) }, closed()},
		{"connection guard", func(ctx context.Context) error { return e.guardConnections(ctx, c) }, closed()},
	}
}

// ofProjector makes the projector and what runs with it.
func (e Engines) ofProjector(c *connections, api *natsapi.Config, guard *space.Watcher) (_ []engine, err error) {
	if api.Projector, api.Store, err = e.projector(c, guard); err != nil {
		return nil, err
	}
	archiving, err := e.ofArchive(c, api)
	if err != nil {
		return nil, err
	}
	return append([]engine{
		{"projector", api.Projector.Run, closed()}, // nothing waits for an index: queries are refused while it is built
		{"standing of the projector", func(ctx context.Context) error { return e.answerStanding(ctx, c, api.Projector) }, closed()},
	}, archiving...), nil
}

// both ends the connections, and gives up the lock of a folder: nothing is lost if that fails, as the kernel releases it with the process.
func both(end func(), release func() error) func() {
	return func() {
		end()
		_ = release() // as said
	}
}

// ofWriter are what runs with a writer.
func (e Engines) ofWriter(c *connections, api natsapi.Config, app *account, m *membership) []engine {
	w := api.Writer
	return []engine{
		{"signer of checkpoints", api.Signer.Run, closed()}, // it ends behind the writer, and signs what that came to
		{"writer", w.Run, w.Ready()},                        // it ends before the doors: what it holds when it hands a log over goes out by them
		{"account", app.run, app.brought},
		{"watch of credentials", func(ctx context.Context) error { return e.watchUses(ctx, c, w) }, closed()},
		{"watch of streams", func(ctx context.Context) error { return e.watchStreams(ctx, w, watch(string(keyring.LOG), c.keeping)) }, closed()},
		{"watch of inbox and feed", func(ctx context.Context) error { return e.watchApp(ctx, c, w) }, closed()},
		{"entry of acts", func(ctx context.Context) error { return e.enterActs(ctx, w) }, closed()},
		{"membership", func(ctx context.Context) error { return e.settle(ctx, api, m) }, closed()},
	}
}

// reach opens the connections, looks at the servers behind them, and opens the keys of encrypted fields.
func (e Engines) reach(ctx context.Context, c *connections) (err error) {
	if err := c.open(e); err != nil {
		return err
	}
	if err := e.firstSync(ctx, c); err != nil {
		return err
	}
	if e.Writer || e.Projector || e.opens() {
		c.keys, err = e.fieldKeys(ctx, c)
	}
	return err
}

// doors answer from the start; the writer lets requests in log by log, when it knows the auth keys.
func (e Engines) doors(doors *natsapi.API) engine {
	open := make(chan struct{})
	return engine{"doors", func(ctx context.Context) error { return doors.Run(ctx, func() { close(open) }) }, open}
}

// settle keeps note of whether there are other writers.
func (e Engines) settle(ctx context.Context, api natsapi.Config, m *membership) error {
	select {
	case <-api.Writer.Ready():
	case <-ctx.Done():
		return nil
	}
	for {
		if err := m.note(api.Writer.Others()); err != nil {
			e.Log.Warn().Err(err).Msg("folder of the writer's states could not be written")
		}
		select {
		case <-m.changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// connections are those of the engines. The writer's log connection carries nothing else: its appends must stay in order.
type connections struct {
	writing, reading, app *nats.Conn
	asking                *nats.Conn    // what servers answer; it carries nothing else
	sharing               *nats.Conn    // leases, and calls between writers
	keeping               *nats.Conn    // staged commits, refused commands
	running               *nats.Conn    // what plugins are delivered, and how far they are
	opening               *nats.Conn    // keys of encrypted fields, of a plugin-runner that hands these on; nil: it does not, or another role of this process reads them
	inbox                 *nats.Conn    // of senders that do not wait
	archiving             *nats.Conn    // purges; nil: there is no archive
	again                 chan struct{} // has one element when the asking connection came back, perhaps to another server
	recent                *jetlog.Recent
	keys                  *fieldkey.Keys
}

// Connect opens a connection in an account with the rights of some roles, and no others.
type Connect func(account keyring.Account, roles []streams.Role, options ...nats.Option) (*nats.Conn, error)

// roles are those of the engines in this process, for connections that they share.
func (e Engines) roles() (all []streams.Role) {
	if e.Writer {
		all = append(all, streams.RoleWriter)
	}
	if e.Projector {
		all = append(all, streams.RoleProjector)
	}
	if e.Runner {
		all = append(all, streams.RoleRunner)
	}
	return all
}

func (c *connections) open(e Engines) (err error) {
	writer, projector, runner := []streams.Role{streams.RoleWriter}, []streams.Role{streams.RoleProjector}, []streams.Role{streams.RoleRunner}
	for _, one := range []struct {
		to      **nats.Conn
		account keyring.Account
		roles   []streams.Role
		wanted  bool
		options []nats.Option
	}{
		{&c.writing, keyring.LOG, writer, e.Writer, jetlog.ConnectOptions()},
		{&c.sharing, keyring.LOG, writer, e.Writer, jetlog.ConnectOptions()},
		{&c.reading, keyring.LOG, projector, e.Projector, jetlog.ConnectOptions()},
		{&c.keeping, keyring.LOG, writer, e.Writer, jetlog.ConnectOptions()},
		{&c.opening, keyring.LOG, keyReading(), e.opens(), jetlog.ConnectOptions()},
		{&c.archiving, keyring.LOG, archiving(), e.Projector && e.Archive != nil, jetlog.ConnectOptions()},
		{&c.running, keyring.LOG, runner, e.Runner, jetlog.ConnectOptions()},
		{&c.inbox, keyring.APP, writer, e.Writer, jetlog.ConnectOptions()},
		{&c.app, keyring.APP, e.roles(), e.Writer || e.Projector, jetlog.ComesBack()},
		{&c.asking, keyring.LOG, e.roles(), true, append(jetlog.ComesBack(), nats.ReconnectHandler(c.reconnected))},
	} {
		if !one.wanted {
			continue
		}
		if *one.to, err = e.Connect(one.account, one.roles, one.options...); err != nil {
			return fmt.Errorf("connect in account %s: %w", one.account, err)
		}
	}
	return nil
}

// besidesAsking are all but the asking connection; those that are not wanted here are nil.
func (c *connections) besidesAsking() []*nats.Conn {
	return []*nats.Conn{c.writing, c.sharing, c.reading, c.keeping, c.running, c.opening, c.archiving, c.inbox, c.app}
}

func (c *connections) close() {
	for _, nc := range append(c.besidesAsking(), c.asking) {
		if nc != nil {
			nc.Close()
		}
	}
}

// guardConnections has connections leave servers that were cut off from the others.
func (e Engines) guardConnections(ctx context.Context, c *connections) error {
	jetlog.NewMover(c.asking, func(l jetlog.Left) {
		e.Log.Warn().Str(fieldNATS, l.Server).Dur("silent", l.Silent.Round(time.Millisecond)).Msg("connection left a server that most others did not hear")
	}, c.besidesAsking()...).Run(ctx)
	return nil
}

func (e Engines) projector(c *connections, guard *space.Watcher) (*projector.Projector, eventlog.Store, error) {
	streams, err := jetlog.New(c.reading, e.Site, jetlog.Options{Recent: c.recent})
	if err != nil {
		return nil, nil, err
	}
	snapshots, err := e.snapshots(streams)
	if err != nil {
		return nil, nil, err
	}
	store := e.joined(streams)
	p, err := projector.New(projector.Config{
		Snapshots: snapshots, Store: store, Dir: filepath.Join(e.Dir, indexDir), Key: e.Secrets.IndexKey[:], Site: e.Site, Keys: c.keys,
		Room: func() error { return roomForIndex(guard) }, MemoryThreshold: e.MemoryThreshold, Log: e.Log, Metrics: e.Metrics,
		IdleFor: func(log string) time.Duration { return e.Policies.of(log).IdleFor }, TendEvery: e.ArchiveEvery,
	})
	return p, store, err
}

func (e Engines) writer(c *connections, p *projector.Projector, guard *space.Watcher, m *membership) (*writer.Writer, error) {
	options := e.making(keyring.LOG, c.writing)
	options.Recent = c.recent
	store, err := jetlog.New(c.writing, e.Site, options)
	if err != nil {
		return nil, err
	}
	cfg := writer.Config{Site: e.Site, Store: e.joined(store), Dir: filepath.Join(e.Dir, stateDir), Key: e.Secrets.StateKey[:], Keys: c.keys, Log: e.Log, Metrics: e.Metrics}
	cfg.Room = guard.Check
	if e.Archive != nil {
		cfg.Snapshots = e.Archive
	}
	cfg.MaxBlock = min(maxBlock, int(c.writing.MaxPayload())-blockHeadroom)
	if p != nil {
		cfg.Opened = p.Notify
	}
	shared, err := jetlog.New(c.sharing, e.Site, e.making(keyring.LOG, c.sharing))
	if err != nil {
		return nil, err
	}
	cfg.Peers, cfg.Lease = shared.Peers(), m.config(e.LogDir != "")
	cfg.Lease.Table = shared.Leases()
	cfg.Lease.Room = e.roomOf(guard)
	w, err := writer.New(cfg)
	if err == nil && e.Written != nil {
		e.Written(w)
	}
	return w, err
}

var semantic = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// serviceVersion is the version as NATS micro services must state it (Semantic Versioning 2.0.0).
func serviceVersion() string {
	if v := strings.TrimPrefix(Version(), "v"); semantic.MatchString(v) {
		return v
	}
	return "0.0.0-devel"
}
