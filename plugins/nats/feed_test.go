package nats_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/plugin"
	"github.com/eventfuldb/eventful/pkg/plugin/plugintest"
	"github.com/eventfuldb/eventful/plugins/nats"
	"github.com/eventfuldb/eventful/streams"
)

// app is a server with an account as APP is: connections have the rights of roles, or those of somebody who sends commands into the inbox.
type app struct {
	t    *testing.T
	s    *server.Server
	site nats.Site
}

const intake = "0123456789abcdef"

func newApp(t *testing.T) *app {
	t.Helper()
	account, system := server.NewAccount("APP"), server.NewAccount("SYS")
	users := []*server.User{{Username: "admin", Password: "x", Account: account}}
	for _, role := range []streams.Role{streams.RoleWriter, streams.RoleRunner, streams.RoleFeedReader, streams.RoleClient, streams.RoleMaker} {
		p, err := streams.RolePermissions(streams.Installation{Site: "here", LOG: "ALOG", APP: "AAPP", Stream: streams.FeedStream}, streams.AccountAPP, role)
		if err != nil {
			t.Fatal(err)
		}
		rights := &server.Permissions{Publish: &server.SubjectPermission{}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX." + string(role) + ".>"}}}
		for _, one := range p.Publish {
			rights.Publish.Allow = append(rights.Publish.Allow, one.Subject)
		}
		users = append(users, &server.User{Username: string(role), Password: "x", Account: account, Permissions: rights})
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SystemAccount: "SYS", Accounts: []*server.Account{account, system}, Users: users})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	if account, err = s.LookupAccount("APP"); err == nil {
		err = account.EnableJetStream(nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, s: s}
	a.site = nats.Site{Intake: intake, Connect: func(options ...natsgo.Option) (*natsgo.Conn, error) { return a.dial(streams.RoleRunner, options...) },
		Maker: func() (*natsgo.Conn, error) { return a.dial(streams.RoleMaker) }}
	return a
}

func (a *app) dial(role streams.Role, options ...natsgo.Option) (*natsgo.Conn, error) {
	return natsgo.Connect(a.s.ClientURL(), append(options, natsgo.UserInfo(string(role), "x"), natsgo.CustomInboxPrefix("_INBOX."+string(role)), natsgo.ErrorHandler(func(*natsgo.Conn, *natsgo.Subscription, error) {}))...)
}

func (a *app) as(role streams.Role) *natsgo.Conn {
	a.t.Helper()
	c, err := a.dial(role)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(c.Close)
	return c
}

// admin is a stock client with all rights.
func (a *app) admin() jetstream.JetStream {
	a.t.Helper()
	js, err := jetstream.New(a.as("admin"))
	if err != nil {
		a.t.Fatal(err)
	}
	return js
}

func (a *app) settings(name string, options plugin.Values) plugin.Settings {
	a.t.Helper()
	s := plugin.Settings{Name: name, Site: "here", Options: plugin.Values{}}
	for option, value := range options {
		s.Options[option] = value
	}
	pii := s.Options["pii"]
	delete(s.Options, "pii") // the engine's own
	values, err := nats.Kind(a.site).Examine(s)
	if err != nil {
		a.t.Fatal(err)
	}
	values["pii"] = pii
	s.Options = values
	return s
}

// make makes the feed as a writer does.
func (a *app) make(s plugin.Settings, others ...string) error {
	return a.site.Make(a.t.Context(), a.as(streams.RoleWriter), s, func(name string) bool { return !strings.Contains(strings.Join(others, " ")+" ", name+" ") })
}

func (a *app) open(s plugin.Settings) (plugin.Plugin, error) {
	p, err := nats.Kind(a.site).Open(a.t.Context(), s)
	if err == nil {
		a.t.Cleanup(func() { _ = p.Close() })
	}
	return p, err
}

func (a *app) mustOpen(t *testing.T, options plugin.Values) plugin.Plugin {
	t.Helper()
	s := a.settings("feed", options)
	if err := a.make(s); err != nil {
		t.Fatal(err)
	}
	p, err := a.open(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (a *app) count(stream string) uint64 {
	a.t.Helper()
	s, err := a.admin().Stream(a.t.Context(), stream)
	if err != nil {
		a.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// TestTheSitesOwnFeedConforms, with the rights of a plugin-runner and no others.
func TestTheSitesOwnFeedConforms(t *testing.T) {
	a := newApp(t)
	js := a.admin()
	plugintest.Run(t, plugintest.Target{
		Kind: nats.Kind(a.site), Deletes: true,
		Open: func(t *testing.T) plugin.Plugin { return a.mustOpen(t, nil) },
		Newest: func(t *testing.T, id event.AggregateID) (v event.Version) {
			return newestOf(t, js, streams.FeedStream, id)
		},
	})
}

// TestFollowing: a stock client with the credential of a feed-reader follows the feed, all of it or one type, from any place, and needs nothing else.
func TestFollowing(t *testing.T) {
	a := newApp(t)
	p := a.mustOpen(t, plugin.Values{"pii": "true", "max-age": "24h"})
	if err := p.Test(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader := a.as(streams.RoleFeedReader)
	js, err := reader.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *natsgo.Msg, 100)
	if _, err := js.ChanSubscribe("event.patient.>", got, natsgo.OrderedConsumer(), natsgo.BindStream(streams.FeedStream)); err != nil {
		t.Fatal(err)
	}
	for v := range event.Version(3) {
		if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{plugintest.Change("A.1", v+1, "name", fmt.Sprint(v+1))}}); o[0].Status != plugin.StatusDone {
			t.Fatal(o[0].Err)
		}
	}
	var last uint64
	for v := range 3 {
		m := next(t, got)
		if want := fmt.Sprintf(`"aggregateversion":"%d"`, v+1); !strings.HasPrefix(m.Subject, "event.patient.A=2E1.patient-") || !strings.Contains(string(m.Data), want) || m.Header.Get("Nats-Msg-Id") == "" {
			t.Errorf("got %s %s, want %s", m.Subject, m.Data, want)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		last = meta.Sequence.Stream
	}
	again := make(chan *natsgo.Msg, 100)
	if _, err := js.ChanSubscribe("event.>", again, natsgo.OrderedConsumer(), natsgo.BindStream(streams.FeedStream), natsgo.StartSequence(last)); err != nil {
		t.Fatal(err)
	}
	if m := next(t, again); !strings.Contains(string(m.Data), `"aggregateversion":"3"`) {
		t.Errorf("from %d: got %s", last, m.Data)
	}
	if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{plugintest.Forget("A.1")}}); o[0].Status != plugin.StatusDone {
		t.Fatal(o[0].Err)
	}
	if m := next(t, got); m.Subject != "event.patient.A=2E1.eventful-forgotten" {
		t.Errorf("got %s", m.Subject)
	}
	if n := a.count(streams.FeedStream); n != 1 {
		t.Errorf("got %d messages in the feed behind a forget, want that alone", n)
	}
}

// TestFollowingWithoutAName: clients other than nats.go, as nats-py, leave the name of an ordered consumer to the server, which is one more subject.
func TestFollowingWithoutAName(t *testing.T) {
	a := newApp(t)
	p := a.mustOpen(t, nil)
	if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{plugintest.Change("A", 1, "name", "x")}}); o[0].Status != plugin.StatusDone {
		t.Fatal(o[0].Err)
	}
	reader := a.as(streams.RoleFeedReader)
	inbox := reader.NewInbox()
	got := make(chan *natsgo.Msg, 100)
	if _, err := reader.ChanSubscribe(inbox, got); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`{"deliver_policy":"all","ack_policy":"none","ack_wait":79200000000000,"max_deliver":1,"filter_subject":"event.patient.>","flow_control":true,"idle_heartbeat":5000000000,"num_replicas":1,"mem_storage":true,"deliver_subject":%q}`, inbox)
	answer, err := reader.Request("$JS.API.CONSUMER.CREATE.FEED", []byte(`{"stream_name":"FEED","config":`+config+`}`), 30*time.Second)
	if err != nil || strings.Contains(string(answer.Data), `"error"`) {
		t.Fatalf("got %v, %v", answer, err)
	}
	for m := next(t, got); ; m = next(t, got) {
		if len(m.Data) > 0 { // else a heartbeat
			if !strings.HasPrefix(m.Subject, "event.patient.A.") {
				t.Errorf("got %s", m.Subject)
			}
			break
		}
	}
	if answer, err = reader.Request("$JS.API.CONSUMER.CREATE.FEED", []byte(`{"stream_name":"CMD_INBOX","config":`+config+`}`), 30*time.Second); err != nil || !strings.Contains(string(answer.Data), `"error"`) {
		t.Errorf("a consumer of another stream: got %v, %v", answer, err)
	}
}

func next(t *testing.T, from <-chan *natsgo.Msg) *natsgo.Msg {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(30 * time.Second):
		t.Fatal("nothing came in 30 s")
		return nil
	}
}

// TestWhoseTheFeedIs: the feed has one plugin; one that is gone gives it up, and settings follow the configuration.
func TestWhoseTheFeedIs(t *testing.T) {
	a := newApp(t)
	first, second := a.settings("first", nil), a.settings("second", plugin.Values{"max-age": "1h"})
	if _, err := a.open(first); err == nil || !strings.Contains(err.Error(), "plugin:enable") {
		t.Errorf("a feed that is not there: got %v", err)
	}
	if err := a.make(first); err != nil {
		t.Fatal(err)
	}
	if err := a.make(second, "first"); err == nil || !strings.Contains(err.Error(), "not of this plugin") {
		t.Errorf("a feed of another plugin: got %v", err)
	}
	if _, err := a.open(second); err == nil || !strings.Contains(err.Error(), "not of this plugin") {
		t.Errorf("a feed of another plugin: got %v", err)
	}
	if err := a.make(second); err != nil {
		t.Errorf("a feed of a plugin that is gone: got %v", err)
	}
	if _, err := a.open(second); err != nil {
		t.Error(err)
	}
	if s, err := a.admin().Stream(t.Context(), streams.FeedStream); err != nil || s.CachedInfo().Config.MaxAge != time.Hour {
		t.Errorf("got %v, %v", s.CachedInfo().Config, err)
	}
	if _, err := nats.Kind(nats.Site{}).Open(t.Context(), second); err == nil || !strings.Contains(err.Error(), "--url") {
		t.Errorf("a process without the feed: got %v", err)
	}
	for _, v := range []plugin.Values{{"stream": "OTHER"}, {"ca": "x"}, {"creds": "x"}} {
		if _, err := nats.Kind(a.site).Examine(plugin.Settings{Options: v}); err == nil {
			t.Errorf("%v: got no error", v)
		}
	}
}

// TestNobodyForgesTheFeed: nobody but an engine brings anything into the feed. A sender has JetStream answer where he likes, and no subject that he can name is one of the feed; and a
// reader can aim no answer, nor what a consumer brings or its heartbeats, so that a stream is removed or emptied.
func TestNobodyForgesTheFeed(t *testing.T) {
	a := newApp(t)
	p := a.mustOpen(t, nil)
	if o := p.Deliver(t.Context(), plugin.Batch{Changes: []plugin.Change{plugintest.Change("A", 1, "name", "x")}}); o[0].Status != plugin.StatusDone {
		t.Fatal(o[0].Err)
	}
	if _, err := a.admin().CreateStream(t.Context(), jetstream.StreamConfig{Name: streams.InboxStream, Subjects: []string{"inbox.cmd.>"}, Retention: jetstream.WorkQueuePolicy, DenyDelete: true, DenyPurge: true}); err != nil {
		t.Fatal(err)
	}
	sender := a.as(streams.RoleClient)
	for _, target := range []string{"event.patient.A.forged", "feed.patient.A.forged", "feed.x.patient.A.forged", "$JS.API.STREAM.PURGE.FEED", "$JS.API.STREAM.DELETE.FEED", "$JS.API.STREAM.MSG.DELETE.FEED"} {
		if err := sender.PublishRequest("inbox.cmd.patient.A.crp", target, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if err := sender.Publish("event.patient.A.forged", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := sender.Flush(); err != nil {
		t.Fatal(err)
	}
	reader := a.as(streams.RoleFeedReader)
	for _, target := range []string{"$JS.API.STREAM.DELETE.FEED", "$JS.API.STREAM.PURGE.FEED", "$JS.API.STREAM.DELETE.CMD_INBOX", "event.patient.A.forged", "feed.x.patient.A.forged"} {
		a.aim(reader, target)
	}
	a.heartbeats(reader)
	for stream, want := range map[string]uint64{streams.FeedStream: 1, streams.InboxStream: 6} {
		if n := a.count(stream); n != want {
			t.Errorf("%s holds %d messages, want %d", stream, n, want)
		}
	}
}

// TestTheIntakeIsWhatKeepsOthersOut: who knew the subjects of the feed would bring an answer of the server into it. That is why nobody but engines does.
func TestTheIntakeIsWhatKeepsOthersOut(t *testing.T) {
	a := newApp(t)
	a.mustOpen(t, nil)
	if _, err := a.admin().CreateStream(t.Context(), jetstream.StreamConfig{Name: streams.InboxStream, Subjects: []string{"inbox.cmd.>"}}); err != nil {
		t.Fatal(err)
	}
	sender := a.as(streams.RoleClient)
	if err := sender.PublishRequest("inbox.cmd.patient.A.crp", streams.FeedIntake(intake)+"patient.A.forged", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); a.count(streams.FeedStream) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("nothing came in: then the intake need not be secret, and this test and docs/deploy-security.md are wrong")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// aim makes every call that a reader may make, with answers, events and heartbeats to the target.
func (a *app) aim(reader *natsgo.Conn, target string) {
	a.t.Helper()
	for n, deliver := range []string{"", target} {
		config := fmt.Sprintf(`{"stream_name":"FEED","config":{"name":"c%d","ack_policy":"none","deliver_policy":"all","idle_heartbeat":100000000,"flow_control":true,"deliver_subject":%q}}`, n, deliver)
		if deliver == "" {
			config = `{"stream_name":"FEED","config":{"name":"c0","ack_policy":"none","deliver_policy":"all"}}`
		}
		unnamed := strings.Replace(config, fmt.Sprintf(`"name":"c%d",`, n), "", 1)
		for _, body := range []string{config, unnamed, strings.Replace(unnamed, "FEED", "CMD_INBOX", 1), "", "{}"} {
			for _, subject := range []string{"$JS.API.CONSUMER.CREATE.FEED", fmt.Sprintf("$JS.API.CONSUMER.CREATE.FEED.c%d", n)} {
				if err := reader.PublishRequest(subject, target, []byte(body)); err != nil {
					a.t.Fatal(err)
				}
			}
		}
		for _, subject := range []string{fmt.Sprintf("$JS.API.CONSUMER.DELETE.FEED.none%d", n), "$JS.FC.FEED.c1.x"} {
			if err := reader.PublishRequest(subject, target, nil); err != nil {
				a.t.Fatal(err)
			}
		}
	}
	if err := reader.Flush(); err != nil {
		a.t.Fatal(err)
	}
}

// heartbeats waits for some of a consumer that was made behind all others.
func (a *app) heartbeats(reader *natsgo.Conn) {
	a.t.Helper()
	inbox := reader.NewInbox()
	sub, err := reader.SubscribeSync(inbox)
	if err != nil {
		a.t.Fatal(err)
	}
	config := fmt.Sprintf(`{"stream_name":"FEED","config":{"name":"last","ack_policy":"none","deliver_policy":"new","idle_heartbeat":100000000,"deliver_subject":%q}}`, inbox)
	if _, err := reader.Request("$JS.API.CONSUMER.CREATE.FEED.last", []byte(config), 30*time.Second); err != nil {
		a.t.Fatal(err)
	}
	for range 5 {
		if _, err := sub.NextMsg(30 * time.Second); err != nil {
			a.t.Fatal(err)
		}
	}
}
