package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

const (
	floodSize = 20_000 // wrong tokens
	floodOpen = 200    // of them not answered, at most
	floodGood = 100    // requests with wrong tokens to one with a good token
	floodCost = 3.0    // what a wrong token may cost the server, as a multiple of a request with no token at all; each signature checked would make it 7
)

// floods are requests with wrong tokens over one connection, and one with a good token among every floodGood of them.
type floods struct {
	s    *site
	nc   *nats.Conn
	good *client.Client
}

// send sends floodSize requests, each with the token that text gives, and counts the answers by code. It gives the processor time that the server took.
func (f floods) send(text func(n int) string) (cost time.Duration, answers map[problem.Code]int) {
	t := f.s.t
	t.Helper()
	inbox := inboxOf(f.s.token) + ".flood"
	sub, err := f.nc.SubscribeSync(inbox)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	answers = make(map[problem.Code]int)
	before := processorTime(t, f.s.info().PID)
	for sent, answered := 0, 0; answered < floodSize; answered++ {
		for ; sent < floodSize && sent-answered < floodOpen; sent++ {
			m := &nats.Msg{Subject: "cmd.patient.A.registered", Reply: inbox, Header: nats.Header{"Eventful-Token": {text(sent)}}}
			if err := f.nc.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
		}
		m, err := sub.NextMsg(patience)
		if err != nil {
			t.Fatalf("got %d answers to %d requests: %v", answered, sent, err)
		}
		answers[problem.Decode(m.Data).Code]++
		if answered%floodGood == 0 {
			f.serve()
		}
	}
	return processorTime(t, f.s.info().PID) - before, answers
}

// processorTime is what a process took so far, in all its threads (proc(5): fields 14 and 15 of stat, in hundredths of a second).
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks uint64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Wrong tokens as fast as they go, each another text, of many users, with the issuer of good ones: few of them are looked at, so that one costs the server little more than a
// request without a token; all are refused, nothing of them is stored, and who holds a token that was used before is served all the while. Processor time is
// compared, not time: it does not depend on what else runs.
func TestWrongTokensSlowNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	nc, err := connect(t, s.info().NATS, s.token)
	if err != nil {
		t.Fatal(err)
	}
	f := floods{s, nc.Conn, s.client()}
	f.serve()
	var texts []string
	for range 2000 {
		text := s.mint(token.Claims{Limit: 1})
		texts = append(texts, text[:strings.LastIndex(text, ".")+1])
	}
	pad := strings.Repeat("x", len(texts[0])+86) // as long, and no token
	plain, answers := f.send(func(int) string { return pad })
	if answers[problem.Unauthenticated] != floodSize {
		t.Errorf("no token: got %v, want all unauthenticated", answers)
	}
	flood, answers := f.send(func(n int) string { return texts[n%len(texts)] + fmt.Sprintf("%085dA", n) })
	ratio := float64(flood) / float64(plain)
	t.Logf("%d requests took %s without a token and %s with wrong ones (%.1f times), answered with %v", floodSize, plain, flood, ratio, answers)
	if answers[problem.Unauthenticated]+answers[problem.Unavailable] != floodSize || answers[problem.Unavailable] < floodSize/2 {
		t.Errorf("got %v, want all refused and most of them not looked at", answers)
	}
	if ratio > floodCost {
		t.Errorf("got %.1f times the cost of a request without a token, want at most %.1f", ratio, floodCost)
	}
}

// serve reads with a token that was used before, while requests with wrong ones are open; a refusal fails the test.
func (f floods) serve() {
	f.s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := f.good.Get(ctx, event.AggregateID{Type: "patient", ID: "A"}, client.Latest())
	if problem.From(err).Code != problem.NotFound { // nothing is stored of a wrong token
		f.s.t.Fatalf("a good token: got %v, want not_found", err)
	}
}
