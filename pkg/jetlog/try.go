package jetlog

import (
	"context"
	"time"
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
