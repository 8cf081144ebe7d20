package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// catalog is what an Archive knows of a log's segments. Segments are only added.
type catalog struct {
	a   *Archive
	log string

	refreshing sync.Mutex // one refresh at a time
	looking    sync.Mutex // guards promise
	promise    promise    // of the log

	mu       sync.Mutex              // guards what follows
	segments []Segment               // ascending, without gaps, from 1
	states   []eventlog.KeptSnapshot // ascending by sequence
	begun    bool                    // the manifest was found, or cannot be used
	held     *opened                 // the segment that was read last
}

func (a *Archive) catalog(log string) *catalog {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.logs[log]
	if c == nil {
		c = &catalog{a: a, log: log}
		a.logs[log] = c
	}
	return c
}

func (c *catalog) all() []Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.segments)
}

// newest is the last segment; the zero Segment if there is none.
func (c *catalog) newest() Segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.segments) == 0 {
		return Segment{}
	}
	return c.segments[len(c.segments)-1]
}

func (c *catalog) last() uint64 { return c.newest().Last }

// find gives the segment that holds a sequence.
func (c *catalog) find(sequence uint64) (Segment, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, exact := slices.BinarySearchFunc(c.segments, sequence, func(s Segment, n uint64) int {
		switch {
		case s.Last < n:
			return -1
		case s.First > n:
			return 1
		}
		return 0
	})
	if !exact {
		return Segment{}, false
	}
	return c.segments[i], true
}

// open reads the ends of a segment, which must be the one that the catalogue has.
func (c *catalog) open(ctx context.Context, s Segment) (*opened, error) {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if held != nil && held.First == s.First {
		return held, nil
	}
	o, err := c.a.openSegment(ctx, c.log, s.First)
	if err != nil {
		return nil, err
	}
	if o.Segment != s {
		return nil, fmt.Errorf("segment %s has the digest %s and ends at %d, another one was expected (%s, %d): %w", o.name, o.Digest, o.Last, s.Digest, s.Last, ErrDamaged)
	}
	c.mu.Lock()
	c.held = o
	c.mu.Unlock()
	return o, nil
}

// refresh reads the manifest, the first time, and then looks for segments behind the last one known.
func (c *catalog) refresh(ctx context.Context) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	if err := c.begin(ctx); err != nil {
		return err
	}
	for {
		behind := c.newest()
		o, err := c.a.openSegment(ctx, c.log, behind.Last+1)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err == nil && o.header.previous != behind.Digest {
			err = fmt.Errorf("segment %s follows one with the digest %s, the one before it has %s: %w", o.name, o.header.previous, behind.Digest, ErrDamaged)
		}
		if err != nil {
			return fmt.Errorf("look for segments of log %s: %w", c.log, err)
		}
		c.add(o.Segment)
	}
}

func (c *catalog) add(s Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.segments = append(c.segments, s)
}

// begin takes over what the manifest lists; refreshing must be held. One that is not there, or says what cannot be, is as none: the segments are found by their names.
func (c *catalog) begin(ctx context.Context) error {
	c.mu.Lock()
	begun := c.begun
	c.mu.Unlock()
	if begun {
		return nil
	}
	m, err := c.a.readManifest(ctx, c.log)
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("read manifest of log %s: %w", c.log, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = !errors.Is(err, ErrNotFound) // one that is not there may come yet: with a place that was not mounted
	if err == nil {
		if len(c.states) == 0 {
			c.states = m.states
		}
		if len(m.segments) > len(c.segments) {
			c.segments = m.segments
		}
	}
	return nil
}

// manifest is what manifest.json says.
type manifest struct {
	segments []Segment
	states   []eventlog.KeptSnapshot
}

const maxManifest = 64 << 20

type manifestFile struct {
	Version  int                     `json:"v"`
	Site     string                  `json:"site"`
	Log      string                  `json:"log"`
	Segments []manifestSegment       `json:"segments"`
	States   []eventlog.KeptSnapshot `json:"states"`
}

type manifestSegment struct {
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

func (a *Archive) manifestName(log string) (string, error) {
	folder, err := folderOf(a.cfg.Site, log)
	return folder + "manifest.json", err
}

func (a *Archive) readManifest(ctx context.Context, log string) (m manifest, err error) {
	name, err := a.manifestName(log)
	if err != nil {
		return m, err
	}
	raw, err := whole(ctx, a.cfg.Objects, name, maxManifest)
	if err != nil {
		return m, err
	}
	var f manifestFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return m, fmt.Errorf("%s: %w: %w", name, err, ErrDamaged)
	}
	switch {
	case f.Version > formatVersion:
		return m, fmt.Errorf("%s has format %d, this program knows %d: %w", name, f.Version, formatVersion, ErrNewer)
	case f.Version != formatVersion || f.Site != a.cfg.Site || f.Log != log:
		return m, fmt.Errorf("%s is not of this log: %w", name, ErrDamaged)
	}
	m.states = f.States
	next := uint64(1)
	for _, s := range f.Segments {
		digest, err := event.ParseHash(s.Digest)
		if err != nil || s.First != next || s.Last < s.First {
			return manifest{}, fmt.Errorf("%s: segment %d does not follow the one before: %w", name, s.First, ErrDamaged)
		}
		m.segments = append(m.segments, Segment{First: s.First, Last: s.Last, Bytes: s.Bytes, Digest: digest})
		next = s.Last + 1
	}
	return m, nil
}

// writeManifest stores what the catalogue has.
func (c *catalog) writeManifest(ctx context.Context) error {
	name, err := c.a.manifestName(c.log)
	if err != nil {
		return err
	}
	f := manifestFile{Version: formatVersion, Site: c.a.cfg.Site, Log: c.log}
	c.mu.Lock()
	c.begun = true
	for _, s := range c.segments {
		f.Segments = append(f.Segments, manifestSegment{First: s.First, Last: s.Last, Bytes: s.Bytes, Digest: s.Digest.String()})
	}
	f.States = slices.Clone(c.states)
	c.mu.Unlock()
	raw, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode manifest of log %s: %w", c.log, err)
	}
	return c.a.cfg.Objects.Replace(ctx, name, append(raw, '\n'))
}
