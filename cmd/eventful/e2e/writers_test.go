package e2e_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

// takeoverAtMost is what a takeover behind kill -9 may take; tests allow twice that, as the machine may be loaded, and say what it took.
const takeoverAtMost = 5 * time.Second

// writers is a site on one nats-server with several writer processes and a projector.
type writers struct {
	*cluster
	engines []*engine
	asks    *client.Client
	within  time.Duration // how long a command of the traffic may take; 0: patience
}

// newWriters starts n writers and puts a schema with these types into force, each in a log of its own.
func newWriters(t *testing.T, n int, types ...string) *writers {
	t.Helper()
	w := &writers{cluster: newCluster(t, 1)}
	for i := range n {
		w.engines = append(w.engines, w.engine("writer", fmt.Sprint("writer-", i)))
	}
	w.engine("projector", "projector")
	w.introduceTypes(types...)
	return w
}

// introduceTypes puts a schema with these types into force, each in a log of its own.
func (w *writers) introduceTypes(types ...string) {
	w.t.Helper()
	var schema strings.Builder
	for _, name := range types {
		fmt.Fprintf(&schema, "---\naggregate: %s\nevents:\n  note: {fields: [text, email]}\n", name)
	}
	path := filepath.Join(w.root, "schema.yaml")
	if err := os.WriteFile(path, []byte(strings.TrimPrefix(schema.String(), "---\n")), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.introduce(path)
}

// sharing is who writes which log, as far as tests need it.
type sharing struct {
	Members []memberStatus `json:"members"`
	Logs    []logStatus    `json:"logs"`
}

type memberStatus struct {
	ID    string `json:"id"`
	PID   int    `json:"pid"`
	Leads int    `json:"leads"`
}

type logStatus struct {
	Log      string `json:"log"`
	State    string `json:"state"`
	Member   string `json:"member"`
	Standbys []struct {
		Member string `json:"member"`
	} `json:"standbys"`
}

// followed reports whether as many members live, and every log is served by one and followed by all others.
func (s sharing) followed(members, logs int) bool {
	return len(s.Members) == members && len(s.Logs) == logs && !slices.ContainsFunc(s.Logs, func(l logStatus) bool {
		return l.State != "serving" || len(l.Standbys) != members-1
	})
}

func (w *writers) sharing() sharing {
	w.t.Helper()
	if w.asks == nil {
		w.asks = w.impatient()
	}
	var status struct {
		Writers sharing `json:"writers"`
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.asks.Status(ctx, &status); err != nil {
		w.t.Fatal(err)
	}
	return status.Writers
}

// leader is the process that serves a log.
func (w *writers) leader(log string) *engine {
	w.t.Helper()
	var found *engine
	until(w.t, "log "+log+" is served", func() bool {
		s := w.sharing()
		for _, l := range s.Logs {
			if l.Log == log && l.State == "serving" {
				found = w.process(s, l.Member)
			}
		}
		return found != nil
	})
	return found
}

// process is the engine with the member id; nil if it does not run.
func (w *writers) process(s sharing, member string) *engine {
	for _, m := range s.Members {
		for _, e := range w.engines {
			if m.ID == member && m.PID == e.cmd.Process.Pid && !e.gone() {
				return e
			}
		}
	}
	return nil
}

func (e *engine) gone() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// other is a writer that is not this one.
func (w *writers) other(than *engine) *engine {
	for _, e := range w.engines {
		if e != than {
			return e
		}
	}
	return nil
}

// impatient connects as user:ada, and repeats a request after 200 ms without an answer.
func (w *writers) impatient() *client.Client {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Connect(ctx, client.Options{URL: w.server, Token: client.Static(w.token), Patience: 200 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(c.Close)
	return c
}

// traffic is clients that write one command after the other, each to aggregates of its own, and each expecting exactly the version that the answers so far make:
// a command that was lost, stored twice or refused wrongly makes the next one fail.
type traffic struct {
	t      *testing.T
	within time.Duration // for one command
	stop   context.CancelFunc
	wait   sync.WaitGroup

	mu       sync.Mutex // guards below
	answered map[string][]time.Time
	versions map[event.AggregateID]event.Version
	failures []error
}

// traffic lets several clients write to each of the types until end.
func (w *writers) traffic(clients int, types ...string) *traffic {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	x := &traffic{t: w.t, within: cmp.Or(w.within, patience), stop: stop, answered: map[string][]time.Time{}, versions: map[event.AggregateID]event.Version{}}
	w.t.Cleanup(func() { stop(); x.wait.Wait() })
	for i := range clients {
		c := w.impatient()
		for _, name := range types {
			x.wait.Go(func() { x.write(ctx, c, event.AggregateID{Type: name, ID: fmt.Sprint("by-", i)}) })
		}
	}
	return x
}

func (x *traffic) write(ctx context.Context, c *client.Client, a event.AggregateID) {
	for version := event.Version(0); ctx.Err() == nil; version++ {
		within, cancel := context.WithTimeout(context.Background(), x.within) // not ctx: the last command is waited for
		answer, err := c.Command(within, client.Command{Aggregate: a, Event: "note", Fields: client.Fields{"text": fmt.Sprint(version)}, Expected: client.Exactly(version)})
		cancel()
		x.mu.Lock()
		switch {
		case err != nil:
			x.failures = append(x.failures, fmt.Errorf("version %d of %s: %w", version+1, a.Type+"/"+a.ID, err))
		case answer.Commits[0].Version != version+1:
			x.failures = append(x.failures, fmt.Errorf("version %d of %s was stored as %d", version+1, a.Type+"/"+a.ID, answer.Commits[0].Version))
		default:
			x.answered[a.Type] = append(x.answered[a.Type], time.Now())
			x.versions[a] = version + 1
		}
		failed := len(x.failures) > 0
		x.mu.Unlock()
		if failed {
			return
		}
	}
}

// count is how many commands to a type were answered.
func (x *traffic) count(name string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.answered[name])
}

// flows waits until a number of further commands were answered for each type.
func (x *traffic) flows(more int, types ...string) {
	x.t.Helper()
	for _, name := range types {
		from := x.count(name)
		untilWithin(x.t, x.within, fmt.Sprintf("%d more commands to %s are answered", more, name), func() bool {
			x.mu.Lock()
			defer x.mu.Unlock()
			for _, err := range x.failures {
				x.t.Fatal(err)
			}
			return len(x.answered[name]) >= from+more
		})
	}
}

// longest is the longest time between two answers for a type, of those behind a moment.
func (x *traffic) longest(name string, since time.Time) (gap time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := slices.Clone(x.answered[name])
	slices.SortFunc(at, time.Time.Compare)
	for i := 1; i < len(at); i++ {
		if at[i].After(since) {
			gap = max(gap, at[i].Sub(at[i-1]))
		}
	}
	return gap
}

// end ends the clients; none of their commands may have failed, and the log holds what was answered.
func (x *traffic) end(c *client.Client) {
	x.t.Helper()
	x.stop()
	x.wait.Wait()
	for _, err := range x.failures {
		x.t.Error(err)
	}
	for a, version := range x.versions {
		state, err := c.Get(context.Background(), a, client.Latest())
		if err != nil || state.Version != version || state.Fields["text"] != fmt.Sprint(version-1) {
			x.t.Errorf("%s/%s: got %+v, %v, want version %d", a.Type, a.ID, state, err, version)
		}
	}
}

func names(n int) (types []string) {
	for i := range n {
		types = append(types, fmt.Sprintf("t%02d", i))
	}
	return types
}

// TestTwoWritersShareTwentyLogs: about evenly; one is killed under load, and the other has everything within seconds; it comes back as a standby, and gets everything
// at once when the other ends in order. No command fails.
func TestTwoWritersShareTwentyLogs(t *testing.T) {
	t.Parallel()
	types := names(19) // and the system log
	w := newWriters(t, 2, types...)
	evenly := func() bool {
		s := w.sharing()
		return s.followed(2, 20) && min(s.Members[0].Leads, s.Members[1].Leads) >= 8
	}
	until(t, "two writers share twenty logs", evenly)
	x := w.traffic(2, types...)
	x.flows(3, types...)
	killed := w.leader("t00")
	var theirs []string
	s := w.sharing()
	for _, l := range s.Logs {
		if w.process(s, l.Member) == killed && l.Log != event.Reserved {
			theirs = append(theirs, l.Log)
		}
	}
	at := time.Now()
	killed.kill()
	until(t, "the other serves all", func() bool {
		s := w.sharing()
		return len(s.Logs) == 20 && !slices.ContainsFunc(s.Logs, func(l logStatus) bool { return l.State != "serving" || w.process(s, l.Member) == nil })
	})
	served := time.Since(at)
	x.flows(3, types...)
	longest := time.Duration(0)
	for _, name := range theirs {
		longest = max(longest, x.longest(name, at))
	}
	t.Logf("kill -9: %d logs taken over within %v; the longest time between two answers was %v", len(theirs), served.Round(time.Millisecond), longest.Round(time.Millisecond))
	if served > 2*takeoverAtMost {
		t.Errorf("takeover took %v, want under %v", served, takeoverAtMost)
	}
	killed.start()
	until(t, "it is a standby of every log", func() bool { return w.sharing().followed(2, 20) })
	at = time.Now()
	w.other(killed).stop()
	x.flows(3, types...)
	longest = 0
	for _, name := range types {
		longest = max(longest, x.longest(name, at))
	}
	t.Logf("stopped in order: every log handed over, the longest time between two answers was %v", longest.Round(time.Millisecond))
	if longest > 3*time.Second {
		t.Errorf("the longest time between two answers was %v while a writer ended in order: that is a takeover, not a hand-over", longest)
	}
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		w.other(killed).start()
		until(t, "they share again", evenly)
		x.flows(3, types...)
	}
	x.end(w.client())
	w.verify()
}

// counter is a bare connection, which sees every answer that anybody gives.
type counter struct {
	*socket
	token, name string
	versions    int
	answers     map[string]int
}

func (w *writers) counter(name string) *counter {
	w.t.Helper()
	return &counter{socket: dialSocket(w.t, w.server, w.token), token: w.token, name: name, answers: map[string]int{}}
}

// send writes n events to one aggregate, each behind the one before: to a writer that is out of date every one looks like a conflict.
func (k *counter) send(n int) {
	k.t.Helper()
	for range n {
		headers := []header{{"Eventful-Token", k.token}, {"Eventful-Expected-Version", fmt.Sprint(k.versions)}}
		reply := k.request("cmd."+k.name+".counted.note", headers, `{"text":"x"}`)
		k.versions++
		for k.answers[reply] == 0 {
			f := k.next()
			k.answers[f.subject]++
			if code := f.header.Get("Nats-Service-Error-Code"); code != "" {
				k.t.Fatalf("version %d was refused: %s", k.versions, f.body)
			}
		}
	}
}

// end reads what else has come: every request has one answer.
func (k *counter) end() {
	k.t.Helper()
	k.write("PING\r\n")
	for f := k.next(); f.op != "PONG"; f = k.next() {
		k.answers[f.subject]++
	}
	for reply, n := range k.answers {
		if n != 1 {
			k.t.Errorf("%d answers to %s, want 1", n, reply)
		}
	}
}

// TestOneLogTwoWriters: a log goes to and fro between two writers while clients write, and no command fails. Then one is stopped, and wakes.
func TestOneLogTwoWriters(t *testing.T) {
	t.Parallel()
	w := newWriters(t, 2, "patient")
	until(t, "both follow", func() bool { return w.sharing().followed(2, 2) })
	x := w.traffic(16, "patient")
	x.flows(200, "patient")
	w.handOvers(x)
	w.wakes(x)
	x.end(w.client())
	w.verify()
}

func (w *writers) handOvers(x *traffic) {
	w.t.Helper()
	rounds := 4
	if os.Getenv("EVENTFUL_TORTURE") != "" {
		rounds = 100
	}
	var gaps []time.Duration
	for range rounds {
		from, at := w.leader("patient"), time.Now()
		w.must("writer:resign", "patient", "--account="+w.account)
		x.flows(200, "patient")
		if w.leader("patient") == from {
			w.t.Error("the log stayed where it was")
		}
		gaps = append(gaps, x.longest("patient", at).Round(time.Millisecond))
	}
	slices.Sort(gaps)
	w.t.Logf("%d hand-overs among %d commands: the longest time between two answers was %v in the middle, %v at most", rounds, x.count("patient"), gaps[len(gaps)/2], gaps[len(gaps)-1])
	if gaps[0] > time.Second {
		w.t.Errorf("the shortest hand-over took %v, want under 300 ms on a machine that is not loaded", gaps[0])
	}
}

// wakes: a writer is stopped past its lease, and the other takes over. When it goes on it writes nothing and answers nothing that is out of date: every
// request gets one answer, and that is right. Then it is a standby, and takes over itself when the other is killed.
func (w *writers) wakes(x *traffic) {
	w.t.Helper()
	first := w.leader("patient")
	second := w.other(first)
	at := time.Now()
	first.pause()
	resume := sync.OnceFunc(first.resume)
	w.t.Cleanup(resume)
	x.flows(20, "patient")
	w.t.Logf("stopped: the longest time between two answers was %v", x.longest("patient", at).Round(time.Millisecond))
	if got := w.leader("patient"); got != second {
		w.t.Error("the stopped writer still serves")
	}
	k := w.counter("patient")
	k.send(400) // these wait for the stopped one too
	resume()
	k.send(200)
	until(w.t, "the woken one is a standby", func() bool { return w.sharing().followed(2, 2) })
	k.end()
	second.kill()
	x.flows(20, "patient")
	if got := w.leader("patient"); got != first {
		w.t.Error("the woken writer did not take over")
	}
}

// spendsExactly: of 1,000 commands at once to three logs on two writers, under a token of 100 units, exactly 100 are stored, although a writer is killed
// in the middle.
func (w *writers) spendsExactly(types []string) {
	t := w.t
	t.Helper()
	const limit, commands = 100, 1000
	jwt := w.mint(token.Claims{IdentifierType: "user", IdentifierID: "spender", Limit: limit})
	var clients []*client.Client
	for range 8 {
		clients = append(clients, w.impatient())
	}
	victim := w.leader(types[0])
	var stored, spent atomic.Int64
	var wait sync.WaitGroup
	for i := range commands {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, err := clients[i%len(clients)].Command(ctx, client.Command{
				Aggregate: event.AggregateID{Type: types[i%len(types)], ID: fmt.Sprint("of-", i)}, Event: "note", Context: client.Context{Token: jwt},
			})
			var p *problem.Problem
			switch {
			case err == nil:
				stored.Add(1)
			case errors.As(err, &p) && p.Code == problem.BudgetSpent:
				spent.Add(1)
			default:
				t.Errorf("command %d: %v", i, err)
			}
		})
	}
	until(t, "some are stored", func() bool { return stored.Load() >= 20 })
	victim.kill()
	wait.Wait()
	t.Logf("%d acknowledged, %d refused", stored.Load(), spent.Load())
	if stored.Load() != limit || spent.Load() != commands-limit {
		t.Errorf("got %d acknowledged and %d refused, want %d and %d", stored.Load(), spent.Load(), limit, commands-limit)
	}
	found := 0
	c := w.client()
	for _, name := range types {
		if _, err := c.Get(context.Background(), event.AggregateID{Type: name, ID: "none"}, client.Latest()); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("read the end of %s: %v", name, err)
		}
		for summary, err := range c.List(context.Background(), name) {
			if err != nil {
				t.Fatal(err)
			}
			found += int(summary.Version)
		}
	}
	if found != limit {
		t.Errorf("the logs hold %d events of the token, want exactly %d", found, limit)
	}
}

// TestSeveralLogsTwoWriters: what concerns several logs holds although they lie with two processes: schemas, locks, unique fields, and the budget of a token.
func TestSeveralLogsTwoWriters(t *testing.T) {
	t.Parallel()
	types := names(9)
	w := newWriters(t, 2, types...)
	w.actsReachEveryWriter(types[:6])
	w.resignsLate(types[0])
	w.spendsExactly(types[6:]) // it kills one of them
	w.verify()
}

// resignsLate: who does not wait for a hand-over is told what may have become of it.
func (w *writers) resignsLate(log string) {
	w.t.Helper()
	until(w.t, "the other writer follows each log", func() bool { return w.sharing().followed(2, 10) })
	o := w.run("writer:resign", log, "--timeout=1ms", "--account="+w.account)
	if o.status != 6 || !strings.Contains(o.stderr, "no answer in time: log "+log) || !strings.Contains(o.stderr, "hint: `eventful writer:list`") {
		w.t.Errorf("got exit status %d, want 6 and what may have happened\n%s", o.status, o.stderr)
	}
}

// actsReachEveryWriter: a migration is done when every writer decides under it. A lock holds for every command that is sent behind it, and no two aggregates
// hold one value of a field that was made unique, although clients write all the time.
func (w *writers) actsReachEveryWriter(types []string) {
	t := w.t
	t.Helper()
	elsewhere := "--account=" + w.account
	var remote []string // logs that the other process than the system log's writes
	until(t, "both writers have logs", func() bool {
		boss, s := w.leader(event.Reserved), w.sharing()
		remote = nil
		for _, l := range s.Logs {
			if slices.Contains(types, l.Log) && w.process(s, l.Member) != boss {
				remote = append(remote, l.Log)
			}
		}
		return s.followed(2, 10) && s.Members[0].Leads > 1 && s.Members[1].Leads > 1 && len(remote) > 0
	})
	locked := remote[0]
	late := w.knock(locked)
	w.must("schema:alter", locked, "--lock", elsewhere)
	w.must("schema:migrate", locked, "-f", elsewhere)
	if before, behind := late(time.Now()); before == 0 || behind > 0 {
		t.Errorf("%d commands that were sent before the lock and %d that were sent behind it were stored, want some and none", before, behind)
	}
	made, refused := 0, 0
	for i, name := range types {
		if name == locked {
			continue
		}
		w.must("schema:alter", name, "--field=email", "--unique", elsewhere)
		register := w.register(name, 3<<i)
		unique := w.run("schema:migrate", name, "-f", elsewhere).status == 0
		holders := register()
		if unique {
			made++
			if slices.Max(holders) > 1 {
				t.Errorf("%s: the field is unique, and an address has %d holders", name, slices.Max(holders))
			}
		} else if refused++; slices.Max(holders) < 2 {
			t.Errorf("%s: the field was not made unique, and no address has two holders", name)
		}
	}
	t.Logf("fields made unique while addresses were registered: %d, refused for duplicates: %d", made, refused)
}

// knock writes to a type from several clients until the function it gives is called, which says how many commands were stored that were sent before and behind a moment.
func (w *writers) knock(name string) (end func(time.Time) (before, behind int)) {
	w.t.Helper()
	stop := make(chan struct{})
	var wait sync.WaitGroup
	var mu sync.Mutex
	var stored []time.Time
	for i := range 4 {
		c := w.impatient()
		wait.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				sent := time.Now()
				_, err := c.Command(context.Background(), client.Command{Aggregate: event.AggregateID{Type: name, ID: fmt.Sprint(i, "-", n)}, Event: "note"})
				var p *problem.Problem
				if err == nil {
					mu.Lock()
					stored = append(stored, sent)
					mu.Unlock()
				} else if !errors.As(err, &p) || p.Code != problem.Locked {
					w.t.Errorf("write to %s: %v", name, err)
					return
				}
			}
		})
	}
	until(w.t, "commands are stored", func() bool { mu.Lock(); defer mu.Unlock(); return len(stored) > 20 })
	return func(at time.Time) (before, behind int) {
		beyond := at.Add(300 * time.Millisecond)
		until(w.t, "some more are sent", func() bool { return time.Now().After(beyond) })
		close(stop)
		wait.Wait()
		for _, sent := range stored {
			if sent.After(at) {
				behind++
			} else {
				before++
			}
		}
		return before, behind
	}
}

// register has two clients register addresses, the one some addresses behind the other. The function it gives waits for both and says how many holders each address has.
func (w *writers) register(name string, behind int) (holders func() []int) {
	w.t.Helper()
	const addresses = 150
	var wait sync.WaitGroup
	got := make([]atomic.Int64, addresses)
	for i := range 2 {
		c := w.impatient()
		wait.Go(func() {
			for n := range addresses {
				address := (n + i*(addresses-behind)) % addresses
				_, err := c.Command(context.Background(), client.Command{
					Aggregate: event.AggregateID{Type: name, ID: fmt.Sprint(i, "-", address)}, Event: "note", Fields: client.Fields{"email": fmt.Sprint(address, "@example.org")},
				})
				var p *problem.Problem
				if err == nil {
					got[address].Add(1)
				} else if !errors.As(err, &p) || p.Code != problem.Conflict {
					w.t.Errorf("register in %s: %v", name, err)
				}
			}
		})
	}
	return func() (counts []int) {
		wait.Wait()
		for i := range got {
			counts = append(counts, int(got[i].Load()))
		}
		return counts
	}
}
