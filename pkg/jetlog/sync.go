package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

const (
	// syncPatience is how long servers have to answer if the context does not end before.
	syncPatience = 5 * time.Second
	// syncQuiet is how long no further server may answer before all are taken to have answered.
	syncQuiet = 100 * time.Millisecond
)

// Server is what one nats-server says of itself and its JetStream.
type Server struct {
	Name, Version   string
	JetStream       bool          // whether it has JetStream; what follows but Now is zero without it
	SyncAlways      bool          // it flushes every write before it acknowledges
	SyncInterval    time.Duration // else how often
	Strict          bool          // it refuses requests to JetStream with members that it does not know
	Used            uint64        // bytes in its file store
	MaxStore        int64         // bytes that its file store may hold
	Now             time.Time     // its clock when it answered
	Asked, Answered time.Time     // the caller's clock when it was asked, and when the answer was there
}

// serverReport is the part of a server's JetStream report (JSZ of nats-server 2.15) that is read.
type serverReport struct {
	Server struct {
		Name    string `json:"name"`
		ID      string `json:"id"`
		Version string `json:"ver"`
	} `json:"server"`
	Data struct {
		Now      time.Time `json:"now"`
		Disabled bool      `json:"disabled"`
		Storage  uint64    `json:"storage"`
		Config   struct {
			MaxStorage   int64         `json:"max_storage"`
			SyncAlways   bool          `json:"sync_always"`
			SyncInterval time.Duration `json:"sync_interval"`
			Strict       bool          `json:"strict"`
		} `json:"config"`
		Meta *struct {
			Size int `json:"cluster_size"`
		} `json:"meta_cluster"`
	} `json:"data"`
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`

	answered time.Time
}

// Servers asks every server, over a connection whose account imports that question, and gives them in the order of their names. now is the caller's clock. With ErrSilent
// it gives those that answered, a majority of the cluster; another error means that the servers could not be asked, or fewer answered: nats.ErrNoResponders, that the account does not
// import it.
func Servers(ctx context.Context, asking *nats.Conn, now func() time.Time) ([]Server, error) {
	asked := now()
	reports, err := askServers(ctx, asking, now)
	if err != nil && !errors.Is(err, ErrSilent) {
		return nil, err
	}
	servers := make([]Server, 0, len(reports))
	for _, r := range reports {
		servers = append(servers, Server{
			Name: r.Server.Name, Version: r.Server.Version, JetStream: !r.Data.Disabled,
			SyncAlways: r.Data.Config.SyncAlways, SyncInterval: r.Data.Config.SyncInterval, Strict: r.Data.Config.Strict, Used: r.Data.Storage, MaxStore: r.Data.Config.MaxStorage,
			Now: r.Data.Now, Asked: asked, Answered: r.answered,
		})
	}
	slices.SortFunc(servers, func(a, b Server) int { return strings.Compare(a.Name, b.Name) })
	return servers, err
}

// CheckSync asks every server, as Servers does, whether JetStream syncs every write (sync_interval: always). ErrNotSynced
// names the servers that do not. ErrSilent: a majority answered, and each of them does. An error of another kind means that the servers could not be asked, or
// fewer answered.
func CheckSync(ctx context.Context, asking *nats.Conn) error {
	servers, silent := Servers(ctx, asking, time.Now)
	if silent != nil && !errors.Is(silent, ErrSilent) {
		return fmt.Errorf("ask servers for their sync interval: %w", silent)
	}
	var wrong []error
	enabled := 0
	for _, s := range servers {
		if !s.JetStream {
			continue
		}
		enabled++
		if !s.SyncAlways {
			wrong = append(wrong, fmt.Errorf("server %s syncs every %v", s.Name, s.SyncInterval))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %w (hint: set `jetstream { sync_interval: always }` in the server's configuration and restart it)", ErrNotSynced, errors.Join(wrong...))
	}
	if enabled == 0 {
		return errors.New("ask servers for their sync interval: no server has JetStream")
	}
	if silent != nil {
		return fmt.Errorf("ask servers for their sync interval: %w", silent)
	}
	return nil
}

// askServers collects the reports of all servers; with ErrSilent those of a majority. How many there are is known only for a cluster, from the size of its meta
// group.
func askServers(ctx context.Context, asking *nats.Conn, now func() time.Time) (map[string]serverReport, error) {
	ctx, cancel := context.WithTimeout(ctx, syncPatience)
	defer cancel()
	inbox := asking.NewInbox()
	sub, err := asking.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed
	if err := asking.PublishRequest(streams.AskServers, inbox, nil); err != nil {
		return nil, err
	}
	reports := map[string]serverReport{}
	for {
		r, err := nextReport(ctx, sub, complete(reports))
		switch {
		case err != nil && complete(reports):
			return reports, nil // quiet
		case errors.Is(err, context.DeadlineExceeded) && 2*enabled(reports) > expected(reports):
			return reports, fmt.Errorf("%d of %d did: %w", enabled(reports), expected(reports), ErrSilent)
		case err != nil:
			return nil, fmt.Errorf("%d servers answered of %d: %w", len(reports), expected(reports), err)
		}
		r.answered = now()
		reports[r.Server.ID] = r
	}
}

func nextReport(ctx context.Context, sub *nats.Subscription, quiet bool) (r serverReport, err error) {
	if quiet {
		short, cancel := context.WithTimeout(ctx, syncQuiet)
		defer cancel()
		ctx = short
	}
	m, err := sub.NextMsgWithContext(ctx)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return r, fmt.Errorf("decode report: %w", err)
	}
	if r.Error != nil {
		return r, fmt.Errorf("server %s: %s", r.Server.Name, r.Error.Description)
	}
	return r, nil
}

// expected is the number of servers that must answer at least.
func expected(reports map[string]serverReport) int {
	n := 1
	for _, r := range reports {
		if r.Data.Meta != nil {
			n = max(n, r.Data.Meta.Size)
		}
	}
	return n
}

func complete(reports map[string]serverReport) bool { return enabled(reports) >= expected(reports) }

// enabled is how many of the servers that answered have JetStream.
func enabled(reports map[string]serverReport) (n int) {
	for _, r := range reports {
		if !r.Data.Disabled {
			n++
		}
	}
	return n
}
