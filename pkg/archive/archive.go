// Package archive keeps the oldest messages of logs outside the stream: segments that prove themselves, in a folder or an S3-compatible bucket.
//
// docs/spec/archive.md is the authority for every byte. An Archive writes segments (Extend), holds them against the stream (Compare), keeps states of writers, and reads
// everything back. Join makes one store of logs out of a stream's and an archive, so that readers go on over the cut without knowing. What is read was checked: a
// changed byte is ErrDamaged and names the segment. Archiver puts the steps in order, and purges.
package archive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Config says where an archive lies and who may read it. Zero values of fields marked "default" take the default.
type Config struct {
	Objects Objects
	Site    string
	Key     []byte // 32 bytes: the archive key; nil: what is encrypted cannot be read, and nothing is written encrypted
	Plain   bool   // write without encryption, though there is a key

	SegmentBytes int // default 8 MiB: a segment is closed when it is as long, in bytes as stored
	CacheBytes   int // default 16 MiB: opened frames kept in memory
}

// Archive is an open archive. All methods are safe for concurrent use; Extend is meant for one caller at a time.
type Archive struct {
	cfg   Config
	codec codec
	cache *cache

	mu   sync.Mutex // guards logs
	logs map[string]*catalog
}

// New opens an archive. It reads and writes nothing.
func New(cfg Config) (*Archive, error) {
	switch {
	case cfg.Objects == nil:
		return nil, errors.New("open archive: no place given")
	case event.CheckSite(cfg.Site) != nil:
		return nil, fmt.Errorf("open archive: %w", event.CheckSite(cfg.Site))
	case cfg.Key != nil && len(cfg.Key) != 32:
		return nil, fmt.Errorf("open archive: the key has %d bytes, not 32", len(cfg.Key))
	}
	if cfg.SegmentBytes == 0 {
		cfg.SegmentBytes = 8 << 20
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 16 << 20
	}
	codec, err := newCodec()
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return &Archive{cfg: cfg, codec: codec, cache: newCache(cfg.CacheBytes), logs: make(map[string]*catalog)}, nil
}

// String says where the archive lies.
func (a *Archive) String() string { return a.cfg.Objects.String() }

// writeKey is the key of what is written; nil: it is not encrypted.
func (a *Archive) writeKey() []byte {
	if a.cfg.Plain {
		return nil
	}
	return a.cfg.Key
}

// Last is the last sequence of a log that the archive holds with all before it; 0: none.
func (a *Archive) Last(ctx context.Context, log string) (uint64, error) {
	c := a.catalog(log)
	if err := c.refresh(ctx); err != nil {
		return 0, err
	}
	return c.last(), nil
}

// Known is Last as far as this process has seen it, without a look into the archive.
func (a *Archive) Known(log string) uint64 { return a.catalog(log).last() }

// Segments lists the segments of a log in order.
func (a *Archive) Segments(ctx context.Context, log string) ([]Segment, error) {
	c := a.catalog(log)
	if err := c.refresh(ctx); err != nil {
		return nil, err
	}
	return c.all(), nil
}

// Holder implements eventlog.Snapshots. The segment is looked at anew: eventlog.ErrAway if it is gone.
func (a *Archive) Holder(ctx context.Context, log string, sequence uint64) (event.Hash, error) {
	c := a.catalog(log)
	s, found := c.find(sequence)
	if !found {
		if err := c.refresh(ctx); err != nil {
			return event.Hash{}, err
		}
		if s, found = c.find(sequence); !found {
			return event.Hash{}, fmt.Errorf("sequence %d of log %s is not in the archive: %w", sequence, log, eventlog.ErrNotFound)
		}
	}
	return s.Digest, a.still(ctx, log, s)
}

// Get reads one message: ErrNotFound if no segment holds it, *eventlog.UnreadableError if the one that does is damaged, eventlog.ErrAway if it is gone.
func (a *Archive) Get(ctx context.Context, log string, sequence uint64) (eventlog.Message, error) {
	m, err := a.messages(ctx, log, sequence)
	if err != nil {
		return eventlog.Message{}, fmt.Errorf("get %d of log %s from the archive: %w", sequence, log, err)
	}
	return eventlog.Message{Sequence: sequence, Data: m.at(sequence)}, nil
}

// messages gives the opened frame that holds a sequence.
func (a *Archive) messages(ctx context.Context, log string, sequence uint64) (*messages, error) {
	c := a.catalog(log)
	first, found := c.find(sequence)
	if !found {
		if err := c.refresh(ctx); err != nil {
			return nil, a.unreadable(log, c.last()+1, math.MaxUint64, err)
		}
		if first, found = c.find(sequence); !found {
			return nil, ErrNotFound
		}
	}
	if m := a.cache.get(place{log, sequence}); m != nil {
		return m, nil
	}
	s, err := c.open(ctx, first)
	if err != nil {
		return nil, a.unreadable(log, first.First, first.Last, err)
	}
	f := s.frameOf(sequence)
	m, err := s.open(ctx, a.cfg.Objects, f)
	if err != nil {
		return nil, a.unreadable(log, f.first, f.last(), err)
	}
	a.cache.put(log, m)
	return m, nil
}

// unreadable names the messages that damage of the archive keeps from being read; other errors can be tried again, and so can an object that was there and is not: it is no damage of what is read.
func (a *Archive) unreadable(log string, from, to uint64, err error) error {
	if errors.Is(err, ErrNotFound) {
		return a.away(log, err.Error())
	}
	if err = passing(err); errors.Is(err, eventlog.ErrUnavailable) {
		return err
	}
	return &eventlog.UnreadableError{From: from, To: to, Err: err}
}

// passing tells errors of the network and the machine, which can be tried again, from what stays wrong.
func passing(err error) error {
	for _, final := range []error{ErrDamaged, ErrNotFound, ErrSealed, ErrNewer} {
		if errors.Is(err, final) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", err, eventlog.ErrUnavailable)
}
