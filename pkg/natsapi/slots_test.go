package natsapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// TestWrongTokensTakeNoSlots: as many queries and acts with wrong tokens as go into the connection refuse nobody whose token was used before.
func TestWrongTokensTakeNoSlots(t *testing.T) {
	t.Parallel()
	c, seed := both(t, natsapi.Config{Concurrency: 8})
	c.token = mint(t, seed, "ada")
	for _, subject := range []string{"qry.patient.A.get", "adm.schema.list"} {
		if _, p := c.ask(subject, "", nil); p != nil {
			t.Fatalf("%s: %v", subject, p)
		}
		refused := c.wrong(subject, 5000, func() {
			if _, p := c.ask(subject, "", nil); p != nil {
				t.Errorf("%s among wrong tokens: got %v, want an answer", subject, p)
			}
		})
		if refused == 0 {
			t.Errorf("%s: got no wrong token refused for want of a slot, so nothing was shown", subject)
		}
	}
}

// wrong sends n requests with wrong tokens, with meanwhile after each hundred, and counts those for which there was no slot.
func (c *caller) wrong(subject string, n int, meanwhile func()) (refused int) {
	c.t.Helper()
	inbox := nats.NewInbox()
	answers, err := c.nc.SubscribeSync(inbox)
	if err == nil {
		err = answers.SetPendingLimits(-1, -1)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	stem := c.token[:strings.LastIndex(c.token, ".")+1]
	for i := range n {
		m := &nats.Msg{Subject: subject, Reply: inbox, Header: nats.Header{"Eventful-Token": {stem + fmt.Sprintf("%085dA", i)}}}
		if err := c.nc.PublishMsg(m); err != nil {
			c.t.Fatal(err)
		}
		if i%100 == 99 {
			meanwhile()
		}
	}
	for range n {
		m, err := answers.NextMsg(10 * time.Second)
		if err != nil {
			c.t.Fatal(err)
		}
		p := problem.Decode(m.Data)
		if p.Code != problem.Unauthenticated && p.Code != problem.Unavailable {
			c.t.Fatalf("got %s, want a refusal", m.Data)
		}
		if strings.Contains(p.Detail, "being answered already") {
			refused++
		}
	}
	return refused
}
