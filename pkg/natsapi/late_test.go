package natsapi_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
)

// slowStore is a store whose logs give no message while it is slow.
type slowStore struct {
	eventlog.Store
	slow atomic.Bool
}

func (s *slowStore) Open(ctx context.Context, name string) (eventlog.Log, error) {
	l, err := s.Store.Open(ctx, name)
	return slowLog{l, s}, err
}

type slowLog struct {
	eventlog.Log
	store *slowStore
}

func (l slowLog) Get(ctx context.Context, sequence uint64) (eventlog.Message, error) {
	if l.store.slow.Load() {
		<-ctx.Done()
		return eventlog.Message{}, errors.Join(ctx.Err(), eventlog.ErrUnavailable)
	}
	return l.Log.Get(ctx, sequence)
}

// TestWhoWaitsForTheArchiveIsToldSo: before he gives up, and once.
func TestWhoWaitsForTheArchiveIsToldSo(t *testing.T) {
	t.Parallel()
	seed, memory, _ := wardLogs(t)
	store := &slowStore{Store: memory}
	cfg := projector.Config{Store: store, Dir: t.TempDir(), Key: key, Site: site}
	first, err := projector.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	<-first.Ready()
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	cfg.IdleFor, cfg.TendEvery = func(string) time.Duration { return time.Nanosecond }, 5*time.Millisecond
	p, err := projector.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	during(t, p.Run)
	<-p.Ready()
	c := open(t, natsapi.Config{Projector: p, Store: store})
	c.token = mint(t, seed, "ada")
	var told *problem.Problem
	for end := time.Now().Add(20 * time.Second); told == nil && time.Now().Before(end); store.slow.Store(false) { // until its events left the hot tier
		store.slow.Store(true)
		_, told = c.ask("qry.patient.A.history", "", nil)
	}
	if told == nil || told.Code != problem.Unavailable || !strings.Contains(told.Detail, "reading patient/A takes long") || told.Hint == "" {
		t.Fatalf("got %v, want why it takes long", told)
	}
	if answer, p := c.ask("qry.patient.A.history", "", nil); p != nil || !strings.Contains(answer, "crp") {
		t.Errorf("got %s, %v, want the history", answer, p)
	}
}
