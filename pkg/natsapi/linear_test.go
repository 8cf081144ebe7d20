package natsapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/internal/linear"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/jetlog/jetlogtest"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/projector"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// hospital is a whole site on a real server: writer, projector and doors. The writer reaches its logs through one proxy, senders the doors through another.
type hospital struct {
	t      *testing.T
	server *jetlogtest.Server
	logs   *jetlogtest.Proxy
	doors  *jetlogtest.Proxy
	direct eventlog.Store
	w      *writer.Writer
	token  string
}

func newHospital(t *testing.T) *hospital {
	t.Helper()
	h := &hospital{t: t, server: jetlogtest.StartServer(t, jetlogtest.Options{})}
	h.logs, h.doors = h.server.Proxy(), h.server.Proxy()
	nc, err := jetlog.Connect(h.logs.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	options := jetlog.Options{AckTimeout: 300 * time.Millisecond, RequestTimeout: 200 * time.Millisecond}
	store, err := jetlog.New(nc, site, options)
	if err != nil {
		t.Fatal(err)
	}
	if h.direct, err = jetlog.New(h.server.Conn(), site, options); err != nil {
		t.Fatal(err)
	}
	if h.w, err = writer.New(writer.Config{Site: site, Store: store, Dir: t.TempDir(), Key: key, Log: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	during(t, h.w.Run)
	<-h.w.Ready()
	h.admit()
	p, err := projector.New(projector.Config{Store: h.direct, Dir: t.TempDir(), Key: key, Site: site})
	if err != nil {
		t.Fatal(err)
	}
	during(t, p.Run)
	<-p.Ready()
	api, err := natsapi.New(natsapi.Config{App: h.server.Conn(), Site: site, Version: "1.0.0", Writer: h.w, Projector: p, Store: h.direct})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	during(t, func(ctx context.Context) error { return api.Run(ctx, func() { close(ready) }) })
	<-ready
	return h
}

// admit makes an auth key, the type patient, and a token that may write and read it.
func (h *hospital) admit() {
	h.t.Helper()
	id, seed, err := token.NewAuthKey()
	if err != nil {
		h.t.Fatal(err)
	}
	account, _, err := token.NewAuthKey() // any public account key
	if err != nil {
		h.t.Fatal(err)
	}
	all := []token.Action{token.ActionWrite, token.ActionRead, token.ActionAdmin}
	if p := h.w.AddKey(h.t.Context(), "operator", token.Key{ID: id, Name: "test", Aggregates: []string{token.All}, Actions: all}); p != nil {
		h.t.Fatal(p)
	}
	jwt, _, err := token.MintAdmin(seed, account, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	admin, err := h.w.Authenticate(jwt)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, p := h.w.DraftSchema(h.t.Context(), admin, []byte(`{"aggregate":"patient","fields":{"crp":{"type":"decimal"}},"events":{"crp":{"fields":["crp"]}}}`)); p != nil {
		h.t.Fatal(p)
	}
	if _, p := h.w.Migrate(h.t.Context(), admin, ""); p != nil {
		h.t.Fatal(p)
	}
	h.token, _, err = token.Mint(seed, account, token.Claims{IdentifierType: "user", IdentifierID: "ada", Aggregates: []string{"patient"},
		Actions: []token.Action{token.ActionWrite, token.ActionRead}, Limit: 1 << 40, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		h.t.Fatal(err)
	}
}

// contended are the aggregates that all senders of a round write.
func contended(round int) (ids []string) {
	for _, id := range []string{"A", "B", "C"} {
		ids = append(ids, fmt.Sprint(id, round))
	}
	return ids
}

// sender sends one request after the other over a connection of its own, and notes what it is told.
type sender struct {
	hospital *hospital
	history  *linear.History
	client   int
	first    int // number of its first command, less one
	ids      []string
	nc       *nats.Conn
	random   *rand.Rand
	known    map[string]uint64 // the newest version it knows of each aggregate
	n        int
}

func (h *hospital) sender(history *linear.History, client, round int, seed uint64) *sender {
	h.t.Helper()
	nc, err := nats.Connect(h.doors.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0), nats.ReconnectBufSize(-1))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(nc.Close)
	return &sender{hospital: h, history: history, client: client, first: (round*100 + client) * 1_000_000, ids: contended(round), nc: nc, random: rand.New(rand.NewPCG(seed, uint64(client))), known: map[string]uint64{}}
}

// step reads, or sends a command until it is decided, sometimes once more.
func (s *sender) step() {
	id := s.ids[s.random.IntN(len(s.ids))]
	if s.random.IntN(4) == 0 {
		s.read(id)
		return
	}
	s.n++
	number := s.first + s.n
	expected := int64(linear.Any)
	if s.random.IntN(3) == 0 {
		expected = int64(s.known[id])
	}
	decided := 1 + s.random.IntN(5)/4
	for deadline := time.Now().Add(time.Minute); decided > 0 && time.Now().Before(deadline); {
		switch o := s.command(id, number, expected); o.Kind {
		case linear.Lost, linear.Refused:
			s.recover()
		default:
			s.known[id] = o.Version
			decided--
		}
	}
	if decided > 0 {
		s.hospital.t.Errorf("command %s was never decided", commandID(number))
	}
}

func commandID(number int) string { return "c" + strconv.Itoa(number) }

// recover lets the connection and the log come back; what is asked for meanwhile would only be refused.
func (s *sender) recover() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		<-tick.C
		for _, l := range s.hospital.w.Status() {
			if l.Log == "patient" && l.Serving && s.nc.IsConnected() {
				return
			}
		}
	}
}

func (s *sender) command(id string, number int, expected int64) linear.Outcome {
	m := s.request("cmd.patient."+id+".crp", fmt.Sprintf(`{"crp":%d}`, number))
	m.Header.Set("Eventful-Command-Id", commandID(number))
	if expected != linear.Any {
		m.Header.Set("Eventful-Expected-Version", strconv.FormatInt(expected, 10))
	}
	ended := s.history.Command(s.client, id, commandID(number), expected)
	o := s.outcome(s.nc.RequestMsg(m, time.Second))
	ended(o)
	return o
}

func (s *sender) request(subject, body string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{"Eventful-Token": {s.hospital.token}}, Data: []byte(body)}
}

func (s *sender) outcome(answer *nats.Msg, err error) linear.Outcome {
	if err != nil {
		return linear.Outcome{Kind: linear.Lost}
	}
	if answer.Header.Get("Nats-Service-Error-Code") == "" {
		var a writer.Answer
		if err := json.Unmarshal(answer.Data, &a); err != nil || len(a.Commits) != 1 {
			s.hospital.t.Errorf("got the answer %s, %v, want one commit", answer.Data, err)
			return linear.Outcome{Kind: linear.Lost}
		}
		return linear.Outcome{Kind: linear.Stored, Version: uint64(a.Commits[0].Version), Repeated: a.Repeated}
	}
	switch p := problem.Decode(answer.Data); p.Code {
	case problem.Conflict:
		actual, err := strconv.ParseUint(p.Actual, 10, 64)
		if err != nil {
			s.hospital.t.Error(err)
		}
		return linear.Outcome{Kind: linear.Conflict, Version: actual}
	case problem.Unavailable:
		return linear.Outcome{Kind: linear.Refused}
	default:
		s.hospital.t.Errorf("got %v, want stored, a conflict, or unavailable", p)
		return linear.Outcome{Kind: linear.Lost}
	}
}

// read asks the projector, which waits until it has all that is stored. A read that fails tells nothing.
func (s *sender) read(id string) {
	m := s.request("qry.patient."+id+".get", "")
	m.Header.Set("Eventful-Wait-For", "latest")
	ended := s.history.Read(s.client, id)
	answer, err := s.nc.RequestMsg(m, time.Second)
	if err != nil {
		s.recover()
		return
	}
	if answer.Header.Get("Nats-Service-Error-Code") != "" {
		if p := problem.Decode(answer.Data); p.Code == problem.NotFound {
			ended(0, "")
		}
		return
	}
	var got struct {
		Version uint64            `json:"version"`
		Fields  map[string]string `json:"fields"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		s.hospital.t.Errorf("got the answer %s: %v", answer.Data, err)
		return
	}
	ended(got.Version, "c"+got.Fields["crp"])
}

// Concurrent commands and reads over the doors, while connections are cut, publishes come late, answers are lost, and the server restarts: what everybody was
// told has an order.
func TestConcurrentRequestsHaveAnOrder(t *testing.T) {
	rounds := 1
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		rounds = 25
	}
	seed, err := strconv.ParseUint(os.Getenv("EVENTFUL_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("EVENTFUL_SEED=%d repeats what is sent in this run", seed)
	h := newHospital(t)
	for round := range rounds {
		h.round(round, seed+uint64(round))
	}
	sound(t, h.direct)
}

// round has eight senders work on aggregates of their own while one fault of each kind happens.
func (h *hospital) round(round int, seed uint64) {
	h.t.Helper()
	history := linear.New()
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	defer end()
	steps := make(chan struct{}, 1024)
	var group sync.WaitGroup
	for i := range 8 {
		s := h.sender(history, i, round, seed)
		defer s.nc.Close()
		group.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					s.step()
					steps <- struct{}{}
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(seed, 99))
	for i := range faults {
		h.fault(i, random, func(n int) { await(h.t, steps, n) })
	}
	await(h.t, steps, 50)
	end()
	go func() { // senders that are done wait for nobody
		for range steps {
		}
	}()
	group.Wait()
	close(steps)
	h.final(history, contended(round))
	if err := history.Check(); err != nil {
		h.t.Errorf("round %d: %v", round, err)
	}
}

func await(t *testing.T, steps <-chan struct{}, n int) {
	t.Helper()
	for range n {
		select {
		case <-steps:
		case <-time.After(time.Minute):
			t.Fatal("nobody got an answer for a minute")
		}
	}
}

// faults is the number of different ones.
const faults = 6

// fault does something bad, after some steps of the senders.
func (h *hospital) fault(i int, random *rand.Rand, await func(n int)) {
	await(20 + random.IntN(20))
	switch i {
	case 0:
		h.doors.Cut()
	case 1: // a publish comes late, behind the fence
		held := h.logs.HoldPublish("evt."+site+".patient", 1+random.IntN(2))
		select {
		case <-held:
		case <-time.After(5 * time.Second):
		}
		h.logs.Strand()
		await(8)
		h.logs.Release()
	case 2: // the acknowledgements are lost
		h.logs.HoldAnswers()
		h.doubting()
		h.logs.Cut()
	case 3: // the answers to senders are lost
		h.doors.HoldAnswers()
		h.doors.Cut()
	case 4: // a publish comes late, before the fence
		held := h.logs.HoldPublish("evt."+site+".patient", 1+random.IntN(2))
		select {
		case <-held:
		case <-time.After(5 * time.Second):
		}
		h.logs.Strand()
		h.logs.Release()
	case 5:
		h.server.Stop()
		h.server.Start()
	}
}

// doubting waits until the writer has given up an append, or has had time enough to.
func (h *hospital) doubting() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 400 {
		<-tick.C
		for _, l := range h.w.Status() {
			if l.Log == "patient" && !l.Serving {
				return
			}
		}
	}
}

// final notes what the log holds.
func (h *hospital) final(history *linear.History, ids []string) {
	h.t.Helper()
	log, err := h.direct.Open(h.t.Context(), "patient")
	if err != nil {
		h.t.Fatal(err)
	}
	held := map[string][]string{}
	_, last, err := log.Bounds(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	reader, err := eventlog.Read(h.t.Context(), log, event.Chain{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer reader.Stop()
	for reader.Chain().Sequence < last {
		f, err := reader.Next(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if f.Standing != event.Counts {
			continue
		}
		for _, c := range f.Commits {
			held[c.Aggregate.ID] = append(held[c.Aggregate.ID], c.CommandID)
		}
	}
	for _, id := range ids {
		history.Final(id, held[id])
	}
}
