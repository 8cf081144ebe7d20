// Package natsapi answers requests on NATS: commands on cmd.>, queries on qry.>, administrative acts on adm.>, as micro services.
//
// It is the only bridge between the account APP, where people and services are, and the engines. It reads a request, checks who asks, calls the writer or
// the projector, and words the answer; the authority is docs/spec/commands.md. Handlers run beside each other; commands keep the order in which the
// connection delivered them.
package natsapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/checkpoint"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/inbox"
	"github.com/eventfuldb/eventful/pkg/logtree"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/snapshot"
	"github.com/eventfuldb/eventful/pkg/staging"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// Config says which doors to open. Without a Writer there are no commands and acts, without a Projector no queries.
type Config struct {
	App         *nats.Conn           // a connection in APP that may subscribe to cmd.>, qry.>, adm.> and answer
	Writer      *writer.Writer       // answers cmd.> and adm.>
	Projector   *projector.Projector // answers qry.>
	Store       eventlog.Store       // the logs themselves, which verify reads; needed with a Projector
	Staging     *staging.Staging     // answers adm.staged.>; nil: not here
	Inbox       *inbox.Inbox         // answers adm.inbox.>; nil: not here
	Snapshots   *snapshot.Snapshots  // those of an aggregate go when it is forgotten; nil: there are none here
	Archiver    Archiver             // answers qry._.archive; nil: there is no archive
	Plugins     *Plugins             // answers adm.plugin.>; nil: not here
	Site        string
	Version     string                                // of the program, semantic; shown by $SRV.INFO
	Account     func(context.Context) (string, error) // the present JWT of APP; nil: auth keys are neither added nor ended here, nor tokens ended
	Bring       func(context.Context) error           // brings the account APP on the servers to what the Writer has recorded
	AccountID   string                                // public id of APP
	Operators   []string                              // public keys that may sign it; the first is the operator's identity, which the master key opens
	Status      func(context.Context) any             // what adm.server.status answers
	Concurrency int                                   // queries at once, and acts at once; default 64

	// Credential checks a break-glass credential, the JWT of a NATS user, that is to be recorded, and the proof of who takes it; nil: none is here.
	Credential func(userJWT, proof string) (writer.Credential, *problem.Problem)

	LogKey      *logtree.Key       // of the site, for what is signed of the logs; nil: queries about checkpoints and proofs are refused
	Checkpoints checkpointReader   // where the last checkpoints are; needed with a LogKey
	Signer      *checkpoint.Signer // of this process; nil: it signs none

	Log zerolog.Logger
}

// checkpointReader reads the bucket of checkpoints; revision 0: there is none.
type checkpointReader interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
}

// API is the open doors.
type API struct {
	cfg     Config
	tokens  authenticator
	queries slots           // of queries under way …
	acts    slots           // … and of acts: no query takes an act's
	waiting chan struct{}   // requests that wait for what comes next
	places  *places         // queries that wait for a position
	ctx     context.Context // of requests under way
	cancel  context.CancelFunc
	open    context.Context // of requests that wait for what comes next: it ends when Run takes no more
	leave   context.CancelFunc
	busy    sync.WaitGroup // all of them …
	acting  sync.WaitGroup // … and those that are acts
	doors   doors
}

// authenticator checks a token; the error is a *problem.Problem. A token is known once it has passed; it may have ended since.
type authenticator interface {
	Authenticate(jwt string) (*token.Claims, error)
	Known(jwt string) bool
}

// New checks the configuration. A Writer that shares its logs with other processes says itself when its doors are open (writer.Doors), from its Run on.
func New(cfg Config) (*API, error) {
	switch {
	case cfg.App == nil:
		return nil, errors.New("natsapi configuration: no connection in APP")
	case cfg.Writer == nil && cfg.Projector == nil:
		return nil, errors.New("natsapi configuration: neither a writer nor a projector to answer")
	case cfg.Account != nil && cfg.Bring == nil:
		return nil, errors.New("natsapi configuration: the account can be read and not be changed")
	case cfg.Projector != nil && cfg.Store == nil:
		return nil, errors.New("natsapi configuration: no store of logs to verify")
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 64
	}
	a := &API{cfg: cfg, queries: newSlots(cfg.Concurrency), acts: newSlots(cfg.Concurrency),
		waiting: make(chan struct{}, max(cfg.Concurrency/2, 1)), places: newPlaces(cfg.Concurrency / 4), doors: doors{open: make(map[place]*door)}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.open, a.leave = context.WithCancel(a.ctx)
	if cfg.Writer != nil {
		a.tokens = cfg.Writer
		cfg.Writer.Attach(a)
	} else {
		a.tokens = newProjectedKeys(cfg.Projector)
	}
	return a, nil
}

// Run answers requests until ctx ends; then it takes no more, waits for those it has, and comes back with nil. Those that wait for what comes next are told to ask again.
func (a *API) Run(ctx context.Context, ready func()) error {
	defer a.cancel()
	var stops []func() error
	defer func() {
		a.leave()
		for _, stop := range stops {
			_ = stop() // it only unsubscribes; a connection that is gone has done so
		}
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
		defer cancel()
		a.closeDoors(late, nil)
		waitFor(late, &a.busy)
	}()
	if a.cfg.Writer != nil {
		s, err := a.announce("eventful-writer", "Takes commands and administrative acts")
		if err != nil {
			return err
		}
		stops = append(stops, s.stop)
		if !a.cfg.Writer.Shares() {
			if err := a.Set(ctx, []writer.Door{{}, {Log: event.Reserved}}); err != nil {
				return err
			}
		}
	}
	if a.cfg.Projector != nil {
		s, err := a.serve(streams.QueryGroup, "Answers queries", endpoint{"qry", "qry.>", a.beside(a.query, a.queries, &sync.WaitGroup{})})
		if err != nil {
			return err
		}
		stops = append(stops, s.Stop)
	}
	if err := a.cfg.App.FlushTimeout(5 * time.Second); err != nil {
		return fmt.Errorf("flush subscriptions: %w", err)
	}
	ready()
	<-ctx.Done()
	return nil
}

const endPatience = 5 * time.Second

// waitFor waits for requests under way until ctx ends.
func waitFor(ctx context.Context, requests *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { requests.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

type endpoint struct {
	name, subject string
	handle        func(micro.Request)
}

func (a *API) serve(name, description string, endpoints ...endpoint) (micro.Service, error) {
	s, err := micro.AddService(a.cfg.App, micro.Config{Name: name, Version: a.cfg.Version, Description: description, QueueGroup: name})
	if err != nil {
		return nil, fmt.Errorf("add service %s: %w", name, err)
	}
	for _, e := range endpoints {
		options := []micro.EndpointOpt{micro.WithEndpointSubject(e.subject), micro.WithEndpointPendingLimits(-1, -1)}
		if err := s.AddEndpoint(e.name, micro.HandlerFunc(a.guarded(e.handle)), options...); err != nil {
			return nil, errors.Join(fmt.Errorf("add endpoint %s: %w", e.subject, err), s.Stop())
		}
	}
	return s, nil
}

// guarded lets only requests through whose answer goes to an inbox: the sender chooses the reply subject, and this connection may publish anywhere in APP.
func (a *API) guarded(handle func(micro.Request)) func(micro.Request) {
	return func(m micro.Request) {
		if reply := m.Reply(); reply != "" && !strings.HasPrefix(reply, "_INBOX.") {
			a.cfg.Log.Warn().Str("subject", clip(m.Subject())).Str("reply", clip(reply)).Msg("request was dropped: it wanted its answer outside the inboxes")
			return
		}
		handle(m)
	}
}

func clip(s string) string { return s[:min(len(s), 100)] }

// beside runs a handler on a goroutine of its own, which is counted in kind too; when all slots are taken the request is refused, so that none waits unseen.
func (a *API) beside(handle func(context.Context, request) *problem.Problem, s slots, kind *sync.WaitGroup) func(micro.Request) {
	return func(m micro.Request) {
		r := request{m, a.cfg.App}
		slot := s.strangers
		if a.tokens.Known(m.Headers().Get(streams.HeaderToken)) {
			slot = s.known
		}
		if p := take(slot); p != nil {
			r.refuse(p)
			return
		}
		kind.Add(1)
		a.busy.Go(func() {
			deep(0)
			defer kind.Done()
			defer func() { <-slot }()
			p := a.meet(r, s, &slot)
			if p == nil {
				p = handle(a.ctx, r)
			}
			if p != nil && !a.elsewhere(r, p) {
				r.refuse(p)
			}
		})
	}
}

// deep makes the stack of a new goroutine as large as most requests need while there is next to nothing on it. Else it is copied three times as it grows, which is a
// quarter of what a query takes.
//
//go:noinline
func deep(at int) byte {
	var room [9 << 10]byte
	room[at] = 1
	return room[len(room)-1-at]
}
