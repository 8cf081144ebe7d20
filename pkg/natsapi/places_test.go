package natsapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// both opens the doors of a writer and a projector of the logs of wardLogs, whose auth key it gives.
func both(t *testing.T, cfg natsapi.Config) (c *caller, seed []byte) {
	t.Helper()
	seed, store, _ := wardLogs(t)
	p, err := projector.New(projector.Config{Store: store, Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	w, err := writer.New(writer.Config{Site: site, Store: store, Dir: t.TempDir(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	during(t, p.Run)
	during(t, w.Run)
	<-p.Ready()
	<-w.Ready()
	cfg.Writer, cfg.Projector, cfg.Store = w, p, store
	return open(t, cfg), seed
}

// TestQueriesThatWaitLeaveRoom: queries that wait for a position that will never be there keep neither acts nor other queries out, nor other actors' waiting.
func TestQueriesThatWaitLeaveRoom(t *testing.T) {
	c, seed := both(t, natsapi.Config{})

	const never = "patient/5000/0/00000000000000000000000000000001"
	for _, user := range []struct {
		name string
		wait int
	}{{"ada", 8}, {"ben", 8}, {"eve", 0}} { // 16 in all
		c.token = mint(t, seed, user.name)
		if refused := c.flood(never, 64, 64-user.wait); refused != 64-user.wait {
			t.Errorf("%s: got %d queries refused, want %d", user.name, refused, 64-user.wait)
		}
	}
	if answer, p := c.ask("adm.schema.list", "", nil); p != nil || !strings.Contains(answer, "schemas") {
		t.Errorf("an act: got %s, %v, want an answer", answer, p)
	}
	for _, header := range []nats.Header{nil, {"Eventful-Wait-For": {"latest"}}} {
		if _, p := c.ask("qry.patient.A.get", "", header); p != nil {
			t.Errorf("a query with %v: got %v, want an answer", header, p)
		}
	}
	c.refused("qry.patient.A.get", "", nats.Header{"Eventful-Wait-For": {never}}, problem.Unavailable, "wait for the index already")
}

// flood sends queries that wait for a position, and counts those that are refused; it waits for no more than are wanted.
func (c *caller) flood(position string, n, wanted int) (refused int) {
	c.t.Helper()
	inbox := nats.NewInbox()
	answers, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		c.t.Fatal(err)
	}
	for range n {
		m := &nats.Msg{Subject: "qry.patient.A.get", Reply: inbox, Header: nats.Header{"Eventful-Token": {c.token}, "Eventful-Wait-For": {position}}}
		if err := c.nc.PublishMsg(m); err != nil {
			c.t.Fatal(err)
		}
	}
	for refused < wanted {
		m, err := answers.NextMsg(5 * time.Second)
		if err != nil {
			return refused
		}
		if p := problem.Decode(m.Data); p.Code != problem.Unavailable {
			c.t.Fatalf("got %s, want unavailable", m.Data)
		}
		refused++
	}
	return refused
}
