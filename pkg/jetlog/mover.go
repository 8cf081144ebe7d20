package jetlog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

const (
	// lookEvery is the time from one look at the servers to the next, if answers come in time.
	lookEvery = 500 * time.Millisecond
	// lookPatience is how long servers have to answer a look.
	lookPatience = time.Second
	// lookQuiet is how long no further server may answer, once most have, before a look ends.
	lookQuiet = 250 * time.Millisecond
	// silentFor is how long most servers may not hear one before a connection leaves it; it doubles with each move that did not help, up to silentAtMost.
	silentFor    = 2 * time.Second
	silentAtMost = time.Minute
)

// Mover has connections leave a nats-server that is cut off from most of its cluster, or that is up and does not answer. A connection by itself stays there: its own
// server answers its pings. It leaves for another server that it was given or told of; one that knows no other stays. What is under way on a connection that leaves has an
// unknown outcome, as with every connection that is lost.
//
// It asks the servers by a connection of its own (Servers), twice a second, which of them hear each other. Unless most of them answer, only that connection is moved.
type Mover struct {
	asking *seat
	conns  []*seat // asking is one of them
	left   func(Left)
}

// seat is a connection that may leave its server. Only Run's goroutine uses it.
type seat struct {
	nc       *nats.Conn
	heard    time.Time     // when most servers, and the one that it is at, answered last
	patience time.Duration // how long ago that may be
}

// Left is a connection that was told to leave its server.
type Left struct {
	Server string        // its URL
	Silent time.Duration // how long most servers had not heard it
}

// NewMover makes a Mover for connections beside the one that asks. Nil connections are left out. left is called from Run's goroutine with each that leaves; it must not block.
func NewMover(asking *nats.Conn, left func(Left), conns ...*nats.Conn) *Mover {
	m := &Mover{asking: &seat{nc: asking}, left: left}
	m.conns = append(m.conns, m.asking)
	for _, nc := range conns {
		if nc != nil {
			m.conns = append(m.conns, &seat{nc: nc})
		}
	}
	return m
}

// Run looks until ctx ends. It runs once.
func (m *Mover) Run(ctx context.Context) {
	for _, s := range m.conns {
		s.heard, s.patience = time.Now(), silentFor
	}
	for ctx.Err() == nil {
		asked, pause := time.Now(), lookEvery
		if m.canMove() && m.asking.nc.IsConnected() {
			answers, err := m.look(ctx)
			if err == nil && ctx.Err() == nil && m.judge(asked, answers) {
				pause = firstPause // what the servers say where it went decides about the others
			}
		}
		wait(ctx, max(firstPause, pause-time.Since(asked)))
	}
}

// canMove: a connection knows of another server.
func (m *Mover) canMove() bool {
	return slices.ContainsFunc(m.conns, func(s *seat) bool { return len(s.nc.Servers()) > 1 })
}

// look asks the servers that are heard from where asking is.
func (m *Mover) look(ctx context.Context) (map[string]serverReport, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	inbox := m.asking.nc.NewInbox()
	sub, err := m.asking.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("look at the servers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed
	if err := m.asking.nc.PublishRequest(streams.AskServers, inbox, nil); err != nil {
		return nil, fmt.Errorf("look at the servers: %w", err)
	}
	answers := make(map[string]serverReport)
	for !complete(answers) {
		msg, err := m.answer(ctx, sub, isMost(answers))
		if err != nil {
			break // those that came are those that are heard
		}
		var r serverReport
		if json.Unmarshal(msg.Data, &r) == nil && r.Server.ID != "" {
			answers[r.Server.ID] = r
		}
	}
	return answers, nil
}

func (m *Mover) answer(ctx context.Context, sub *nats.Subscription, quiet bool) (*nats.Msg, error) {
	if quiet {
		short, cancel := context.WithTimeout(ctx, lookQuiet)
		defer cancel()
		ctx = short
	}
	return sub.NextMsgWithContext(ctx)
}

// isMost tells whether those that answered are more than half of the servers that hold logs.
func isMost(answers map[string]serverReport) bool {
	enabled := 0
	for _, r := range answers {
		if !r.Data.Disabled {
			enabled++
		}
	}
	return 2*enabled > expected(answers)
}

// judge has connections leave servers that most others do not hear, or has asking look for most of the servers elsewhere. It says whether asking leaves.
func (m *Mover) judge(asked time.Time, answers map[string]serverReport) bool {
	if !isMost(answers) {
		return m.move(m.asking, asked)
	}
	for _, s := range m.conns {
		if _, heard := answers[s.nc.ConnectedServerId()]; heard || s == m.asking {
			s.heard, s.patience = asked, silentFor
		} else {
			m.move(s, asked)
		}
	}
	return false
}

// move has a connection leave its server, if that was not heard for long enough and the connection knows another one.
func (m *Mover) move(s *seat, asked time.Time) bool {
	silent, from := asked.Sub(s.heard), s.nc.ConnectedUrlRedacted()
	if silent < s.patience || !s.nc.IsConnected() || len(s.nc.Servers()) < 2 || s.nc.ForceReconnect() != nil {
		return false
	}
	s.heard, s.patience = asked, min(2*s.patience, silentAtMost)
	m.left(Left{Server: from, Silent: silent})
	return true
}
