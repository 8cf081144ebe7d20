package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/streams"
)

// streamPatience bounds each question about a stream.
const streamPatience = 3 * time.Second

// streams compares the stream of every log with the topology, and its newest block with the clock.
func (x *examination) streams(ctx context.Context, nc *nats.Conn, members int) {
	store, err := jetlog.New(nc, x.Keys.Site(), jetlog.Options{GiveUp: streamPatience})
	if err != nil {
		x.found(checkStreams, "", "%v", err)
		return
	}
	names, err := store.List(ctx)
	if err != nil {
		x.found(checkStreams, "`eventful logs` or the log of the nats-servers says what ails JetStream", "%v", err)
		return
	}
	x.bare = len(names) == 0
	before := len(x.results)
	for _, name := range names {
		x.stream(ctx, store, nc, name, members)
	}
	if len(x.results) == before {
		x.ok(checkStreams, "as topology %d says: %s", streams.TopologyVersion, list(names))
	}
	x.archived(ctx, store, names)
}

func (x *examination) stream(ctx context.Context, store *jetlog.Store, nc *nats.Conn, name string, members int) {
	log, err := store.Open(ctx, name)
	switch {
	case errors.Is(err, jetlog.ErrNewer):
		x.found(checkStreams, "use the eventful that made it, or a newer one", "%v", err)
		return
	case errors.Is(err, jetlog.ErrSettings):
		x.found(checkStreams, "set back what differs, and find out who changed it; then `eventful aggregate:verify --all`", "%v", err)
		return
	case err != nil:
		x.found(checkStreams, "the log of the nats-servers says what ails the stream", "%v", err)
		return
	}
	x.replicas(ctx, nc, name, members)
	x.newest(ctx, log)
}

// replicas looks at how many servers hold a log, and whether they are up to date.
func (x *examination) replicas(ctx context.Context, nc *nats.Conn, name string, members int) {
	info, err := streamInfo(ctx, nc, x.Keys.Site(), name)
	if err != nil {
		x.found(checkStreams, "the log of the nats-servers says what ails the stream", "look at log %s: %v", name, err)
		return
	}
	if members >= 3 && info.Config.Replicas < 3 {
		x.found(checkStreams, fmt.Sprintf("`nats stream edit %s --replicas 3` in account LOG; `writer --replicas 3` makes new logs so", info.Config.Name),
			"log %s lies on %d server of %d: with that server it is gone", name, info.Config.Replicas, members)
	}
	if info.Cluster == nil {
		return
	}
	if info.Cluster.Leader == "" {
		x.found(checkStreams, "bring up more than half of its servers", "log %s has no leader, so it takes no commands", name)
	}
	for _, r := range info.Cluster.Replicas {
		if r.Offline || !r.Current {
			x.found(checkStreams, "bring that server up, or wait until it has caught up; until then no other may be stopped",
				"log %s: server %s is not up to date (%d behind)", name, r.Name, r.Lag)
		}
	}
}

func streamInfo(ctx context.Context, nc *nats.Conn, site, log string) (*jetstream.StreamInfo, error) {
	name, err := streams.Stream(site, log)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// newest reads the newest block: its time must not be ahead of the clock.
func (x *examination) newest(ctx context.Context, log eventlog.Log) {
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	first, last, err := log.Bounds(ctx)
	if err != nil {
		x.found(checkStreams, "the log of the nats-servers says what ails the stream", "look at log %s: %v", log.Name(), err)
		return
	}
	if last < first {
		return // empty
	}
	m, err := log.Get(ctx, last)
	if err != nil {
		x.found(checkStreams, "`eventful aggregate:verify --all` reads the whole log", "read the newest block of log %s: %v", log.Name(), err)
		return
	}
	block, err := event.DecodeHeader(m.Data)
	switch {
	case errors.Is(err, event.ErrNewerFormat):
		x.found(checkVersions, "use the eventful that wrote it, or a newer one", "log %s: %v", log.Name(), err)
		return
	case err != nil:
		x.found(checkStreams, "`eventful aggregate:verify --all` names the damage; the log takes no commands until you decide", "log %s, sequence %d: %v", log.Name(), last, err)
		return
	}
	at := time.Unix(0, int64(block.Time))
	if ahead := at.Sub(x.Now()); ahead > maxSkew {
		x.found(checkClock, clockRemedy, "the clock of this machine is %s behind the newest block of log %s (%s)",
			ahead.Round(time.Millisecond), log.Name(), at.UTC().Format(time.RFC3339))
	}
}
