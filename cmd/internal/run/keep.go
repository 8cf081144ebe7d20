package run

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/fieldkey"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/snapshot"
	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// Purposes of derived keys (keyring.Secrets.Derived). They never change: what was sealed under one opens under no other.
const (
	sealStaged  = "staged commits"
	nameStaged  = "names of staged commits"
	sealRefused = "refused commands"
	nameLetters = "command ids of letters"
	wrapKeys    = "field keys"
	nameKeys    = "names of field keys"
	uniqueKeys  = "unique encrypted fields"
	sealSnaps   = "snapshots"
	nameSnaps   = "names of snapshots"
	signLogs    = "log tree checkpoints"
)

// fieldKeys opens the keys of encrypted fields. A process that writes makes their bucket; one that only reads waits for it.
func (e Engines) fieldKeys(ctx context.Context, c *connections) (*fieldkey.Keys, error) {
	cfg := fieldkey.Config{Site: e.Site, Removed: func(aggregateType string, bytes int) {
		e.Log.Warn().Str("type", aggregateType).Int("bytes", bytes).Msg("what lay in the place of a field key, and was none, was removed")
	}}
	for purpose, key := range map[string]*[32]byte{wrapKeys: &cfg.Wrap, nameKeys: &cfg.Name, uniqueKeys: &cfg.Unique} {
		var err error
		if *key, err = e.Secrets.Derived(purpose); err != nil {
			return nil, err
		}
	}
	if e.Writer {
		store, err := jetlog.New(c.keeping, e.Site, e.making(keyring.LOG, c.keeping))
		if err != nil {
			return nil, err
		}
		if cfg.Bucket, err = store.Keys(ctx); err != nil {
			return nil, err
		}
		return fieldkey.New(cfg)
	}
	reading := c.reading
	if e.opens() {
		reading = c.opening
	}
	store, err := jetlog.New(reading, e.Site, jetlog.Options{})
	if err != nil {
		return nil, err
	}
	if cfg.Bucket, err = store.KeysToRead(); err != nil {
		return nil, err
	}
	return fieldkey.New(cfg)
}

// keeps opens what this process keeps for people besides the logs: staged commits, the inbox, and what was refused of it.
func (e Engines) keeps(ctx context.Context, c *connections, api *natsapi.Config) error {
	store, err := jetlog.New(c.keeping, e.Site, e.making(keyring.LOG, c.keeping))
	if err != nil {
		return err
	}
	if err := store.MakeSnapshots(ctx); err != nil {
		return err
	}
	if api.Snapshots, err = e.snapshots(store); err != nil {
		return err
	}
	if api.Staging, err = e.staging(ctx, store, natsapi.Relay{App: c.app}); err != nil {
		return err
	}
	if api.Plugins, err = e.desk(c, store); err != nil {
		return err
	}
	if err := e.gaugePlugins(api.Writer, api.Plugins.Desk); err != nil {
		return err
	}
	api.Inbox, err = e.inbox(ctx, store, c, api.Writer)
	return err
}

// snapshots are those in a bucket that a writer makes.
func (e Engines) snapshots(store *jetlog.Store) (*snapshot.Snapshots, error) {
	bucket, err := store.Snapshots()
	if err != nil {
		return nil, err
	}
	cfg := snapshot.Config{Site: e.Site, Bucket: bucket}
	if cfg.Wrap, err = e.Secrets.Derived(sealSnaps); err != nil {
		return nil, err
	}
	if cfg.Name, err = e.Secrets.Derived(nameSnaps); err != nil {
		return nil, err
	}
	return snapshot.New(cfg)
}

func (e Engines) staging(ctx context.Context, store *jetlog.Store, relay natsapi.Relay) (*staging.Staging, error) {
	bucket, err := store.Staged(ctx)
	if err != nil {
		return nil, err
	}
	cfg := staging.Config{Site: e.Site, Bucket: bucket, Execute: relay.Execute}
	if cfg.Key, err = e.Secrets.Derived(sealStaged); err != nil {
		return nil, err
	}
	if cfg.NameKey, err = e.Secrets.Derived(nameStaged); err != nil {
		return nil, err
	}
	return staging.New(cfg)
}

// inbox is emptied by the process that writes the system log.
func (e Engines) inbox(ctx context.Context, store *jetlog.Store, c *connections, w *writer.Writer) (*inbox.Inbox, error) {
	senders, err := jetlog.New(c.inbox, e.Site, e.making(keyring.APP, c.inbox))
	if err != nil {
		return nil, err
	}
	cfg := inbox.Config{Site: e.Site, Send: natsapi.Relay{App: c.inbox}.Send, Record: w.RecordRefused, Log: e.Log}
	if cfg.Letters, err = senders.Inbox(ctx); err != nil {
		return nil, err
	}
	if cfg.Refused, err = store.Refused(ctx); err != nil {
		return nil, err
	}
	if cfg.Key, err = e.Secrets.Derived(sealRefused); err != nil {
		return nil, err
	}
	if cfg.NameKey, err = e.Secrets.Derived(nameLetters); err != nil {
		return nil, err
	}
	cfg.Claims = func(jwt string, at time.Time) (*token.Claims, error) {
		return token.Verify(jwt, at, recorded{w})
	}
	cfg.Lead = func() bool {
		for _, log := range w.Status() {
			if log.Log == event.Reserved {
				return log.Serving
			}
		}
		return false
	}
	return inbox.New(cfg)
}

// recorded are the auth keys that the system log knows. Whose a refused command is does not change by what became of its token later.
type recorded struct{ *writer.Writer }

// Ended implements token.Keys.
func (recorded) Ended(string) bool { return false }
