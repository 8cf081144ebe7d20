package jetlog

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The pause between two tries doubles from the first to the longest.
const (
	firstPause   = 20 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

// accountPatience is how long an answer that JetStream is not enabled in the account is not believed: a server of a cluster says so for a moment when it hears of an account for the first time.
const accountPatience = 3 * time.Second

// try sends a request that may be repeated, each time with RequestTimeout, until it has an answer, ctx ends or GiveUp is over. The error is
// one of eventlog (readOutcome).
func (s *Store) try(ctx context.Context, request func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	begin := time.Now()
	over, sure := begin.Add(s.options.GiveUp), begin.Add(min(accountPatience, s.options.GiveUp))
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := s.once(ctx, request)
		if err == nil || !passing(err) && !(notEnabled(err) && time.Now().Before(sure)) || ctx.Err() != nil || time.Now().Add(pause).After(over) {
			return readOutcome(ctx, err)
		}
		wait(ctx, pause)
	}
}

func (s *Store) once(ctx context.Context, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.RequestTimeout)
	defer cancel()
	return request(ctx)
}

// wait pauses until the time is over or ctx ends.
func wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settlePause is the first pause before a change is sent again that met another one in flight; settlePatience bounds the last, which is half of all.
const (
	settlePause    = time.Millisecond
	settlePatience = 64 * time.Millisecond
)

// settled sends a change of one key until it is not refused because of a message in flight: a replicated stream acknowledges a message a moment before it strikes it off
// the list of those (nats-server 2.15, applyStreamMsgOp), so who writes behind his own acknowledged change can meet it. That refusal stored nothing.
func settled(ctx context.Context, change func(context.Context) (uint64, error)) (uint64, error) {
	for pause := settlePause; ; pause *= 2 {
		at, err := change(ctx)
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != codeWrongLastSequenceConstant || pause > settlePatience || ctx.Err() != nil {
			return at, err
		}
		wait(ctx, pause)
	}
}
