package jetlog

import (
	"context"
	"fmt"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/streams"
)

// MakeSnapshots makes the bucket of snapshots if it does not exist.
func (s *Store) MakeSnapshots(ctx context.Context) error {
	settings, err := streams.SnapshotSettings(s.site, s.options.Replicas)
	if err == nil {
		_, err = s.ensureStream(ctx, settings)
	}
	if err != nil {
		return fmt.Errorf("make the bucket of snapshots: %w", err)
	}
	return nil
}

// LateBucket is a bucket that need not be there yet; while it is not, no key has a value, and Put fails with ErrUnavailable of eventlog. Safe for concurrent use.
type LateBucket struct{ read *ReadBucket }

// Snapshots is the bucket of snapshots. It asks the server nothing.
func (s *Store) Snapshots() (*LateBucket, error) {
	name, err := streams.SnapshotBucket(s.site)
	return &LateBucket{&ReadBucket{store: s, name: name}}, err
}

// Get is as of Bucket.
func (l *LateBucket) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	return l.read.Get(ctx, key)
}

// Put is as of Bucket.
func (l *LateBucket) Put(ctx context.Context, key string, value []byte, revision uint64) error {
	b, err := l.read.open(ctx)
	if err != nil {
		return err
	}
	if b == nil {
		return fmt.Errorf("%s was not made yet: %w", l.read.name, eventlog.ErrUnavailable)
	}
	return b.Put(ctx, key, value, revision)
}

// Below is as of Bucket.
func (l *LateBucket) Below(ctx context.Context, prefix string) ([]string, error) {
	b, err := l.read.open(ctx)
	if b == nil {
		return nil, err
	}
	return b.Below(ctx, prefix)
}

// Next is as of Bucket.
func (l *LateBucket) Next(ctx context.Context, prefix string, above uint64) (string, []byte, uint64, error) {
	b, err := l.read.open(ctx)
	if b == nil {
		return "", nil, 0, err
	}
	return b.Next(ctx, prefix, above)
}

// Erase is as of Bucket.
func (l *LateBucket) Erase(ctx context.Context, key string, revision uint64) error {
	b, err := l.read.open(ctx)
	if b == nil {
		return err
	}
	return b.Erase(ctx, key, revision)
}
