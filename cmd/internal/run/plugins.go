package run

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/eventfuldb/eventful/pkg/delivery"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/registry"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/plugins/nats"
	"github.com/eventfuldb/eventful/plugins/opensearch"
	"github.com/eventfuldb/eventful/plugins/postgres"
	"github.com/eventfuldb/eventful/plugins/process"
	"github.com/eventfuldb/eventful/plugins/webhook"
	"github.com/eventfuldb/eventful/streams"
)

// Purposes of derived keys, as in keep.go.
const (
	sealOptions = "secret options of plugins"
	feedIntake  = "subjects of the feed"
	sealParked  = "checkpoints and parked changes of plugins"
)

// runnerDir is the folder of what a plugin-runner keeps: the id by which it shares partitions.
const runnerDir = "runner"

// gather is how long delivery lets blocks of a writer in this process come together: a change is to be at its target within milliseconds.
const gather = time.Millisecond

// Kinds are the plugin types of this program, on a host and beside the feed of a site.
func Kinds(h process.Host, feed nats.Site) []*plugin.Kind {
	return []*plugin.Kind{nats.Kind(feed), opensearch.Kind(), postgres.Kind(), process.Kind(h), webhook.Kind()}
}

// kinds are those of a process that runs plugins, or leaves that to others.
func (e Engines) kinds() ([]*plugin.Kind, error) {
	feed, err := e.feed()
	return Kinds(process.Host{Programs: e.Programs, Elsewhere: !e.Runner}, feed), err
}

// Intake is the part of the feed's subjects that only engines of the site know. It is a secret.
func Intake(secrets *keyring.Secrets) (string, error) {
	secret, err := secrets.Derived(feedIntake)
	return hex.EncodeToString(secret[:16]), err
}

// feed is the site's own feed, as this process knows it.
func (e Engines) feed() (nats.Site, error) {
	intake, err := Intake(e.Secrets)
	site := nats.Site{Intake: intake, Replicas: e.Replicas}
	if e.Runner {
		site.Connect = func(options ...natsgo.Option) (*natsgo.Conn, error) {
			return e.Connect(keyring.APP, []streams.Role{streams.RoleRunner}, options...)
		}
	}
	return site, err
}

// prepareFeed makes what a plugin needs that only a writer may make: the site's own feed.
func (e Engines) prepareFeed(c *connections) func(context.Context, *registry.Plugin, []*registry.Plugin) error {
	return func(ctx context.Context, p *registry.Plugin, all []*registry.Plugin) error {
		if p.Kind != nats.Name || !nats.Own(p.Options) {
			return nil
		}
		site, err := e.feed()
		if err != nil {
			return err
		}
		site.Maker = func() (*natsgo.Conn, error) { return e.Make(keyring.APP, streams.FeedStream, besides(c.inbox)...) }
		return site.Make(ctx, c.inbox, plugin.Settings{Name: p.Name, Site: e.Site, Options: p.Options}, func(name string) bool {
			return name != "" && !slices.ContainsFunc(all, func(one *registry.Plugin) bool {
				return one.Name == name && one.Kind == nats.Name && nats.Own(one.Options)
			})
		})
	}
}

// PluginFlags are the settings of who runs plugins, as flags.
func PluginFlags(flags *pflag.FlagSet) {
	flags.String("plugin-programs", "", "absolute `paths`, separated by commas, of the programs that plugins of type process may run, with this user's rights; none if not given")
}

// keyReading is the role of a plugin-runner's connection that reads keys of encrypted fields.
func keyReading() []streams.Role { return []streams.Role{streams.RoleKeyReader} }

// opens reports whether this process opens encrypted fields for plugins alone: with a writer or projector it has their keys anyway.
func (e Engines) opens() bool { return e.Runner && e.PluginPII && !e.Writer && !e.Projector }

// runnerFlags are those of a plugin-runner in a process of its own.
func runnerFlags(flags *pflag.FlagSet) {
	flags.Bool("plugin-pii", false, "read the keys of encrypted fields, so that plugins with --pii get these in plain text")
	flags.String("key-creds", "", "credentials `file` of role key-reader in account LOG, for --plugin-pii; made from keys.json if not given")
}

func (e Engines) pluginSecrets() (s delivery.Secrets, err error) {
	if s.Options, err = e.Secrets.Derived(sealOptions); err != nil {
		return s, err
	}
	s.Parked, err = e.Secrets.Derived(sealParked)
	return s, err
}

// pluginStores opens once what plugins keep; until somebody made it, it is asked for again.
type pluginStores struct {
	store *jetlog.Store

	mu          sync.Mutex // guards what follows
	checkpoints *jetlog.Bucket
	dead        *jetlog.Dead
}

func (s *pluginStores) openCheckpoints(ctx context.Context) (delivery.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checkpoints == nil {
		b, err := s.store.Positions(ctx)
		if err != nil {
			return nil, err
		}
		s.checkpoints = b
	}
	return s.checkpoints, nil
}

func (s *pluginStores) openDead(ctx context.Context) (delivery.Dead, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead == nil {
		d, err := s.store.Dead(ctx)
		if err != nil {
			return nil, err
		}
		s.dead = d
	}
	return s.dead, nil
}

// desk answers acts on plugins, in a process that has a writer.
func (e Engines) desk(c *connections, store *jetlog.Store) (*natsapi.Plugins, error) {
	secrets, err := e.pluginSecrets()
	if err != nil {
		return nil, err
	}
	kinds, err := e.kinds()
	if err != nil {
		return nil, err
	}
	stores := &pluginStores{store: store}
	return &natsapi.Plugins{
		Desk: &delivery.Desk{Site: e.Site, Store: e.joined(store), Kinds: kinds, Secrets: secrets, Make: store.MakePlugins,
			Checkpoints: stores.openCheckpoints, Dead: stores.openDead, Now: time.Now},
		Ask: store.AskRunner, Prepare: e.prepareFeed(c),
	}, nil
}

// gaugePlugins has the metrics tell how far plugins are. Of several writers the one that writes the system log does.
func (e Engines) gaugePlugins(w *writer.Writer, desk *delivery.Desk) error {
	if e.Metrics == nil {
		return nil
	}
	leads := func(l writer.LogStatus) bool { return l.Log == event.Reserved && l.Serving }
	return e.Metrics.Register(delivery.Gauges{Desk: desk, Logs: func(types []string) []string { return natsapi.LogsOfTypes(w, types) }, Plugins: func() []*registry.Plugin {
		if !slices.ContainsFunc(w.Status(), leads) {
			return nil
		}
		return w.Plugins()
	}})
}

// delivery is the engine of a plugin-runner, with what answers those who want a plugin tried.
func (e Engines) delivery(c *connections) ([]engine, func() error, error) {
	m, err := join(filepath.Join(e.Dir, runnerDir), e.Log)
	if err != nil {
		return nil, nil, err
	}
	d, store, err := e.newDelivery(c, m)
	if err != nil {
		return nil, nil, errors.Join(err, m.lock.Release())
	}
	return []engine{
		{"delivery", d.Run, closed()},
		{"trials of plugins", func(ctx context.Context) error { return e.tryPlugins(ctx, d, store) }, closed()},
	}, m.lock.Release, nil
}

func (e Engines) newDelivery(c *connections, m *membership) (*delivery.Engine, *jetlog.Store, error) {
	store, err := jetlog.New(c.running, e.Site, jetlog.Options{Recent: c.recent, Gather: gather})
	if err != nil {
		return nil, nil, err
	}
	secrets, err := e.pluginSecrets()
	if err != nil {
		return nil, nil, err
	}
	kinds, err := e.kinds()
	if err != nil {
		return nil, nil, err
	}
	stores := &pluginStores{store: store}
	cfg := delivery.Config{Site: e.Site, Store: e.joined(store), Kinds: kinds, Checkpoints: stores.openCheckpoints, Dead: stores.openDead, Secrets: secrets, Log: e.Log, Metrics: e.Metrics}
	if c.keys != nil {
		cfg.Keys = c.keys
	}
	cfg.Lease = m.config(e.LogDir != "")
	cfg.Lease.Table = store.PluginLeases()
	d, err := delivery.New(cfg)
	return d, store, err
}

// tryPlugins answers until ctx ends.
func (e Engines) tryPlugins(ctx context.Context, d *delivery.Engine, store *jetlog.Store) error {
	stop, err := store.ServeRunner(ctx, "test", func(ctx context.Context, body []byte) []byte {
		answer := delivery.TestAnswer{V: 1}
		var asked delivery.TestRequest
		err := json.Unmarshal(body, &asked)
		switch {
		case err == nil && asked.V != 1:
			err = fmt.Errorf("the request has version %d, this plugin-runner knows 1", asked.V)
		case err == nil:
			err = d.Try(ctx, asked.Plugin)
		}
		if err != nil {
			answer.Error = err.Error()
		}
		data, _ := json.Marshal(answer) // of two plain fields: it cannot fail
		return data
	})
	if err != nil {
		return err
	}
	defer stop()
	<-ctx.Done()
	return nil
}
