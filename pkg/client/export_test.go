package client

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// ClaimsOf reads what a client must know of a token.
func ClaimsOf(token string) (user string, expires time.Time, err error) {
	c, err := claimsOf(token)
	return c.user, c.expires, err
}

// Answered reads an answer to a command, or the refusal in it.
func Answered(data []byte, header nats.Header) (*Answer, error) {
	m := &nats.Msg{Data: data, Header: header}
	if p := refusal(m); p != nil {
		return nil, p
	}
	return decodeAnswer(m, nil)
}

// Retired is how many connections of users before are open.
func (c *Client) Retired() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.old {
		if !l.nc.IsClosed() {
			n++
		}
	}
	return n
}

// LateSilence makes a request of which the timer of the first attempt goes off when the second one waits for its answer; then is called behind that.
func LateSilence(ctx context.Context, c *Client, subject string, then func()) error {
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	k := &call{client: c, ctx: ctx, cancel: cancel, req: request{subject: subject}, done: func(_ *nats.Msg, err error) { ended <- err }, began: time.Now()}
	k.unhook = context.AfterFunc(ctx, k.expire)
	k.send()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	waits := func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.open == 2 && k.key != "" || k.over
	}
	for !waits() {
		<-tick.C
	}
	k.silent(1)
	then()
	return <-ended
}
