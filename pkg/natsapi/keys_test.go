package natsapi_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
)

// While the index of the system log cannot be read, a token is neither accepted nor called revoked: who asks is told to try again, which clients do by themselves.
func TestATokenIsNotWrongBecauseTheIndexIsAway(t *testing.T) {
	text := ofAnUnknownKey(t)
	p, err := projector.New(projector.Config{Store: eventlog.NewMemory(), Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	if err := natsapi.AuthenticateBy(p, text); !errors.Is(err, &problem.Problem{Code: problem.Unavailable}) {
		t.Errorf("got %v, want unavailable", err)
	}
}

// ofAnUnknownKey is a token whose auth key nobody added.
func ofAnUnknownKey(t *testing.T) string {
	t.Helper()
	_, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	account, _, err := token.NewAuthKey() // any public account key
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := token.MintAdmin(seed, account, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// endless is a store whose logs do not say where they end while they are away.
type endless struct {
	eventlog.Store
	away atomic.Bool
}

func (s *endless) Open(ctx context.Context, name string) (eventlog.Log, error) {
	l, err := s.Store.Open(ctx, name)
	return endlessLog{l, &s.away}, err
}

type endlessLog struct {
	eventlog.Log
	away *atomic.Bool
}

func (l endlessLog) Bounds(ctx context.Context) (first, last uint64, err error) {
	if l.away.Load() {
		return 0, 0, eventlog.ErrUnavailable
	}
	return l.Log.Bounds(ctx)
}

// An auth key that the index does not have may be one that it has not read yet: it is called unknown only where the log says that there is no more.
func TestAnAuthKeyIsNotUnknownWhileTheLogIsAway(t *testing.T) {
	_, memory, _ := wardLogs(t)
	store := &endless{Store: memory}
	p, err := projector.New(projector.Config{Store: store, Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	during(t, p.Run)
	<-p.Ready()
	if err := natsapi.AuthenticateBy(p, ofAnUnknownKey(t)); errors.Is(err, &problem.Problem{Code: problem.Unavailable}) || err == nil {
		t.Errorf("got %v, want it refused", err)
	}
	store.away.Store(true)
	if err := natsapi.AuthenticateBy(p, ofAnUnknownKey(t)); !errors.Is(err, &problem.Problem{Code: problem.Unavailable}) {
		t.Errorf("got %v, want unavailable while the log is away", err)
	}
}
