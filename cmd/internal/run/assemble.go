package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/writer"
)

const (
	maxBlock      = 5 << 18  // 1.25 MiB of commits in a block at most: a value of 1 MiB fits, and the index takes a block in one batch of 2 MiB
	blockHeadroom = 16 << 10 // of the server's max_payload, for a block's header and its table
)

// assemble puts the engines together: connections, log store, writer, projector, doors. release closes the connections after all engines ended.
func (e Engines) assemble(ctx context.Context) (engines []engine, release func(), err error) {
	c := &connections{again: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.open(e); err != nil {
		return nil, nil, err
	}
	if err := e.checkSync(ctx, c.sys); err != nil {
		return nil, nil, err
	}
	engines = append(engines, engine{"sync guard", func(ctx context.Context) error { return e.guardSync(ctx, c) }, closed()})
	api := natsapi.Config{App: c.app, Site: e.Site, Version: serviceVersion(), Operators: e.Operators, Log: e.Log}
	if e.Projector {
		p, store, err := e.projector(c)
		if err != nil {
			return nil, nil, err
		}
		api.Projector, api.Store = p, store
		engines = append(engines, engine{"projector", p.Run, closed()}) // nothing waits for an index: queries are refused while it is built
	}
	if e.Writer {
		w, err := e.writer(c, api.Projector)
		if err != nil {
			return nil, nil, err
		}
		api.Writer = w
		engines = append(engines, engine{"writer", w.Run, w.Ready()})
		e.accounts(&api, c.sys)
	}
	api.Status = func() any { return statusOf(e.Site, api.Writer, api.Projector) }
	doors, err := natsapi.New(api)
	if err != nil {
		return nil, nil, err
	}
	open := make(chan struct{})
	run := func(ctx context.Context) error {
		if api.Writer != nil {
			select {
			case <-api.Writer.Ready(): // before that it knows no auth key, and would refuse tokens that are good
			case <-ctx.Done():
				return nil
			}
			if err := e.restoreKeys(ctx, api); err != nil {
				e.Log.Warn().Err(err).Msg("account APP could not be held against the recorded auth keys")
			}
		}
		return doors.Run(ctx, func() { close(open) })
	}
	return append(engines, engine{"doors", run, open}), c.close, nil
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// connections are those of the engines. The writer's log connection carries nothing else: its appends must stay in order.
type connections struct {
	writing, reading, app, sys *nats.Conn
	again                      chan struct{} // has one element when the system connection came back, perhaps to another server
}

func (c *connections) open(e Engines) (err error) {
	for _, one := range []struct {
		to      **nats.Conn
		account keyring.Account
		wanted  bool
		options []nats.Option
	}{
		{&c.writing, keyring.LOG, e.Writer, jetlog.ConnectOptions()},
		{&c.reading, keyring.LOG, e.Projector, jetlog.ConnectOptions()},
		{&c.app, keyring.APP, true, []nats.Option{nats.MaxReconnects(-1)}},
		{&c.sys, keyring.SYS, true, []nats.Option{nats.MaxReconnects(-1), nats.ReconnectHandler(c.reconnected)}},
	} {
		if !one.wanted {
			continue
		}
		if *one.to, err = e.Connect(one.account, one.options...); err != nil {
			return fmt.Errorf("connect in account %s: %w", one.account, err)
		}
	}
	return nil
}

func (c *connections) close() {
	for _, nc := range []*nats.Conn{c.writing, c.reading, c.app, c.sys} {
		if nc != nil {
			nc.Close()
		}
	}
}

// checkSync refuses servers that acknowledge what is not on disk.
func (e Engines) checkSync(ctx context.Context, sys *nats.Conn) error {
	if e.UnsafeNoSync {
		e.Log.Warn().Msg("DANGER: acknowledged events can be lost: servers are not asked to flush each write")
		return nil
	}
	err := jetlog.CheckSync(ctx, sys)
	if errors.Is(err, jetlog.ErrNotSynced) {
		return problem.New(problem.Unavailable, "%v", err).WithHint("set `sync_interval: always` in the jetstream block of every nats-server")
	}
	return err
}

func (c *connections) reconnected(*nats.Conn) {
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// guardSync checks the servers again whenever the connection came back: who answers now may have other settings. A server that cannot be asked is asked again.
func (e Engines) guardSync(ctx context.Context, c *connections) error {
	for {
		select {
		case <-c.again:
		case <-ctx.Done():
			return nil
		}
		err := e.checkSync(ctx, c.sys)
		if errors.Is(err, &problem.Problem{Code: problem.Unavailable}) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			e.Log.Warn().Err(err).Msg("servers could not be asked whether they flush each write")
			time.AfterFunc(time.Second, func() { c.reconnected(nil) })
		}
	}
}

func (e Engines) projector(c *connections) (*projector.Projector, *jetlog.Store, error) {
	store, err := jetlog.New(c.reading, e.Site, jetlog.Options{})
	if err != nil {
		return nil, nil, err
	}
	p, err := projector.New(projector.Config{
		Store: store, Dir: filepath.Join(e.Dir, indexDir), Key: e.Secrets.IndexKey[:], Site: e.Site,
		MemoryThreshold: e.MemoryThreshold, Log: e.Log, Metrics: e.Metrics,
	})
	return p, store, err
}

func (e Engines) writer(c *connections, p *projector.Projector) (*writer.Writer, error) {
	store, err := jetlog.New(c.writing, e.Site, jetlog.Options{Replicas: e.Replicas})
	if err != nil {
		return nil, err
	}
	cfg := writer.Config{Site: e.Site, Store: store, Dir: filepath.Join(e.Dir, stateDir), Key: e.Secrets.StateKey[:], Log: e.Log, Metrics: e.Metrics}
	cfg.MaxBlock = min(maxBlock, int(c.writing.MaxPayload())-blockHeadroom)
	if p != nil {
		cfg.Opened = p.Notify
	}
	return writer.New(cfg)
}

// accounts lets the doors add auth keys: they read the account APP from the servers and put another one into force.
func (e Engines) accounts(api *natsapi.Config, sys *nats.Conn) {
	account := e.Secrets.Accounts[keyring.APP].ID
	api.Account = func(ctx context.Context) (string, error) { return natsapi.LookupAccount(ctx, sys, account) }
	api.SetAccount = func(ctx context.Context, jwt string) error {
		if err := natsapi.UpdateAccount(ctx, sys, jwt); err != nil {
			return err
		}
		if e.Confirmed != nil {
			return e.Confirmed()
		}
		return nil
	}
}

// engineStatus is the answer of adm.server.status.
type engineStatus struct {
	Site    string      `json:"site"`
	Version string      `json:"version"`
	Logs    []logStatus `json:"logs"`
	Held    int         `json:"held"`  // decoded events in memory
	Limit   int         `json:"limit"` // of them, at most
}

// logStatus is how a log is written and how far its index is.
type logStatus struct {
	Log       string `json:"log"`
	State     string `json:"state"`      // of writing it, or without a writer of indexing it
	Position  string `json:"position"`   // sequence of its newest block
	Indexed   uint64 `json:"indexed"`    // last sequence in the index
	LagEvents uint64 `json:"lag-events"` // stored and not yet in the index
	Error     string `json:"error,omitempty"`
}

func statusOf(site string, w *writer.Writer, p *projector.Projector) engineStatus {
	s := engineStatus{Site: site, Version: Version(), Logs: []logStatus{}}
	indexed := make(map[string]projector.LogStatus)
	if p != nil {
		s.Held, s.Limit = p.Held()
		for _, l := range p.Status() {
			indexed[l.Log] = l
		}
	}
	if w != nil {
		for _, l := range w.Status() {
			i := indexed[l.Log]
			delete(indexed, l.Log)
			one := logStatus{Log: l.Log, State: "recovering", Position: strconv.FormatUint(l.Sequence, 10), Indexed: i.Indexed, LagEvents: i.LagEvents, Error: l.Error + i.Error}
			switch {
			case l.Serving:
				one.State = "serving"
			case l.Error != "":
				one.State = "stopped"
			}
			s.Logs = append(s.Logs, one)
		}
	}
	for _, i := range indexed {
		s.Logs = append(s.Logs, logStatus{Log: i.Log, State: i.State, Position: strconv.FormatUint(i.Last, 10), Indexed: i.Indexed, LagEvents: i.LagEvents, Error: i.Error})
	}
	slices.SortFunc(s.Logs, func(a, b logStatus) int { return strings.Compare(a.Log, b.Log) })
	return s
}

var semantic = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// serviceVersion is the version as NATS micro services must state it (Semantic Versioning 2.0.0).
func serviceVersion() string {
	if v := strings.TrimPrefix(Version(), "v"); semantic.MatchString(v) {
		return v
	}
	return "0.0.0-devel"
}
