package writer_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// shown reads a token as the doors do when somebody has it ended.
func (s *site) shown(jwt string) *token.Claims {
	s.t.Helper()
	c, err := token.Shown(jwt, s.w)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// revoke ends a token and waits until every log is decided under it.
func (s *site) revoke(jwt string) {
	s.t.Helper()
	c := s.shown(jwt)
	_, p := s.w.RevokeToken(s.t.Context(), s.admin, c.ID, c)
	if p == nil {
		p = s.w.Confirm(s.t.Context(), "the revocation")
	}
	if p != nil {
		s.t.Fatal(p)
	}
}

func TestARevokedTokenIsRefused(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	jwt, other := s.token(10), s.token(10)
	s.must(crp(jwt, "first", "A", "1"))
	s.revoke(jwt)
	refused := func(when string) {
		t.Helper()
		for _, r := range []writer.Request{crp(jwt, "", "A", "2"), crp(jwt, "first", "A", "1")} {
			if o := s.do(r); o.problem == nil || o.problem.Code != problem.Unauthenticated {
				t.Errorf("%s: got %+v, %v, want it refused", when, o.answer, o.problem)
			}
		}
		s.must(crp(other, "", "B", "1"))
	}
	refused("at once")
	if got := s.w.Recorded(); len(got.Revoked) != 1 || got.Revoked[0].User != s.shown(jwt).User {
		t.Errorf("got %+v, want the token's user revoked in the account", got)
	}
	s.restart()
	refused("after a restart")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.stateDir("eventful")); err != nil {
		t.Fatal(err)
	}
	s.start()
	refused("with the state rebuilt")
}

func TestWhoMayRevoke(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	_, narrow := s.anotherKey("ward")
	jwt := s.token(10)
	c := s.shown(jwt)
	if err := s.w.RecordToken(t.Context(), s.admin, c, ""); err != nil {
		t.Fatal(err)
	}
	person, err := s.w.Authenticate(jwt)
	if err != nil {
		t.Fatal(err)
	}
	for who, by := range map[string]*token.Claims{"another auth key": narrow, "the token itself": person} {
		if _, p := s.w.RevokeToken(t.Context(), by, c.ID, nil); p == nil || p.Code != problem.Forbidden {
			t.Errorf("%s, a token: got %v, want forbidden", who, p)
		}
		if _, p := s.w.RevokeKey(t.Context(), by, c.Issuer); p == nil || p.Code != problem.Forbidden {
			t.Errorf("%s, an auth key: got %v, want forbidden", who, p)
		}
	}
	if _, p := s.w.RevokeToken(t.Context(), s.admin, "NOSUCH", nil); p == nil || p.Code != problem.NotFound {
		t.Errorf("got %v, want not_found", p)
	}
	for i, want := range []bool{false, true} {
		if got, p := s.w.RevokeToken(t.Context(), writer.Operator("operator"), c.ID, nil); p != nil || got.Repeated != want {
			t.Errorf("the operator, time %d: got %+v, %v", i+1, got, p)
		}
	}
	if got, p := s.w.RevokeKey(t.Context(), narrow, narrow.Issuer); p != nil || got.Repeated {
		t.Errorf("a key itself: got %+v, %v", got, p)
	}
	if _, p := s.w.RevokeKey(t.Context(), narrow, narrow.Issuer); p == nil || p.Code != problem.Unauthenticated {
		t.Errorf("a key that is revoked: got %v, want unauthenticated", p)
	}
}

// A token that was signed with another one's user, to cut that one's connections, is refused, and the other keeps them.
func TestAForgedUserCutsNobodysConnection(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	victim := s.shown(s.token(5))
	if p := s.w.RecordToken(t.Context(), s.admin, victim, ""); p != nil {
		t.Fatal(p)
	}
	forged := *victim
	forged.ID = "FORGED"
	if p := s.w.RecordToken(t.Context(), s.admin, &forged, ""); p == nil || p.Code != problem.Conflict {
		t.Errorf("recorded: got %v, want a conflict", p)
	}
	if _, p := s.w.RevokeToken(t.Context(), s.admin, forged.ID, &forged); p != nil {
		t.Fatal(p)
	}
	if got := s.w.Recorded().Revoked; len(got) != 0 || !s.w.Ended("FORGED") || s.w.Ended(victim.ID) {
		t.Errorf("got %+v revoked in the account, want nobody", got)
	}
}

// anotherKey makes an auth key for a type, and a token that it signed for itself.
func (s *site) anotherKey(aggregateType string) (seed []byte, admin *token.Claims) {
	s.t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		s.t.Fatal(err)
	}
	k := token.Key{ID: id, Name: "another", Aggregates: []string{aggregateType}, Actions: []token.Action{token.ActionWrite, token.ActionAdmin}}
	if p := s.w.AddKey(s.t.Context(), "operator", k); p != nil {
		s.t.Fatal(p)
	}
	jwt, _, err := token.MintAdmin(seed, s.account, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	if admin, err = s.w.Authenticate(jwt); err != nil {
		s.t.Fatal(err)
	}
	return seed, admin
}

// load is senders that go on until their token counts no more.
type load struct {
	c       *cluster
	running sync.WaitGroup
	sent    atomic.Int64
	mu      sync.Mutex
	stored  map[string]bool // command ids that were acknowledged
	logs    map[string]bool // logs in which some were
	refused map[problem.Code]int
}

// newLoad has senders write to two logs with a token, each command again until it has an answer that is one.
func (c *cluster) newLoad(jwt string, senders int) *load {
	l := &load{c: c, stored: make(map[string]bool), logs: make(map[string]bool), refused: make(map[problem.Code]int)}
	for i := range senders {
		l.running.Go(func() {
			for n := 0; !c.t.Failed(); n++ {
				log, r := "patient", crp(jwt, fmt.Sprintf("%s-%d-%d", jwt[len(jwt)-8:], i, n), fmt.Sprint("p", i), fmt.Sprint(n))
				if i%2 == 1 {
					log, r = "ward", change(jwt, r.Command.ID, opened(fmt.Sprint("w", i)))
				}
				if !l.send(log, r) {
					return
				}
			}
		})
	}
	return l
}

func (l *load) logsServed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.logs)
}

// send reports whether the token still counts.
func (l *load) send(log string, r writer.Request) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		l.sent.Add(1)
		out := make(chan outcome, 8)
		l.c.send(log, r, out)
		select {
		case o := <-out:
			switch {
			case o.problem == nil:
				l.mu.Lock()
				l.stored[r.Command.ID], l.logs[log] = true, true
				l.mu.Unlock()
				return true
			case o.problem.Code == problem.Unavailable || o.problem.Code == problem.UnknownOutcome:
			default:
				l.mu.Lock()
				l.refused[o.problem.Code]++
				l.mu.Unlock()
				return false
			}
		case <-time.After(testTTL):
		}
	}
	l.c.t.Errorf("command %s had no answer in time", r.Command.ID)
	return false
}

// of counts the commits of a token in a log, up to a sequence and in all, and the command ids of all.
func (c *cluster) of(log, tokenID string, upTo uint64) (until, all int, ids map[string]bool) {
	c.t.Helper()
	l, last := ended(c.t, c.store, log)
	reader, err := eventlog.Read(context.Background(), l, event.Chain{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer reader.Stop()
	ids = make(map[string]bool)
	for reader.Chain().Sequence < last {
		f, err := reader.Next(context.Background())
		if err != nil {
			c.t.Fatal(err)
		}
		for _, commit := range f.Commits {
			if f.Standing != event.Counts || commit.TokenID != tokenID || event.IsReserved(commit.Aggregate.Type) {
				continue
			}
			if all++; f.Sequence <= upTo {
				until++
			}
			ids[commit.CommandID] = true
		}
	}
	return until, all, ids
}

// A token is revoked in the middle of 16 senders to two logs on two writers, one of which is stopped and comes back: behind the answer no event of it is stored, and
// what was acknowledged is there.
func TestRevokedUnderLoad(t *testing.T) {
	t.Parallel()
	for _, test := range []string{"in peace", "while a writer is paused", "while a writer ends"} {
		t.Run(test, func(t *testing.T) {
			c := newCluster(t, eventlog.NewMemory(), "a", "b")
			c.boss.migrate(wardSchema)
			c.lead("a", "eventful")
			c.boss.w = c.members["a"].w
			c.lead("b", "patient")
			jwt := c.boss.token(1 << 30)
			claims := c.boss.shown(jwt)
			l := c.newLoad(jwt, 16)
			c.until("the load runs in both logs", func() bool { return l.sent.Load() > 400 && l.logsServed() == 2 })
			mend := func() {}
			switch test {
			case "while a writer is paused":
				mend = c.members["b"].cutOff()
				c.members["b"].clock.forward(time.Hour)
			case "while a writer ends":
				go c.members["b"].stop()
			}
			c.boss.revoke(jwt)
			_, patients := ended(t, c.store, "patient")
			_, wards := ended(t, c.store, "ward")
			mend()
			l.running.Wait()
			if l.refused[problem.Unauthenticated] != 16 {
				t.Errorf("got %v, want 16 senders refused as unauthenticated", l.refused)
			}
			known := make(map[string]bool)
			for log, last := range map[string]uint64{"patient": patients, "ward": wards} {
				until, all, ids := c.of(log, claims.ID, last)
				if until != all || all == 0 {
					t.Errorf("log %s: got %d events of the token when it was revoked and %d in all, want no more", log, until, all)
				}
				for id := range ids {
					known[id] = true
				}
			}
			for id := range l.stored {
				if !known[id] {
					t.Errorf("command %s was acknowledged and is not in the log", id)
				}
			}
		})
	}
}

// Tokens are refreshed under load, over and over: of all of them together exactly the budgets are stored, once the senders have used them up.
func TestRefreshedUnderLoad(t *testing.T) {
	t.Parallel()
	c := newCluster(t, eventlog.NewMemory(), "a", "b")
	c.boss.migrate(wardSchema)
	c.lead("a", "eventful")
	c.boss.w = c.members["a"].w
	c.lead("b", "patient")
	const first, more, rounds = 5000, 300, 4
	jwt := c.boss.token(first)
	var ids []string
	for round := range rounds {
		claims := c.boss.shown(jwt)
		ids = append(ids, claims.ID)
		l := c.newLoad(jwt, 16)
		c.until("the load runs", func() bool { return l.sent.Load() > 200 })
		if round == 1 {
			go c.members["b"].stop()
		}
		next, p := c.boss.w.RefreshToken(t.Context(), c.boss.admin, claims.ID, claims, writer.Refresh{Expiration: time.Minute, Limit: more})
		if p != nil {
			t.Fatal(p)
		}
		l.running.Wait()
		again, p := c.boss.w.RefreshToken(t.Context(), c.boss.admin, claims.ID, claims, writer.Refresh{Expiration: time.Minute, Limit: more})
		if p != nil || again.Left != next.Left || !again.Claims.Expires.Equal(next.Claims.Expires) {
			t.Fatalf("asked again: got %+v, %v, want %+v", again, p, next)
		}
		var err error
		if jwt, _, err = token.Mint(c.boss.keySeed, c.boss.account, next.Claims); err != nil {
			t.Fatal(err)
		}
		if p := c.boss.w.RecordToken(t.Context(), c.boss.admin, c.boss.shown(jwt), claims.ID); p != nil {
			t.Fatal(p)
		}
		if _, p := c.boss.w.RefreshToken(t.Context(), c.boss.admin, claims.ID, claims, writer.Refresh{}); p == nil || p.Code != problem.Conflict {
			t.Fatalf("refreshed twice: got %v, want a conflict", p)
		}
	}
	ids = append(ids, c.boss.shown(jwt).ID)
	l := c.newLoad(jwt, 16)
	l.running.Wait()
	if l.refused[problem.BudgetSpent] != 16 {
		t.Errorf("got %v, want 16 senders whose budget is spent", l.refused)
	}
	stored := 0
	for _, id := range ids {
		for _, log := range []string{"patient", "ward"} {
			_, all, _ := c.of(log, id, 0)
			stored += all
		}
	}
	if want := first + rounds*more; stored != want {
		t.Errorf("got %d events stored of all tokens together, want %d", stored, want)
	}
}

// What is listed of a token is what the logs hold of it.
func TestTokensAreListed(t *testing.T) {
	s := newSite(t, eventlog.NewMemory())
	s.migrate(wardSchema)
	var ids []string
	for i := range 5 {
		jwt := s.token(10)
		c := s.shown(jwt)
		if p := s.w.RecordToken(t.Context(), s.admin, c, ""); p != nil {
			t.Fatal(p)
		}
		ids = append(ids, c.ID)
		for n := range i {
			s.must(crp(jwt, "", fmt.Sprint(n), "1"))
			s.must(change(jwt, "", opened(fmt.Sprint(n))))
		}
		if i == 3 {
			s.revoke(jwt)
		}
	}
	check := func(when string) {
		t.Helper()
		var got []writer.TokenInfo
		for cursor, pages := "", 0; ; pages++ {
			page, p := s.w.Tokens(t.Context(), writer.TokenFilter{Take: 2, Cursor: cursor})
			if p != nil || len(page.Silent) > 0 || pages > 3 {
				t.Fatalf("%s: got %v, silent %v, page %d", when, p, page.Silent, pages)
			}
			got = append(got, page.Tokens...)
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		if len(got) != len(ids) {
			t.Fatalf("%s: got %d tokens, want %d", when, len(got), len(ids))
		}
		for i, one := range got {
			state, left := writer.TokenActive, uint64(10-2*i)
			if i == 3 {
				state, left = writer.TokenRevoked, 0
			}
			if one.ID != ids[i] || one.State != state || one.Used == nil || *one.Used != uint64(2*i) || *one.Left != left {
				t.Errorf("%s: token %d: got %+v, used %v, left %v", when, i, one, one.Used, one.Left)
			}
			if shown, p := s.w.Token(t.Context(), one.ID); p != nil || *shown.Used != *one.Used || shown.State != state {
				t.Errorf("%s: token %d: shown as %+v, %v", when, i, shown, p)
			}
		}
		active := true
		if page, p := s.w.Tokens(t.Context(), writer.TokenFilter{Take: 100, Active: &active}); p != nil || len(page.Tokens) != 4 || page.Cursor != "" {
			t.Errorf("%s: active: got %d, cursor %q, %v, want 4 and no cursor", when, len(page.Tokens), page.Cursor, p)
		}
	}
	check("at once")
	s.restart()
	check("after a restart")
}

// gated is a log whose appends wait while the gate is shut.
type gated struct {
	eventlog.Log
	gate  sync.RWMutex
	asked atomic.Int64 // appends so far
}

func (g *gated) Append(expected uint64, data []byte) eventlog.Pending {
	g.asked.Add(1)
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Log.Append(expected, data)
}

// Commands that were authorised, and wait to be decided while their token is ended or its auth key changed, are checked again.
func TestWhatWaitsIsCheckedAgain(t *testing.T) {
	memory := eventlog.NewMemory()
	log, err := memory.Create(t.Context(), "patient")
	if err != nil {
		t.Fatal(err)
	}
	g := &gated{Log: log}
	s := newSite(t, store{memory, map[string]eventlog.Log{"patient": g}})
	first, revoked, lasting := s.token(10), s.token(10), s.token(10)
	for _, jwt := range []string{revoked, lasting} {
		s.must(crp(jwt, "", "A", "0")) // has its units
	}
	wait := func(while func()) []<-chan outcome {
		g.gate.Lock()
		before := g.asked.Load()
		outs := []<-chan outcome{s.send(crp(first, "", "A", "1"))} // holds the writer up
		for deadline := time.Now().Add(patience); g.asked.Load() == before; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the writer appends nothing")
			}
		}
		for _, jwt := range []string{revoked, lasting} {
			outs = append(outs, s.send(crp(jwt, "", "A", "2")))
		}
		while()
		g.gate.Unlock()
		return outs
	}
	outs := wait(func() {
		c := s.shown(revoked)
		if _, p := s.w.RevokeToken(t.Context(), s.admin, c.ID, c); p != nil {
			t.Fatal(p)
		}
	})
	if o := s.wait(outs[1]); o.problem == nil || o.problem.Code != problem.Unauthenticated {
		t.Errorf("revoked: got %+v, %v, want unauthenticated", o.answer, o.problem)
	}
	if o := s.wait(outs[2]); o.problem != nil {
		t.Errorf("another token: got %v, want it stored", o.problem)
	}
	outs = wait(func() {
		k, _ := s.w.Key(s.admin.Issuer)
		k.MaxLimit = 5
		if p := s.w.UpdateKey(t.Context(), "operator", k, 1); p != nil {
			t.Fatal(p)
		}
	})
	if o := s.wait(outs[2]); o.problem == nil || o.problem.Code != problem.Forbidden {
		t.Errorf("beyond the new ceiling: got %+v, %v, want forbidden", o.answer, o.problem)
	}
}
