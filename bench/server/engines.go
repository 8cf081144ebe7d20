package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// runEngines runs what `eventful start` runs on a data folder that it prepared, with the projector left out unless it is asked for.
func runEngines(ctx context.Context, c config, ready func(string)) error {
	keys, err := openKeys(c.dir)
	if err != nil {
		return err
	}
	address, connect, stop, err := engineServer(c, keys)
	if err != nil {
		return err
	}
	defer stop()
	app, err := connect(keyring.APP)
	if err != nil {
		return err
	}
	defer app.Close()
	writing, err := connect(keyring.LOG, jetlog.ConnectOptions()...)
	if err != nil {
		return err
	}
	defer writing.Close()
	reading, err := connect(keyring.LOG, jetlog.ConnectOptions()...)
	if err != nil {
		return err
	}
	defer reading.Close()
	doors := natsapi.Config{App: app, Site: keys.Site(), Version: "0.0.0", Operators: keys.OperatorKeys(), Status: func(context.Context) any { return nil }, Log: c.log}
	sys, err := connect(keyring.SYS)
	if err != nil {
		return err
	}
	defer sys.Close()
	doors.Account = func(ctx context.Context) (string, error) {
		return natsapi.LookupAccount(ctx, sys, keys.AccountID(keyring.APP))
	}
	doors.AccountID = keys.AccountID(keyring.APP)
	doors.Bring = func(ctx context.Context) error {
		present, err := doors.Account(ctx)
		if err != nil {
			return err
		}
		wanted, changed, err := token.BringAccount(present, keys.secrets.OperatorSigningSeed, doors.Writer.Recorded(), time.Now())
		if err == nil && changed {
			err = natsapi.UpdateAccount(ctx, sys, wanted)
		}
		return err
	}
	recent := jetlog.NewRecent()
	if c.projector {
		if doors.Projector, doors.Store, err = newProjector(c, keys, reading, recent); err != nil {
			return err
		}
	}
	if doors.Writer, err = newWriter(c, keys, writing, doors.Projector, recent); err != nil {
		return err
	}
	return serveEngines(ctx, doors, func() { ready(address) })
}

func engineServer(c config, keys siteKeys) (address string, connect func(keyring.Account, ...nats.Option) (*nats.Conn, error), stop func(), err error) {
	address, stop = c.url, func() {}
	var further []nats.Option
	if c.url == "" {
		o, err := keys.serverOptions(c, filepath.Join(c.dir, "jetstream"), filepath.Join(c.dir, "accounts"))
		if err != nil {
			return "", nil, nil, err
		}
		s, err := startServer(o)
		if err != nil {
			return "", nil, nil, err
		}
		address, stop, further = s.ClientURL(), func() { stopServer(s) }, []nats.Option{nats.InProcessServer(s)}
	}
	connect = func(a keyring.Account, o ...nats.Option) (*nats.Conn, error) {
		user, err := keys.user(a)
		if err != nil {
			return nil, err
		}
		nc, err := nats.Connect(address, append(append(user, further...), o...)...)
		if err != nil {
			return nil, fmt.Errorf("connect to account %s: %w", a, err)
		}
		return nc, nil
	}
	return address, connect, stop, nil
}

func newProjector(c config, keys siteKeys, nc *nats.Conn, recent *jetlog.Recent) (*projector.Projector, *jetlog.Store, error) {
	store, err := jetlog.New(nc, keys.Site(), jetlog.Options{Replicas: c.replicas, Recent: recent})
	if err != nil {
		return nil, nil, err
	}
	p, err := projector.New(projector.Config{
		Store: store, Dir: filepath.Join(c.dir, "index"), Key: keys.secrets.IndexKey[:], Site: keys.Site(), MemoryThreshold: 100_000, Log: c.log,
	})
	return p, store, err
}

func newWriter(c config, keys siteKeys, nc *nats.Conn, p *projector.Projector, recent *jetlog.Recent) (*writer.Writer, error) {
	store, err := jetlog.New(nc, keys.Site(), jetlog.Options{Replicas: c.replicas, Recent: recent})
	if err != nil {
		return nil, err
	}
	cfg := writer.Config{Site: keys.Site(), Store: store, Dir: filepath.Join(c.dir, "state"), Key: keys.secrets.StateKey[:], MaxBlock: 5 << 18, Log: c.log}
	if p != nil {
		cfg.Opened = p.Notify
	}
	return writer.New(cfg)
}

// serveEngines runs the engines until ctx ends or one of them fails.
func serveEngines(ctx context.Context, doors natsapi.Config, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	api, err := natsapi.New(doors)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	ended := make(chan error, 3)
	start := func(run func(context.Context) error) {
		running.Go(func() { defer cancel(); ended <- run(ctx) })
	}
	if doors.Projector != nil {
		start(doors.Projector.Run)
	}
	start(doors.Writer.Run)
	start(func(ctx context.Context) error {
		select {
		case <-doors.Writer.Ready():
			return api.Run(ctx, ready)
		case <-ctx.Done():
			return nil
		}
	})
	running.Wait()
	close(ended)
	for one := range ended {
		err = errors.Join(err, one)
	}
	return err
}
