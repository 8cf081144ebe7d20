// Package inbox is the engine behind the durable inbox: it takes commands from it, has them decided, and keeps those that are refused.
//
// A command goes the way of any other: it is sent to the subject that it would have had, with its token, and the answer says what became of it. Side effects of
// one command in order, and what a crash behind each leaves: (1) the command is stored or refused: it comes again, and its command id (the sender's, else one
// that follows from its place in the inbox) makes the repeat harmless. (2) A refusal is kept: it comes again and is kept under the same id. (3) The acknowledgement: it is gone.
//
// Commands about one aggregate are sent one after the other in the order of the inbox; others run beside them. A command that can be decided later is tried
// again for ever; it holds up its own aggregates alone, and commands of a type that just failed wait in a narrow lane, so that a log which does
// not answer takes no room from the others.
package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// Config of an Inbox. Fields without a default are required.
type Config struct {
	Site    string
	Letters *jetlog.Inbox   // commands that wait
	Refused *jetlog.Refused // commands that were refused
	Key     [32]byte        // seals refused commands
	NameKey [32]byte        // makes the command ids of letters whose senders gave none; the same in every process of the site

	// Send sends a command as it is and gives the body of the answer, or the problem in it.
	Send func(ctx context.Context, subject string, header nats.Header, body []byte) ([]byte, *problem.Problem)
	// Claims reads a token as it was at a time: whose it is, is kept with a refusal instead of the token.
	Claims func(jwt string, at time.Time) (*token.Claims, error)
	// Record enters who purges or retries a refused command into the system log.
	Record Record
	// Lead says whether this process is the one that empties the inbox. It is asked again every second. Default: always.
	Lead func() bool

	Concurrency int           // default 256 commands that are decided at the same time
	FirstPause  time.Duration // default 50 ms: before a command is tried again; doubled each time
	LastPause   time.Duration // default 30 s: the longest
	Steady      time.Duration // default 6 s: how long a delivery without a letter lasts before a fault is over; a server that does not serve it ends it sooner
	PurgeTime   time.Duration // default 2 s: about how long one purge of many works before it answers that there are more; shorter than clients wait
	Log         zerolog.Logger
}

// Inbox is the engine.
type Inbox struct {
	cfg  Config
	poke chan struct{} // has one element when letters that pause may be dropped by now

	acting chan struct{} // holds an element while somebody purges or retries a refusal

	fault fault

	mu        sync.Mutex // guards forgotten
	forgotten map[event.AggregateID]uint64
}

// New checks the configuration.
func New(cfg Config) (*Inbox, error) {
	if err := event.CheckSite(cfg.Site); err != nil {
		return nil, fmt.Errorf("inbox configuration: %w", err)
	}
	if cfg.Letters == nil || cfg.Refused == nil || cfg.Send == nil || cfg.Claims == nil || cfg.Record == nil || cfg.NameKey == [32]byte{} {
		return nil, errors.New("inbox configuration: letters, refused, name key, send, claims and record are required")
	}
	if cfg.Lead == nil {
		cfg.Lead = func() bool { return true }
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 256
	}
	if cfg.FirstPause <= 0 {
		cfg.FirstPause = 50 * time.Millisecond
	}
	if cfg.LastPause <= 0 {
		cfg.LastPause = 30 * time.Second
	}
	if cfg.PurgeTime <= 0 {
		cfg.PurgeTime = 2 * time.Second
	}
	if cfg.Steady <= 0 {
		cfg.Steady = 6 * time.Second
	}
	return &Inbox{cfg: cfg, poke: make(chan struct{}, 1), acting: make(chan struct{}, 1), forgotten: map[event.AggregateID]uint64{}}, nil
}

const (
	leadPeriod = time.Second            // between two questions whether to lead
	firstWait  = 100 * time.Millisecond // before another delivery is begun; doubled while none comes about
	lastWait   = 5 * time.Second
)

// Run empties the inbox whenever this process leads, until ctx ends; then it waits for what is under way and comes back with nil. What it could not finish comes
// again. Two that run at the same time do no harm beyond the work: each new delivery ends the one before.
func (i *Inbox) Run(ctx context.Context) error {
	wait := firstWait
	for ctx.Err() == nil {
		if !i.cfg.Lead() {
			i.fault.over()
			pause(ctx, leadPeriod)
			continue
		}
		err := i.deliver(ctx, func() {
			wait = firstWait
			i.fault.over()
		})
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			i.fault.failed(err)
			i.cfg.Log.Warn().Err(err).Msg("delivery of the inbox ended")
			pause(ctx, wait)
			wait = min(2*wait, lastWait)
		}
	}
	return nil
}

// deliver runs one delivery; begun is called when its first letter came.
func (i *Inbox) deliver(ctx context.Context, begun func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d, err := i.cfg.Letters.Deliver(ctx)
	if err != nil {
		return err
	}
	defer time.AfterFunc(i.cfg.Steady, i.fault.over).Stop()
	r := newRound(i)
	letters, ended := make(chan *jetlog.Letter), make(chan error, 1)
	r.workers.Go(func() {
		ended <- i.receive(ctx, d, letters)
	})
	err = r.run(ctx, letters, ended, begun)
	cancel()
	r.workers.Wait()
	d.Stop()
	return err
}

// receive hands letters over one by one.
func (i *Inbox) receive(ctx context.Context, d *jetlog.Delivery, letters chan<- *jetlog.Letter) error {
	for {
		letter, err := d.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case letters <- letter:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
