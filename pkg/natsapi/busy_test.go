package natsapi_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/natsapi"
)

// Who waits for an act that takes long, and wants to know, is told that it is under way: silence means that nobody works at it any more.
func TestAnActSaysThatItIsUnderWay(t *testing.T) {
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	o := newOfficeWith(t, func(_ *office, c *natsapi.Config) {
		bring := c.Bring
		c.Bring = func(ctx context.Context) error {
			<-held
			return bring(ctx)
		}
	})
	answers, err := o.nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	request := &nats.Msg{Subject: "adm.key.add", Reply: answers.Subject, Header: nats.Header{"Eventful-Stream": {"1"}}, Data: []byte(o.addition(o.newKey()))}
	if err := o.nc.PublishMsg(request); err != nil {
		t.Fatal(err)
	}
	next := func() *nats.Msg {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := next(); m.Header.Get("Eventful-More") != "1" {
		t.Errorf("got %v %s, want to be told that an answer follows", m.Header, m.Data)
	}
	release()
	m := next()
	for m.Header.Get("Eventful-More") == "1" {
		m = next()
	}
	if m.Header.Get("Nats-Service-Error-Code") != "" {
		t.Errorf("got %v %s, want the key added", m.Header, m.Data)
	}
}
