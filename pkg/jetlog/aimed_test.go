package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/streams"
)

// aimedBodies are requests that bring answers with and without content, of every call that a role may make.
var aimedBodies = []string{"", "{}", `{"seq":99999}`, `{"seq":1}`, `{"batch":1,"no_wait":true}`, `{"batch":1,"expires":1000000}`, `{"last_by_subj":"nothing.is.there"}`}

// TestAimedAnswersRemoveNothing: JetStream sends its answers wherever they are asked for, and an empty one to its API deletes a stream. No role of every day may ask for one, so none
// can delete or purge a log; what the roles do not have any more would.
func TestAimedAnswersRemoveNothing(t *testing.T) {
	older := streams.Permissions{Publish: []streams.Permission{{Subject: "$JS.API.DIRECT.GET.*"}}}
	pulled := streams.Permissions{Publish: []streams.Permission{{Subject: "$JS.API.CONSUMER.CREATE.>"}, {Subject: "$JS.API.CONSUMER.MSG.NEXT.*.*"}}}
	for name, c := range map[string]struct {
		may   streams.Permissions
		falls bool
	}{
		"direct gets": {older, true}, "consumers that are pulled": {pulled, true},
		"writer": {roleInLog(t, streams.RoleWriter), false}, "projector": {roleInLog(t, streams.RoleProjector), false}, "plugin-runner": {roleInLog(t, streams.RoleRunner), false},
		"key-reader": {roleInLog(t, streams.RoleKeyReader), false}, "archiver": {roleInLog(t, streams.RoleArchiver), false}, "doctor": {roleInLog(t, streams.RoleDoctor), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAimed(t, c.may)
			for _, verb := range []string{"STREAM.DELETE.", "STREAM.PURGE."} {
				a.fill()
				a.aim("$JS.API." + verb + a.stream)
				if fell := a.removed(c.falls); fell != c.falls {
					t.Errorf("%s: got removed %v, want %v", verb, fell, c.falls)
				}
			}
		})
	}
}

// TestNobodyMakesAStreamThatRemovesAnother: a stream may republish what it stores, without content, to any subject, and an empty message to the API of JetStream deletes a stream. So no role
// of every day may make a stream, or change one, in either account; what the writer had before would do.
func TestNobodyMakesAStreamThatRemovesAnother(t *testing.T) {
	older := streams.Permissions{Publish: []streams.Permission{{Subject: "$JS.API.STREAM.CREATE.*"}, {Subject: "evt.test.*"}}}
	feed := streams.Permissions{Publish: []streams.Permission{{Subject: "$JS.API.STREAM.UPDATE.FEED"}, {Subject: "cmd.>"}}}
	type sender struct {
		may   streams.Permissions
		falls bool
	}
	senders := map[string]sender{"older writer in LOG": {older, true}, "older writer in APP": {feed, true}}
	for _, role := range append(streams.HandedOut(), streams.RoleDoctor, streams.RoleMender) {
		for _, account := range []string{streams.AccountLOG, streams.AccountAPP} {
			if may := roleIn(t, account, role); role != streams.RoleBreakGlass && !may.Empty() {
				senders[string(role)+" in "+account] = sender{may, false}
			}
		}
	}
	for name, c := range senders {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAimed(t, c.may)
			for _, verb := range []string{"STREAM.DELETE.", "STREAM.PURGE."} {
				a.fill()
				a.republish("$JS.API." + verb + a.stream)
				if fell := a.removed(c.falls); fell != c.falls {
					t.Errorf("%s: got removed %v, want %v", verb, fell, c.falls)
				}
			}
		})
	}
}

// TestQuestionsLeaveNothing: engines ask twice a second for years. What the server keeps of a question that every server may answer goes with the asker's subscription.
func TestQuestionsLeaveNothing(t *testing.T) {
	t.Parallel()
	a := newAimed(t, roleInLog(t, streams.RoleWriter))
	for range 20 {
		if servers, err := jetlog.Servers(t.Context(), a.sender, time.Now); err != nil || len(servers) != 1 {
			t.Fatalf("got servers %v, error %v, want one", servers, err)
		}
	}
	until(t, "the server has forgotten the questions", func() bool { return a.server.SystemAccount().NumPendingAllResponses() == 0 })
}

func roleInLog(t *testing.T, role streams.Role) streams.Permissions {
	t.Helper()
	return roleIn(t, streams.AccountLOG, role)
}

func roleIn(t *testing.T, account string, role streams.Role) streams.Permissions {
	t.Helper()
	p, err := streams.RolePermissions(streams.Installation{Site: jetlogtest.Site, LOG: "ALOG", APP: "AAPP"}, account, role)
	if err != nil {
		t.Fatal(err)
	}
	p.Publish = slices.DeleteFunc(p.Publish, func(one streams.Permission) bool { return strings.Contains(one.Subject, "STREAM.PURGE") }) // which the archiver needs no trick for
	return p
}

// aimed is a server with a log, and a connection that may do what is told.
type aimed struct {
	t      *testing.T
	store  *jetlog.Store
	admin  jetstream.JetStream
	stream string
	sender *nats.Conn
	may    streams.Permissions
	server *server.Server
}

func newAimed(t *testing.T, may streams.Permissions) *aimed {
	t.Helper()
	account, system := server.NewAccount("LOG"), server.NewAccount("SYS")
	rights := &server.Permissions{Publish: &server.SubjectPermission{Allow: subjectsOf(may.Publish), Deny: subjectsOf(may.Deny)}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.u.>"}}}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SystemAccount: "SYS", Accounts: []*server.Account{account, system},
		Users: []*server.User{{Username: "engine", Password: "x", Account: account}, {Username: "sender", Password: "x", Account: account, Permissions: rights}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	if account, err = s.LookupAccount("LOG"); err == nil {
		err = errors.Join(account.EnableJetStream(nil, nil), s.SystemAccount().AddServiceExportWithResponse(streams.AskServers, server.Streamed, nil),
			account.AddServiceImport(s.SystemAccount(), streams.AskServers, streams.AskServers))
	}
	if err != nil {
		t.Fatal(err)
	}
	engine, err := jetlog.Connect(s.ClientURL(), nats.UserInfo("engine", "x"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	a := &aimed{t: t, may: may, server: s}
	if a.store, err = jetlog.New(engine, jetlogtest.Site, jetlog.Options{}); err == nil {
		a.admin, err = jetstream.New(engine)
	}
	if err == nil {
		a.stream, err = streams.Stream(jetlogtest.Site, "patient")
	}
	if err == nil {
		a.sender, err = nats.Connect(s.ClientURL(), nats.UserInfo("sender", "x"), nats.CustomInboxPrefix("_INBOX.u"), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.sender.Close)
	return a
}

func subjectsOf(all []streams.Permission) (out []string) {
	for _, one := range all {
		out = append(out, one.Subject)
	}
	return out
}

// fill makes the log, if it is gone, and appends to it.
func (a *aimed) fill() {
	a.t.Helper()
	var l eventlog.Log
	until(a.t, "the log is made", func() (made bool) { // the server may still remove the files of the one before
		var err error
		l, err = a.store.Create(a.t.Context(), "patient")
		return err == nil
	})
	_, last, err := l.Bounds(a.t.Context())
	if err == nil {
		err = l.Append(last, []byte("a block")).Err()
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// republish wants streams that republish what the sender sends, without content, to the target: on each subject that it may publish to, under a new name, and under those that writers made
// streams by.
func (a *aimed) republish(target string) {
	a.t.Helper()
	if _, err := a.admin.CreateOrUpdateStream(a.t.Context(), jetstream.StreamConfig{Name: streams.FeedStream, Subjects: []string{"feed.>"}}); err != nil {
		a.t.Fatal(err)
	}
	for n, one := range subjectsOf(a.may.Publish) {
		from := strings.NewReplacer("*", "x", ">", "x").Replace(one)
		if strings.HasPrefix(from, "$") && !strings.HasPrefix(from, "$KV.") {
			continue
		}
		for _, call := range []string{fmt.Sprintf("CREATE.EVIL%d%d", n, len(target)), "CREATE." + streams.InboxStream, "UPDATE." + streams.FeedStream, "UPDATE." + a.stream} {
			_, name, _ := strings.Cut(call, ".")
			a.ask("$JS.API.STREAM."+call, fmt.Sprintf(`{"name":%q,"subjects":[%q],"storage":"file","retention":"limits","discard":"old","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"num_replicas":1,`+
				`"republish":{"src":%q,"dest":%q,"headers_only":true}}`, name, from, from, target))
		}
		if err := a.sender.Publish(from, []byte("x")); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := a.sender.Flush(); err != nil {
		a.t.Fatal(err)
	}
}

// ask sends a request, and waits for its answer if the sender may ask.
func (a *aimed) ask(subject, body string) {
	a.t.Helper()
	err := a.sender.PublishRequest(subject, a.sender.NewInbox(), []byte(body))
	if slices.ContainsFunc(subjectsOf(a.may.Publish), func(one string) bool {
		return one == subject || strings.HasSuffix(one, ".*") && strings.HasPrefix(subject, strings.TrimSuffix(one, "*"))
	}) {
		_, err = a.sender.Request(subject, []byte(body), 10*time.Second)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}

// aim makes every call that the connection may make, with every body, and wants the answers at the target.
func (a *aimed) aim(target string) {
	a.t.Helper()
	for n, deliver := range []string{"", target, a.sender.NewInbox(), target} { // consumers that are pulled, and that push; the last one without content
		if !slices.Contains(subjectsOf(a.may.Publish), "$JS.API.CONSUMER.CREATE.>") {
			break
		}
		config := fmt.Sprintf(`{"stream_name":%q,"config":{"name":"c%d","ack_policy":"none","deliver_policy":"new","idle_heartbeat":100000000,"deliver_subject":%q}}`, a.stream, n, deliver)
		if n == 3 {
			config = fmt.Sprintf(`{"stream_name":%q,"config":{"name":"c3","ack_policy":"none","deliver_policy":"all","headers_only":true,"deliver_subject":%q}}`, a.stream, deliver)
		}
		if deliver == "" {
			config = fmt.Sprintf(`{"stream_name":%q,"config":{"name":"c0","ack_policy":"none","deliver_policy":"new"}}`, a.stream)
		}
		if _, err := a.sender.Request("$JS.API.CONSUMER.CREATE."+a.stream+fmt.Sprintf(".c%d", n), []byte(config), 10*time.Second); err != nil {
			a.t.Fatal(err)
		}
	}
	for _, one := range a.may.Publish {
		for _, body := range aimedBodies {
			subject := strings.NewReplacer("NEXT.*.*", "NEXT."+a.stream+".c0", "DELETE.*.*", "DELETE."+a.stream+".none", "CREATE.>", "CREATE."+a.stream, ".*", "."+a.stream, ">", "x").Replace(one.Subject)
			if strings.HasPrefix(one.Subject, "evt.") {
				subject = strings.TrimSuffix(one.Subject, "*") + "patient"
			}
			if err := a.sender.PublishRequest(subject, target, []byte(body)); err != nil {
				a.t.Fatal(err)
			}
		}
	}
	if err := a.sender.Flush(); err != nil {
		a.t.Fatal(err)
	}
}

// removed tells whether the log is gone, or empty. What is to fall is waited for; else heartbeats of the consumers are.
func (a *aimed) removed(falls bool) bool {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), map[bool]time.Duration{true: 20 * time.Second, false: time.Second}[falls])
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		stream, err := a.admin.Stream(a.t.Context(), a.stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) || err == nil && stream.CachedInfo().State.Msgs == 0 {
			return true
		}
		if err != nil {
			a.t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}
