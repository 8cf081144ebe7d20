package client_test

import (
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
)

// A client leaves a server behind which nobody answers, whether it says so or is silent, and stays at one where answers come.
func TestConnectionsLeaveAServerWithoutAnswers(t *testing.T) {
	for name, deaf := range map[string]bool{"no responders": false, "silence": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.answer("cmd.>", func(m *nats.Msg) { respond(t, m, client.Answer{}) })
			options := s.options.Clone()
			options.Port = -1
			apart, err := server.NewServer(options)
			check(t, err)
			go apart.Start()
			t.Cleanup(func() { apart.Shutdown(); apart.WaitForShutdown() })
			if !apart.ReadyForConnections(10 * time.Second) {
				t.Fatal("the server is not ready")
			}
			if deaf {
				there := *s
				there.t, there.server = t, apart
				there.listen()
			}
			connect := func(urls string) *client.Client {
				return s.connect(func(o *client.Options) {
					o.URL, o.Patience, o.LeaveAfter = urls, 100*time.Millisecond, 300*time.Millisecond
				})
			}
			cmd := client.Command{Aggregate: event.AggregateID{Type: "patient", ID: "A"}, Event: "note"}
			for range 8 { // each at one of the two, by chance
				if _, err := connect(s.server.ClientURL()+","+apart.ClientURL()).Command(within(t, 10*time.Second), cmd); err != nil {
					t.Errorf("got %v, want an answer", err)
				}
			}
			if _, err := connect(apart.ClientURL()).Command(within(t, time.Second), cmd); err == nil {
				t.Error("got an answer, want none where the client knows no other server")
			}
		})
	}
}

// listen takes every command at the site's server, and answers none.
func (s *site) listen() {
	s.t.Helper()
	user := keyPair(s.t, nkeys.CreateUser)
	text, err := jwt.NewUserClaims(public(s.t, user)).Encode(s.account)
	check(s.t, err)
	nc, err := nats.Connect(s.server.ClientURL(), nats.UserJWT(func() (string, error) { return text, nil }, user.Sign))
	check(s.t, err)
	s.t.Cleanup(nc.Close)
	_, err = nc.Subscribe("cmd.>", func(*nats.Msg) {})
	check(s.t, err)
	check(s.t, nc.Flush())
}
