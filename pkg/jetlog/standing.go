package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

// standing is what a projector answers: docs/spec/subjects.md.
type standing struct {
	Format   int               `json:"v"`
	Instance string            `json:"instance"`
	Logs     map[string]uint64 `json:"logs"` // newest sequence that it has, by log
}

const standingFormat = 1

// standingPatience is how long answers of projectors are waited for.
const standingPatience = 300 * time.Millisecond

// AnswerStanding answers how far the projector of this process is, until ctx ends. instance is the process's own name, another one at each start.
func (s *Store) AnswerStanding(ctx context.Context, instance string, logs func() map[string]uint64) error {
	sub, err := s.nc.Subscribe(streams.StandingSubject(s.site), func(m *nats.Msg) {
		if body, err := json.Marshal(standing{standingFormat, instance, logs()}); err == nil {
			_ = m.Respond(body) // who asked asks again
		}
	})
	if err != nil {
		return fmt.Errorf("answer how far the projector is: %w", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // fails where the connection is closed, which ends it too
	return nil
}

// Standing asks every projector how far it is with a log, and gives the lowest sequence. A projector that does not know the log stands at 0. An error: none answered.
func (s *Store) Standing(ctx context.Context, log string) (lowest uint64, err error) {
	all, err := s.standings(ctx)
	for i, one := range all {
		if at := one.Logs[log]; i == 0 || at < lowest {
			lowest = at
		}
	}
	return lowest, err
}

// Foremost reports whether this process is the one of all projector processes that does what one of them should: the one with the lowest name. Two may think so for a
// moment, so it must be harmless if both do it.
func (s *Store) Foremost(ctx context.Context, instance string) (bool, error) {
	all, err := s.standings(ctx)
	if err != nil {
		return false, err
	}
	own := false
	for _, one := range all {
		if one.Instance < instance {
			return false, nil
		}
		own = own || one.Instance == instance
	}
	return own, nil
}

// standings asks every projector, and gives what came in time: one answer at least.
func (s *Store) standings(ctx context.Context) (all []standing, err error) {
	sub, err := s.answersTo(streams.StandingAnswers(s.site))
	if err == nil {
		defer func() { _ = sub.Unsubscribe() }() // as above
		err = s.nc.PublishRequest(streams.StandingSubject(s.site), sub.Subject, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("ask projectors how far they are: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, standingPatience)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil && len(all) > 0 {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("ask projectors how far they are: %w", errors.Join(err, errors.New("none answered")))
		}
		var one standing
		if json.Unmarshal(m.Data, &one) != nil || one.Format != standingFormat {
			return nil, fmt.Errorf("a projector answered with version %d, this program knows %d", one.Format, standingFormat)
		}
		all = append(all, one)
	}
}
