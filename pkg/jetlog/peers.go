package jetlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

// flushPatience bounds how long it takes until the server knows a subscription.
const flushPatience = 5 * time.Second

// Peers carries calls between the writer processes of a site, as NATS requests in the account of the logs. It holds nothing but the connection, and is
// safe for concurrent use.
type Peers struct {
	nc   *nats.Conn
	site string
}

// Peers are the other writers beside these logs.
func (s *Store) Peers() *Peers { return &Peers{nc: s.nc, site: s.site} }

// Call asks who serves a log. An error: nobody answered; whether the call arrived is not known.
func (p *Peers) Call(ctx context.Context, log, verb string, body []byte) ([]byte, error) {
	subject, err := streams.EngineSubject(p.site, log, verb)
	if err != nil {
		return nil, err
	}
	m, err := p.nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return nil, fmt.Errorf("call %s of log %s: %w", verb, log, err)
	}
	return m.Data, nil
}

// CallAll asks every process and gives what it has when n answered or ctx ends.
func (p *Peers) CallAll(ctx context.Context, verb string, body []byte, n int) (answers [][]byte, err error) {
	subject, err := streams.EngineSubject(p.site, "", verb)
	if err != nil {
		return nil, err
	}
	inbox := p.nc.NewRespInbox()
	sub, err := p.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("call %s of every writer: %w", verb, err)
	}
	defer func() { err = errors.Join(err, sub.Unsubscribe()) }()
	if err := p.nc.PublishRequest(subject, inbox, body); err != nil {
		return nil, fmt.Errorf("call %s of every writer: %w", verb, err)
	}
	for len(answers) < n {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders), err != nil && ctx.Err() != nil:
			return answers, nil
		case err != nil:
			return answers, fmt.Errorf("call %s of every writer: %w", verb, err)
		}
		answers = append(answers, m.Data)
	}
	return answers, nil
}

// Serve answers the calls of a log, or with an empty log those of CallAll, until stop, which ends those under way and waits for them.
func (p *Peers) Serve(ctx context.Context, log string, answer func(ctx context.Context, verb string, body []byte) []byte) (stop func(), err error) {
	subjects, err := streams.EngineSubjects(p.site, log)
	if err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var (
		mu    sync.Mutex // guards ended, and that nothing joins busy behind it
		ended bool
		busy  sync.WaitGroup
	)
	sub, err := p.nc.Subscribe(subjects, func(m *nats.Msg) {
		_, _, verb, err := streams.ParseEngineSubject(m.Subject)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			busy.Go(func() { _ = m.Respond(answer(working, verb, m.Data)) }) // who asked asks again
		}
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("answer calls of log %s: %w", log, err)
	}
	stop = func() {
		_ = sub.Unsubscribe() // fails where the connection is closed, which ends it too
		mu.Lock()
		ended = true
		mu.Unlock()
		cancel()
		busy.Wait()
	}
	flushed, done := context.WithTimeout(ctx, flushPatience)
	defer done()
	if err := p.nc.FlushWithContext(flushed); err != nil {
		stop()
		return nil, fmt.Errorf("answer calls of log %s: %w", log, err)
	}
	return stop, nil
}
