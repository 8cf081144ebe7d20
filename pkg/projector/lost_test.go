package projector_test

import (
	"context"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/verify/verifytest"
)

// A log that names a last message which it has lost is read up to what there is, and nobody waits for the rest.
func TestALostEndDoesNotStopReading(t *testing.T) {
	m, log, b := verifytest.Memory(t, "patient")
	a := verifytest.Aggregate("patient", "A")
	for range 3 {
		b.Block(verifytest.Commit{Aggregate: a, Events: []verifytest.Event{{Type: "crp"}}})
	}
	_, last, err := log.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := projector.New(projector.Config{Store: lossy{m, verifytest.Without(log, last)}, Dir: t.TempDir(), Key: make([]byte, 32), Site: verifytest.Site})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	<-p.Ready()
	if err := p.WaitForLatest(ctx, "patient"); err != nil {
		t.Fatal(err)
	}
	if s, err := p.Get(ctx, a, projector.When{}); err != nil || s.Version != 2 {
		t.Errorf("got %+v, %v; want version 2", s, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// lossy has one log in place of that of the store.
type lossy struct {
	eventlog.Store
	log eventlog.Log
}

func (l lossy) Open(ctx context.Context, name string) (eventlog.Log, error) {
	if name == l.log.Name() {
		return l.log, nil
	}
	return l.Store.Open(ctx, name)
}
