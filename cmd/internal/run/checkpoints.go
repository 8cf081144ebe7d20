package run

import (
	"context"
	"path/filepath"

	"github.com/eventfuldb/eventful/pkg/checkpoint"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/streams"
)

// checkpoints opens what is signed of the logs: for queries, and in a process that writes for signing.
func (e Engines) checkpoints(ctx context.Context, c *connections, api *natsapi.Config) error {
	seed, err := e.Secrets.Derived(signLogs)
	if err != nil {
		return err
	}
	api.LogKey = logtree.NewKey(e.Site, seed)
	if api.Writer == nil {
		store, err := jetlog.New(c.reading, e.Site, jetlog.Options{})
		if err == nil {
			api.Checkpoints, err = store.CheckpointsToRead()
		}
		return err
	}
	store, err := jetlog.New(c.keeping, e.Site, e.making(keyring.LOG, c.keeping))
	if err != nil {
		return err
	}
	bucket, err := store.Checkpoints(ctx)
	if err != nil {
		return err
	}
	api.Checkpoints = bucket
	w := api.Writer
	api.Signer, err = checkpoint.New(checkpoint.Config{
		Key: api.LogKey, Logs: e.joined(store), Bucket: bucket, KeyOf: streams.CheckpointKey, Dir: filepath.Join(e.Dir, signedDir), Heads: w.Heads, Log: e.Log, Metric: e.Metrics,
		Lost: func(log string) string {
			for _, s := range w.Status() {
				if s.Log == log && s.Shortened {
					return s.Error
				}
			}
			return ""
		},
		Record: func(ctx context.Context) bool {
			recorded, p := w.RecordLogKey(ctx, api.LogKey.Public())
			if p != nil {
				e.Log.Warn().Err(p).Msg("key of checkpoints could not be recorded")
			}
			return recorded
		},
	})
	return err
}
