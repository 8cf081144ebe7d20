package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// connected is a connection of a stock client with a token.
type connected struct {
	*nats.Conn
	cut  chan struct{} // closed when the server closed it
	back atomic.Bool   // it came in again
}

func connect(t *testing.T, url, text string) (*connected, error) {
	t.Helper()
	c := &connected{cut: make(chan struct{})}
	var once atomic.Bool
	nc, err := nats.Connect(url, nats.UserJWT(func() (string, error) { return text, nil }, func([]byte) ([]byte, error) { return nil, nil }),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), nats.ReconnectHandler(func(*nats.Conn) { c.back.Store(true) }), nats.MaxReconnects(3), nats.ReconnectWait(1),
		nats.DisconnectErrHandler(func(*nats.Conn, error) {
			if once.CompareAndSwap(false, true) {
				close(c.cut)
			}
		}))
	if err != nil {
		return nil, err
	}
	t.Cleanup(nc.Close)
	c.Conn = nc
	return c, nil
}

// isCut waits until the server has closed the connection, and holds that the token does not come in again.
func (c *connected) isCut(t *testing.T, url, text string) {
	t.Helper()
	until(t, "the connection is closed for good", c.IsClosed)
	if c.back.Load() {
		t.Error("the connection came back")
	}
	if again, err := connect(t, url, text); err == nil {
		again.Close()
		t.Error("got a new connection with the revoked token")
	}
}

// revoke runs token:revoke until it says that it is done.
func (s *site) revoke(args ...string) {
	s.t.Helper()
	until(s.t, "token:revoke comes back", func() bool {
		o := s.run(append([]string{"token:revoke"}, args...)...)
		if o.status != 0 && o.status != 6 {
			s.t.Fatalf("got exit status %d\n%s", o.status, o.stderr)
		}
		return o.status == 0
	})
}

// A token is revoked while 16 clients write with it through two writers, one of which is killed: behind the answer nothing of it is stored, what was acknowledged is
// there, and its connections are cut.
func TestRevokedWhileWritersAreKilled(t *testing.T) {
	t.Parallel()
	w := newWriters(t, 2, "patient", "ward")
	until(t, "both writers follow", func() bool { return w.sharing().followed(2, 3) })
	leaked := w.mint(token.Claims{IdentifierType: "user", IdentifierID: "eve", Limit: 1 << 30})
	stock, err := connect(t, w.server, leaked)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	var acked [16]atomic.Uint64
	ended := make(chan error, len(acked))
	for i := range acked {
		go func() {
			c, err := client.Connect(ctx, client.Options{URL: w.server, Token: client.Static(leaked)})
			for n := event.Version(0); err == nil; n++ {
				_, err = c.Command(ctx, client.Command{Aggregate: target(i), Event: "note", Fields: client.Fields{"text": "x"}, Expected: client.Exactly(n)})
				if err == nil {
					acked[i].Add(1)
				}
			}
			if c != nil {
				c.Close()
			}
			ended <- err
		}()
	}
	until(t, "the clients write", func() bool { return acked[0].Load() > 20 && acked[1].Load() > 20 })
	killed := w.leader("patient")
	killed.kill()
	w.revoke("--account="+w.account, "--timeout=25s", "--token="+leaked)
	before := w.versions(len(acked))
	stock.isCut(t, w.server, leaked)
	killed.start()
	for range acked {
		if err := <-ended; ctx.Err() != nil || err == nil {
			t.Errorf("a client ended with %v, want it refused", err)
		}
	}
	for i, v := range w.versions(len(acked)) {
		if v != before[i] {
			t.Errorf("%v: got version %d when the token was revoked and %d later", target(i), before[i], v)
		}
		if n := acked[i].Load(); v != n && v != n+1 {
			t.Errorf("%v: got version %d, %d were acknowledged", target(i), v, n)
		}
	}
	until(t, "both writers follow again", func() bool { return w.sharing().followed(2, 3) })
	if _, err := w.impatient().Command(ctx, client.Command{Aggregate: target(0), Event: "note", Fields: client.Fields{"text": "x"}, Context: client.Context{Token: leaked}}); problem.From(err).Code != problem.Unauthenticated {
		t.Errorf("over another connection: got %v, want unauthenticated", err)
	}
	w.verify()
}

// target is the aggregate that a client writes.
func target(i int) event.AggregateID {
	return event.AggregateID{Type: []string{"patient", "ward"}[i%2], ID: fmt.Sprint("of-", i)}
}

// versions are those of the targets.
func (w *writers) versions(n int) (all []uint64) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range n {
		state, err := w.impatient().Get(ctx, target(i), client.Latest())
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, uint64(state.Version))
	}
	return all
}

// An auth key is revoked: connections of its tokens are cut, those of others go on; so it stays behind a kill and with the servers' account files gone.
func TestRevokedKeyOverNATS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var second struct {
		AuthKey string `json:"auth-key"`
		ID      string `json:"id"`
	}
	s.ask(&second, "token:generate", "--auth-key", "--name=second", "EVENTFUL_MASTER_KEY="+masterKey)
	url := s.info().NATS
	text := mintWith(t, second.AuthKey, s.account, token.Claims{Limit: 10})
	gone, err := connect(t, url, text)
	if err != nil {
		t.Fatal(err)
	}
	stays, err := connect(t, url, s.token)
	if err != nil {
		t.Fatal(err)
	}
	s.revoke("--auth-key=" + second.ID)
	gone.isCut(t, url, text)
	select {
	case <-stays.cut:
		t.Error("the connection of another auth key's token was cut")
	default:
	}
	was := s.kill()
	stays.Close()
	remove(t, s.dir+"/accounts")
	s.again(was)
	if _, err := connect(t, s.info().NATS, text); err == nil || !strings.Contains(err.Error(), "Authorization") {
		t.Errorf("behind a restart without account files: got %v, want no connection", err)
	}
	if _, err := connect(t, s.info().NATS, s.token); err != nil {
		t.Errorf("another token: got %v", err)
	}
}

// A token is refreshed while clients write with it through two writers, one of which is killed: of the old token and the new one together exactly the two budgets are stored,
// whatever was unknown, and every acknowledged event is among them.
func TestRefreshedWhileWritersAreKilled(t *testing.T) {
	t.Parallel()
	const limit, more, clients = 1500, 100, 8
	w := newWriters(t, 2, "patient", "ward")
	until(t, "both writers follow", func() bool { return w.sharing().followed(2, 3) })
	text := w.mint(token.Claims{IdentifierType: "user", IdentifierID: "eve", Limit: limit})
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	var acked atomic.Int64
	var codes [2]map[problem.Code]int
	write := func(round int, text string) {
		codes[round] = make(map[problem.Code]int)
		ended := make(chan problem.Code, clients)
		for i := range clients {
			go func() {
				c, err := client.Connect(ctx, client.Options{URL: w.server, Token: client.Static(text), Patience: 200 * time.Millisecond})
				for err == nil {
					if _, err = c.Command(ctx, client.Command{Aggregate: target(i), Event: "note", Fields: client.Fields{"text": "x"}}); err == nil {
						acked.Add(1)
					}
				}
				if c != nil {
					c.Close()
				}
				ended <- problem.From(err).Code
			}()
		}
		for range clients {
			codes[round][<-ended]++
		}
	}
	first := make(chan struct{})
	go func() { write(0, text); close(first) }()
	until(t, "the clients write", func() bool { return acked.Load() > 200 })
	killed := w.leader("patient")
	killed.kill()
	var next struct {
		Token string `json:"token"`
		Limit int    `json:"limit"`
		Left  int    `json:"left"`
	}
	until(t, "token:refresh comes back", func() bool {
		o := w.run("token:refresh", text, "--expiration=60", fmt.Sprint("--limit=", more), "--account="+w.account, "--timeout=25s", "-o", "json")
		if o.status != 0 && o.status != 6 {
			t.Fatalf("got exit status %d\n%s", o.status, o.stderr)
		}
		return o.status == 0 && json.Unmarshal([]byte(o.stdout), &next) == nil
	})
	<-first
	if next.Left == 0 || next.Limit != next.Left+more {
		t.Errorf("got %+v, want a rest and %d more", next, more)
	}
	killed.start()
	write(1, next.Token)
	if codes[1][problem.BudgetSpent] != clients || codes[0][problem.BudgetSpent] > 0 {
		t.Errorf("got %v with the old token and %v with the new one, want the new one spent", codes[0], codes[1])
	}
	total := uint64(0)
	for _, v := range w.versions(clients) {
		total += v
	}
	if total != limit+more || uint64(acked.Load()) > total {
		t.Errorf("got %d events stored and %d acknowledged, want exactly %d stored", total, acked.Load(), limit+more)
	}
	w.verify()
}

// Auth keys are added while tokens are revoked and others refreshed, all at the same time: the account holds all of it.
func TestAuthorityChangesAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const each = 4
	var revoked, refreshed, keys, successors [each]string
	var running sync.WaitGroup
	beside := func(made *string, name string, args ...string) {
		running.Go(func() {
			o, answer := s.run(append(args, "-o", "json")...), map[string]any{}
			if err := json.Unmarshal([]byte(o.stdout), &answer); o.status != 0 || err != nil {
				t.Errorf("%.30q: got exit status %d, %v\n%s", args, o.status, err, o.stderr)
			}
			*made, _ = answer[name].(string)
		})
	}
	for i := range each {
		revoked[i], refreshed[i] = s.mint(token.Claims{Limit: 1}), s.mint(token.Claims{Limit: 1})
		beside(&keys[i], "auth-key", "token:generate", "--auth-key", "EVENTFUL_MASTER_KEY="+masterKey)
		beside(new(string), "id", "token:revoke", "--token="+revoked[i])
		beside(&successors[i], "token", "token:refresh", refreshed[i], "--limit=1")
	}
	if running.Wait(); t.Failed() {
		return
	}
	url := s.info().NATS
	for i := range each {
		for what, one := range map[string]struct {
			text    string
			accepts bool
		}{
			"revoked": {revoked[i], false}, "refreshed": {refreshed[i], false}, "its successor": {successors[i], true},
			"of a new auth key": {mintWith(t, keys[i], s.account, token.Claims{Limit: 1}), true},
		} {
			if c, err := connect(t, url, one.text); (err == nil) != one.accepts {
				t.Errorf("%d, %s: got %v, want it accepted %v", i, what, err, one.accepts)
			} else if c != nil {
				c.Close()
			}
		}
	}
}

// The writer of the system log is killed behind the record of a revocation, before the account is changed: whoever writes the log next does that.
func TestARevocationThatDiedHalfWay(t *testing.T) {
	t.Parallel()
	w := newWriters(t, 2, "patient")
	until(t, "both writers follow", func() bool { return w.sharing().followed(2, 2) })
	var system, other *engine
	until(t, "two writers share the logs", func() bool {
		if system, other = w.leader("eventful"), w.leader("patient"); system == other {
			w.run("writer:resign", "patient", "--account="+w.account)
		}
		return system != other
	})
	text := w.mint(token.Claims{Limit: 1})
	stock, err := connect(t, w.server, text)
	if err != nil {
		t.Fatal(err)
	}
	k := dialSocket(t, w.server, w.token)
	other.pause() // so that the barrier waits
	asks := w.background("token:revoke", "--token="+text, "--account="+w.account)
	until(t, "it is recorded", func() bool {
		k.request("adm.schema.list", []header{{"Eventful-Token", text}}, "")
		return problem.Decode(k.next().body).Code == problem.Unauthenticated
	})
	if stock.IsClosed() {
		t.Fatal("the connection was cut before the barrier")
	}
	asks.kill() // nobody asks again
	system.kill()
	other.resume()
	stock.isCut(t, w.server, text)
	w.verify()
}
