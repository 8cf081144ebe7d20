package jetlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/streams"
)

// Bucket keeps values under keys, each changed by compare-and-set on its revision. Safe for concurrent use. A value has at most what the server's
// max_payload leaves; a key is of A-Z a-z 0-9 _ -.
type Bucket struct {
	store *Store
	kv    jetstream.KeyValue
	name  string

	mu     sync.Mutex       // guards what follows
	stream jetstream.Stream // for Next, so that it asks one question; nil until then
}

// Staged is the bucket of staged commits; it is made if it does not exist.
func (s *Store) Staged(ctx context.Context) (*Bucket, error) {
	settings, err := streams.StagedSettings(s.site, s.options.Replicas)
	if err != nil {
		return nil, fmt.Errorf("open the bucket of staged commits: %w", err)
	}
	b, err := s.bucket(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("open the bucket of staged commits: %w", err)
	}
	return b, nil
}

// Keys is the bucket of field keys; it is made if it does not exist.
func (s *Store) Keys(ctx context.Context) (*Bucket, error) {
	settings, err := streams.KeysSettings(s.site, s.options.Replicas)
	if err != nil {
		return nil, fmt.Errorf("open the bucket of field keys: %w", err)
	}
	b, err := s.bucket(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("open the bucket of field keys: %w", err)
	}
	return b, nil
}

// Checkpoints is the bucket of the last signed checkpoint of each log; it is made if it does not exist.
func (s *Store) Checkpoints(ctx context.Context) (*Bucket, error) {
	settings, err := streams.CheckpointsSettings(s.site, s.options.Replicas)
	if err != nil {
		return nil, fmt.Errorf("open the bucket of checkpoints: %w", err)
	}
	b, err := s.bucket(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("open the bucket of checkpoints: %w", err)
	}
	return b, nil
}

// CheckpointsToRead is that bucket for a process that signs none. It asks the server nothing.
func (s *Store) CheckpointsToRead() (*ReadBucket, error) {
	name, err := streams.CheckpointsBucket(s.site)
	return &ReadBucket{store: s, name: name}, err
}

// ReadBucket is a bucket that is only read, and that need not be there yet. Safe for concurrent use.
type ReadBucket struct {
	store *Store
	name  string

	mu     sync.Mutex // guards bucket
	bucket *Bucket    // nil: not found yet
}

// KeysToRead is the bucket of field keys for a process that makes none. It asks the server nothing.
func (s *Store) KeysToRead() (*ReadBucket, error) {
	name, err := streams.KeysBucket(s.site)
	return &ReadBucket{store: s, name: name}, err
}

// Get is as of Bucket; while there is no bucket no key has a value.
func (r *ReadBucket) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	b, err := r.open(ctx)
	if b == nil {
		return nil, 0, err
	}
	return b.Get(ctx, key)
}

func (r *ReadBucket) open(ctx context.Context) (*Bucket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bucket != nil {
		return r.bucket, nil
	}
	b, err := r.store.openBucket(ctx, r.name)
	if errors.Is(err, eventlog.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", r.name, err)
	}
	r.bucket = b
	return b, nil
}

// Put is refused.
func (r *ReadBucket) Put(context.Context, string, []byte, uint64) error {
	return fmt.Errorf("%s is only read here: %w", r.name, eventlog.ErrRefused)
}

// Erase is refused.
func (r *ReadBucket) Erase(context.Context, string, uint64) error {
	return fmt.Errorf("%s is only read here: %w", r.name, eventlog.ErrRefused)
}

func (s *Store) bucket(ctx context.Context, settings []streams.Setting) (*Bucket, error) {
	if _, err := s.ensureStream(ctx, settings); err != nil {
		return nil, err
	}
	return s.openBucket(ctx, strings.TrimPrefix(nameIn(settings), "KV_"))
}

func (s *Store) openBucket(ctx context.Context, name string) (*Bucket, error) {
	b := &Bucket{store: s, name: name}
	err := s.try(ctx, func(ctx context.Context) (err error) {
		b.kv, err = s.read.KeyValue(ctx, b.name)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			err = fmt.Errorf("%w: %w", eventlog.ErrNotFound, err)
		}
		return err
	})
	return b, err
}

// Get gives the value of a key and its revision; revision 0: there is none. The error is ErrUnavailable of eventlog, or the context's.
func (b *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	err = b.store.try(ctx, func(ctx context.Context) error {
		entry, err := b.kv.Get(ctx, key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
			value, revision = nil, 0
			return nil
		case err != nil:
			return err
		}
		value, revision = entry.Value(), entry.Revision()
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read a key of %s: %w", b.name, err)
	}
	return value, revision, nil
}

// Put changes the value of a key that has this revision, 0 meaning none. The error is one of eventlog: ErrTaken (another revision; nothing was stored),
// ErrRefused (too large), else ErrUnknown: reading tells.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, revision uint64) error {
	_, err := b.Replace(ctx, key, value, revision)
	return err
}

// Replace is Put, and gives the revision that the key has then.
func (b *Bucket) Replace(ctx context.Context, key string, value []byte, revision uint64) (next uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.store.options.AckTimeout)
	defer cancel()
	next, err = settled(ctx, func(ctx context.Context) (uint64, error) {
		if revision == 0 {
			return b.kv.Create(ctx, key, value)
		}
		return b.kv.Update(ctx, key, value, revision)
	})
	return next, b.changed("write", err)
}

// Delete takes back a key that has this revision. Errors are as of Put.
func (b *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, b.store.options.AckTimeout)
	defer cancel()
	_, err := settled(ctx, func(ctx context.Context) (uint64, error) {
		return 0, b.kv.Purge(ctx, key, jetstream.LastRevision(revision))
	})
	return b.changed("take back", err)
}

// Keys lists the keys that have, or had, a value. Errors are as of Get.
func (b *Bucket) Keys(ctx context.Context) (keys []string, err error) { return b.list(ctx, "") }

// Below lists those of Keys that begin with a prefix and a dot.
func (b *Bucket) Below(ctx context.Context, prefix string) ([]string, error) {
	return b.list(ctx, prefix+".")
}

func (b *Bucket) list(ctx context.Context, below string) (keys []string, err error) {
	prefix := "$KV." + b.name + "."
	err = b.store.try(ctx, func(ctx context.Context) error {
		stream, err := b.store.read.Stream(ctx, "KV_"+b.name)
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(prefix+below+">"))
		if err != nil {
			return err
		}
		keys = keys[:0]
		for subject := range info.State.Subjects {
			keys = append(keys, strings.TrimPrefix(subject, prefix))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the keys of %s: %w", b.name, err)
	}
	slices.Sort(keys)
	return keys, nil
}

// Next gives the value with the lowest revision above one, of those whose key begins with a prefix and a dot; revision 0: there is none. Errors are as of Get.
func (b *Bucket) Next(ctx context.Context, prefix string, above uint64) (key string, value []byte, revision uint64, err error) {
	subjects := "$KV." + b.name + "."
	err = b.store.try(ctx, func(ctx context.Context) error {
		stream, err := b.handle(ctx)
		if err != nil {
			return err
		}
		m, err := stream.GetMsg(ctx, above+1, jetstream.WithGetMsgSubject(subjects+prefix+".>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			key, value, revision = "", nil, 0
			return nil
		}
		if err != nil {
			return err
		}
		key, value, revision = strings.TrimPrefix(m.Subject, subjects), m.Data, m.Sequence
		return nil
	})
	if err != nil {
		return "", nil, 0, fmt.Errorf("read the next key of %s: %w", b.name, err)
	}
	return key, value, revision, nil
}

func (b *Bucket) handle(ctx context.Context) (jetstream.Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream != nil {
		return b.stream, nil
	}
	stream, err := b.store.read.Stream(ctx, "KV_"+b.name)
	if err == nil {
		b.stream = stream
	}
	return stream, err
}

// Erase overwrites a revision of a key on every server that holds it, and takes it back; a key that has another revision, or none, is left alone. The error is of
// eventlog: ErrUnavailable says nothing about whether it was done, and it may be repeated.
func (b *Bucket) Erase(ctx context.Context, key string, revision uint64) error {
	if revision == 0 {
		return nil
	}
	err := b.store.try(ctx, func(ctx context.Context) error {
		stream, err := b.store.read.Stream(ctx, "KV_"+b.name)
		if err != nil {
			return err
		}
		m, err := stream.GetMsg(ctx, revision)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil || m.Subject != "$KV."+b.name+"."+key {
			return err
		}
		return stream.SecureDeleteMsg(ctx, revision)
	})
	if err != nil {
		return fmt.Errorf("erase a key of %s: %w", b.name, err)
	}
	return nil
}

func (b *Bucket) changed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		err = fmt.Errorf("%w: %w", eventlog.ErrTaken, err)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrInvalidKey):
		err = fmt.Errorf("%w: %w", eventlog.ErrRefused, err)
	default:
		err = appendOutcome(err)
	}
	return fmt.Errorf("%s a key of %s: %w", what, b.name, err)
}
