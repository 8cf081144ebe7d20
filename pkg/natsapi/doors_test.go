package natsapi_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/lease"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// processes are writers of one site with their doors on one NATS server. They answer each other's calls over it, too.
type processes struct {
	t       *testing.T
	url     string
	store   eventlog.Store
	table   lease.Table
	dir     string
	writers map[string]*writer.Writer
	nc      *nats.Conn
}

func newProcesses(t *testing.T) *processes {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	p := &processes{t: t, url: s.ClientURL(), store: eventlog.NewMemory(), table: lease.NewMemory(), dir: t.TempDir(), writers: map[string]*writer.Writer{}}
	p.nc = p.connect()
	return p
}

func (p *processes) connect() *nats.Conn {
	nc, err := nats.Connect(p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	return nc
}

func (p *processes) start(name string) *writer.Writer {
	p.t.Helper()
	w, err := writer.New(writer.Config{Site: site, Store: p.store, Dir: filepath.Join(p.dir, name), Key: key, Peers: over{p.connect()},
		Lease: lease.Config{Table: p.table, Member: lease.Member{ID: name}, Grace: -1, Settle: time.Hour}})
	if err != nil {
		p.t.Fatal(err)
	}
	api, err := natsapi.New(natsapi.Config{App: p.connect(), Writer: w, Site: site, Version: "1.0.0"})
	if err != nil {
		p.t.Fatal(err)
	}
	open := make(chan struct{})
	during(p.t, func(ctx context.Context) error { return api.Run(ctx, func() { close(open) }) })
	<-open
	during(p.t, w.Run)
	<-w.Ready()
	p.writers[name] = w
	return w
}

// endpoints are the subjects that the service of each process names, one process after the other.
func (p *processes) endpoints(processes int) (all [][]string) {
	p.t.Helper()
	sub, err := p.nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := p.nc.PublishRequest("$SRV.INFO.eventful-writer", sub.Subject, nil); err != nil {
		p.t.Fatal(err)
	}
	for range processes {
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			p.t.Fatal(err)
		}
		var info micro.Info
		if err := json.Unmarshal(m.Data, &info); err != nil || info.Name != "eventful-writer" || info.Type != micro.InfoResponseType {
			p.t.Fatalf("got %s, %v", m.Data, err)
		}
		subjects := []string{}
		for _, e := range info.Endpoints {
			subjects = append(subjects, e.Subject)
		}
		all = append(all, subjects)
	}
	slices.SortFunc(all, func(a, b []string) int { return strings.Compare(strings.Join(a, " "), strings.Join(b, " ")) })
	return all
}

// over carries calls over NATS without the names of package streams, which this test does not look at.
type over struct{ nc *nats.Conn }

func (o over) Call(ctx context.Context, log, verb string, body []byte) ([]byte, error) {
	m, err := o.nc.RequestWithContext(ctx, "eng."+log+"."+verb, body)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func (over) CallAll(context.Context, string, []byte, int) ([][]byte, error) { return nil, nil }

func (o over) Serve(_ context.Context, log string, answer func(context.Context, string, []byte) []byte) (func(), error) {
	if log == "" {
		return func() {}, nil
	}
	var busy sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	sub, err := o.nc.Subscribe("eng."+log+".*", func(m *nats.Msg) {
		busy.Go(func() { _ = m.Respond(answer(ctx, m.Subject[strings.LastIndex(m.Subject, ".")+1:], m.Data)) })
	})
	return func() { _ = sub.Unsubscribe(); cancel(); busy.Wait() }, err
}

// resign has a log handed over, as soon as another process follows it.
func (c *caller) resign(log string) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, p := c.ask("adm.writer.resign", `{"log":"`+log+`"}`, nil)
		if p == nil {
			return
		}
		if p.Code != problem.Conflict || time.Now().After(deadline) {
			c.t.Fatal(p)
		}
	}
}

// A process alone takes everything in one subscription; with a second one each subscribes to what its logs need, and requests in between get one answer each.
func TestDoorsFollowTheLeases(t *testing.T) {
	p := newProcesses(t)
	a := p.start("a")
	id, seed, err := token.NewAuthKey()
	if err != nil {
		t.Fatal(err)
	}
	account, _, _ := token.NewAuthKey() // any public account key
	k := token.Key{ID: id, Name: "test", Aggregates: []string{token.All}, Actions: []token.Action{token.ActionWrite, token.ActionAdmin}}
	if p := a.AddKey(t.Context(), "operator", k); p != nil {
		t.Fatal(p)
	}
	jwt, _, err := token.MintAdmin(seed, account, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	admin := &caller{t: t, nc: p.nc, token: jwt}
	for _, c := range [][2]string{
		{"adm.schema.draft", `{"definition":{"aggregate":"patient","events":{"crp":{}}}}`}, {"adm.schema.migrate", `{"type":""}`},
	} {
		if _, p := admin.ask(c[0], c[1], nil); p != nil {
			t.Fatal(p)
		}
	}
	if got := p.endpoints(1); len(got[0]) != 2 || got[0][0] != "adm.>" || got[0][1] != "cmd.>" {
		t.Errorf("got %q of a process that is alone", got)
	}
	writing, _, err := token.Mint(seed, account, token.Claims{IdentifierType: "user", IdentifierID: "ada", Aggregates: []string{token.All},
		Actions: []token.Action{token.ActionWrite}, Limit: 1 << 30, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ada := &caller{t: t, nc: p.nc, token: writing}
	ada.refused("cmd.nothing.A.crp", "{}", nil, "not_found", "nothing") // as long as the process is alone
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				m := &nats.Msg{Subject: "cmd.patient.A.crp", Header: nats.Header{"Eventful-Token": {writing}}, Data: []byte("{}")}
				answer, err := p.nc.RequestMsg(m, 10*time.Second)
				if err != nil || answer.Header.Get("Nats-Service-Error-Code") != "" {
					t.Errorf("command %d: got %v, %v", n, answer, err)
					return
				}
			}
		})
	}
	p.start("b")
	for range 4 {
		admin.resign("patient")
		admin.resign("eventful")
	}
	if _, p := admin.ask("adm.writer.list", `{}`, nil); p != nil {
		t.Error(p)
	}
	close(stop)
	load.Wait()
	var all string
	for deadline := time.Now().Add(10 * time.Second); all != "adm.> cmd.patient cmd.patient.>" && all != "cmd.patient cmd.patient.> adm.>"; { // the former writer's go last
		if time.Now().After(deadline) {
			t.Fatalf("got %q of both processes together", all)
		}
		all = strings.Join(slices.Concat(p.endpoints(2)...), " ")
	}
	if m, err := p.nc.Request("$SRV.PING.eventful-writer", nil, 5*time.Second); err != nil || !strings.Contains(string(m.Data), "io.nats.micro.v1.ping_response") {
		t.Errorf("got %v, %v", m, err)
	}
	if m, err := p.nc.Request("$SRV.STATS", nil, 5*time.Second); err != nil || !strings.Contains(string(m.Data), "io.nats.micro.v1.stats_response") {
		t.Errorf("got %v, %v", m, err)
	}
}
