package run

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// syncPatience is how long servers of which no majority answers yet are asked again at the start: they may be starting too.
const syncPatience = 15 * time.Second

// firstSync is checkSync at the start. Where a majority answers, writing can begin: nothing is acknowledged without one of these. The others are asked until they
// answer; one that does not flush ends the engines then.
func (e Engines) firstSync(ctx context.Context, c *connections) error {
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	for began := time.Now(); ; {
		err := e.checkSync(ctx, c.asking)
		if errors.Is(err, jetlog.ErrSilent) {
			e.Log.Warn().Err(err).Msg("servers that do not answer are asked again until they do")
			c.reconnected(nil)
			return nil
		}
		if err == nil || errors.Is(err, &problem.Problem{Code: problem.Unavailable}) || time.Since(began) > syncPatience {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return err
		}
	}
}

// checkSync refuses servers that acknowledge what is not on disk.
func (e Engines) checkSync(ctx context.Context, asking *nats.Conn) error {
	if e.UnsafeNoSync {
		e.Log.Warn().Msg("DANGER: acknowledged events can be lost: servers are not asked to flush each write")
		return nil
	}
	err := jetlog.CheckSync(ctx, asking)
	if errors.Is(err, nats.ErrNoResponders) { // the account LOG of an older site
		if err := e.mendAccounts(ctx); err != nil {
			return err
		}
		err = jetlog.CheckSync(ctx, asking)
	}
	if errors.Is(err, jetlog.ErrNotSynced) {
		return problem.New(problem.Unavailable, "%v", err).WithHint("set `sync_interval: always` in the jetstream block of every nats-server")
	}
	return err
}

func (c *connections) reconnected(*nats.Conn) {
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// guardSync checks the servers again whenever the connection came back: who answers now may have other settings. A server that cannot be asked is asked again.
func (e Engines) guardSync(ctx context.Context, c *connections) error {
	for {
		select {
		case <-c.again:
		case <-ctx.Done():
			return nil
		}
		err := e.checkSync(ctx, c.asking)
		if errors.Is(err, &problem.Problem{Code: problem.Unavailable}) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			e.Log.Warn().Err(err).Msg("servers could not be asked whether they flush each write")
			time.AfterFunc(time.Second, func() { c.reconnected(nil) })
		}
	}
}
