package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// seenStream is what a watch knows of a stream: what somebody may change without its being heard.
type seenStream struct {
	settings string // JSON, without what the server notes of itself
	created  time.Time
	first    uint64 // of a log; else 0, as messages of other streams come and go
}

// seeStream asks for one stream; there is false if it does not exist, or lies in memory: such a one goes with its server, and is made anew.
func (s streamWatch) seeStream(ctx context.Context, site, name string) (seen seenStream, there bool, err error) {
	js, err := jetstream.New(s.nc)
	if err != nil {
		return seen, false, err
	}
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return seen, false, nil
	}
	if err != nil {
		return seen, false, fmt.Errorf("look at stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	config := info.Config
	if config.Storage == jetstream.MemoryStorage {
		return seen, false, nil
	}
	config.Metadata = maps.Clone(config.Metadata)
	maps.DeleteFunc(config.Metadata, func(key, _ string) bool { return strings.HasPrefix(key, "_nats.") }) // another version of the server has others
	settings, err := json.Marshal(config)
	seen = seenStream{settings: s.hidden(string(settings)), created: info.Created}
	if _, isLog := streams.LogOf(site, name); isLog {
		seen.first = info.State.FirstSeq
	}
	return seen, true, err
}

// streamNames are the streams that are watched.
func (s streamWatch) streamNames(ctx context.Context) (all []string, err error) {
	if s.account == string(keyring.APP) {
		return []string{streams.InboxStream, streams.FeedStream}, nil // in APP the writer may not list streams
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return nil, err
	}
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		all = append(all, name)
	}
	if err := names.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return all, nil
}

// see asks for all streams.
func (s streamWatch) see(ctx context.Context, site string) (map[string]seenStream, error) {
	names, err := s.streamNames(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]seenStream)
	for _, name := range names {
		one, there, err := s.seeStream(ctx, site, name)
		if err != nil {
			return nil, err
		}
		if there {
			all[name] = one
		}
	}
	return all, nil
}

// foundChanges is how streams differ from what was known of them, in the order of their names. Streams that are new are no change.
func foundChanges(before, after map[string]seenStream) (found []writer.StreamChange) {
	for _, name := range slices.Sorted(maps.Keys(before)) {
		was := before[name]
		now, there := after[name]
		c := writer.StreamChange{Stream: name, Request: now.settings[:min(len(now.settings), maxChangeRequest)]}
		switch {
		case !there || !now.created.Equal(was.created):
			c.Action = "delete"
		case now.settings != was.settings:
			c.Action = "update"
		case now.first != was.first:
			c.Action = "purge"
		default:
			continue
		}
		found = append(found, c)
	}
	return found
}

// confirmations is how many looks must miss a stream before it is gone: servers that have just started may not know all of theirs yet.
const confirmations = 5

// comparison keeps what is known of the streams of an account, and says what changed while it could not be heard. A change that was heard in the last moment before is said again: none is
// left out. It is for one goroutine.
type comparison struct {
	watch      streamWatch
	site       string
	reconnects uint64
	missed     bool                  // calls were not heard for another reason
	seen       map[string]seenStream // nil: nothing is known yet
	looked     time.Time             // when new streams were looked for
	changed    map[string]bool       // streams of which a change was heard: to be looked at again
	gone       int                   // looks one after the other that missed a stream
}

func newComparison(s streamWatch, site string) *comparison {
	return &comparison{watch: s, site: site, reconnects: s.nc.Stats().Reconnects, changed: make(map[string]bool)}
}

// look brings what is known up to date, and gives what changed while it could not be heard. An error: the servers could not be asked, and the next look tells as much.
func (c *comparison) look(ctx context.Context) (found []writer.StreamChange, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	reconnects := c.watch.nc.Stats().Reconnects
	away := c.missed || reconnects != c.reconnects
	if !c.watch.nc.IsConnected() || !away && len(c.changed) == 0 && c.seen != nil && time.Since(c.looked) < c.watch.every {
		return nil, nil
	}
	now, err := c.watch.see(ctx, c.site)
	if err != nil {
		return nil, err
	}
	return c.compare(now, reconnects), nil
}

// compare takes in what streams are; reconnects is how often the connection had come back before they were looked at.
func (c *comparison) compare(now map[string]seenStream, reconnects uint64) (found []writer.StreamChange) {
	switch {
	case c.missed || reconnects != c.reconnects:
		if found = foundChanges(c.seen, now); !c.sure(found) {
			return nil
		}
		c.seen = now
	case c.watch.nc.Stats().Reconnects != reconnects:
		return nil // it was away amid the look: what was changed meanwhile is not to be learnt, but found by the next look
	default:
		c.learn(now)
	}
	c.reconnects, c.missed, c.looked = reconnects, false, time.Now()
	clear(c.changed)
	return found
}

// sure holds back that streams are gone until some looks missed them.
func (c *comparison) sure(found []writer.StreamChange) bool {
	if !slices.ContainsFunc(found, func(one writer.StreamChange) bool { return one.Action == "delete" }) {
		c.gone = 0
	} else if c.gone++; c.gone < confirmations {
		return false
	}
	c.gone = 0
	return true
}

// learn takes in streams that are new, and those of which a change was heard. The others stay as they were: what is said of their changes may still be on its way.
func (c *comparison) learn(now map[string]seenStream) {
	if c.seen == nil {
		c.seen = now
		return
	}
	for name := range c.changed {
		delete(c.seen, name)
	}
	for name, one := range now {
		if _, known := c.seen[name]; !known {
			c.seen[name] = one
		}
	}
}

// lookPatience bounds a look: it is taken between what is heard.
const lookPatience = 10 * time.Second
