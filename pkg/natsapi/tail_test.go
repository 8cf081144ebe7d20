package natsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
)

// TestFollowingEndsWithTheProcess: a request that waits for what comes next is told to ask again when the process ends, and is not waited out.
func TestFollowingEndsWithTheProcess(t *testing.T) {
	seed, store, _ := wardLogs(t)
	p, err := projector.New(projector.Config{Store: store, Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	during(t, p.Run)
	<-p.Ready()
	c, end := openUntil(t, natsapi.Config{Projector: p, Store: store})
	c.token = mint(t, seed, "ada")
	first, refused := c.ask("qry.patient.tail", `{"now":true}`, nil)
	var page struct{ Cursor string }
	if err := json.Unmarshal([]byte(first), &page); err != nil || refused != nil {
		t.Fatal(refused, err)
	}
	asked := make(chan *problem.Problem, 1)
	ask := func() {
		_, p := c.ask("qry.patient.tail", fmt.Sprintf(`{"wait":5000,"cursor":%q}`, page.Cursor), nil)
		asked <- p
	}
	for deadline := time.Now().Add(time.Minute); ; <-asked { // it has to be under way within what it waits, else an answer without events would pass for one that was cut short
		were := c.queries()
		go ask()
		if c.takes(were, 4*time.Second) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no request was under way within 4 s, in a minute")
		}
	}
	end()
	if p := <-asked; p == nil || p.Code != problem.Unavailable {
		t.Errorf("got %v, want %s", p, problem.Unavailable)
	}
}

// openUntil opens doors on a server of their own until end is called, which comes back when they are closed.
func openUntil(t *testing.T, cfg natsapi.Config) (c *caller, end func()) {
	t.Helper()
	connect := startNATS(t)
	cfg.App, cfg.Site, cfg.Version = connect(), site, "1.0.0"
	api, err := natsapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- api.Run(ctx, func() { close(ready) }) }()
	<-ready
	return &caller{t: t, nc: connect()}, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// takes waits until the projector's doors took one more query than there were.
func (c *caller) takes(were int, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if c.queries() > were {
			return true
		}
	}
	return false
}

// queries is how many the projector's doors took.
func (c *caller) queries() (n int) {
	c.t.Helper()
	m, err := c.nc.Request("$SRV.STATS.eventful-projector", nil, 5*time.Second)
	if err != nil {
		c.t.Fatal(err)
	}
	var stats micro.Stats
	if err := json.Unmarshal(m.Data, &stats); err != nil {
		c.t.Fatal(err)
	}
	for _, e := range stats.Endpoints {
		n += e.NumRequests
	}
	return n
}
