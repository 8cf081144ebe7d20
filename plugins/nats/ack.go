package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/plugin"
)

// maxPending is how many messages may wait for their acknowledgement on a connection.
const maxPending = 4096

var (
	errLost     = errors.New("the connection was lost before the acknowledgement")
	errAway     = errors.New("not connected to NATS")
	errNoStream = errors.New("no stream takes the event; if it was removed, `eventful plugin:replay NAME --all -f` makes it anew and publishes again what it held")
	errGarbage  = errors.New("the answer is no acknowledgement of this stream")
)

// acks hears what the server says of messages, each of which is published with a reply subject of its own: `<prefix><call>.<place>`.
type acks struct {
	prefix string
	stream string
	whole  []byte        // how an acknowledgement of the stream begins
	room   chan struct{} // has an element for each message that waits

	mu    sync.Mutex // guards what follows
	calls map[uint64]*call
	last  uint64
}

// call is one batch that is under way.
type call struct {
	acks   *acks
	prefix string // of its reply subjects
	number uint64

	mu       sync.Mutex // guards what follows
	outcomes []plugin.Outcome
	waits    []bool
	left     int // that wait, and one until all are sent
	done     chan struct{}
}

// listen begins to hear acknowledgements on a connection.
func listen(c *nats.Conn, stream string) (*acks, error) {
	a := &acks{prefix: c.NewInbox() + ".", stream: stream, whole: []byte(`{"stream":"` + stream + `"`), room: make(chan struct{}, maxPending), calls: map[uint64]*call{}}
	c.SetDisconnectErrHandler(func(*nats.Conn, error) { a.lost() })
	s, err := c.Subscribe(a.prefix+"*.*", a.heard)
	if err == nil {
		err = s.SetPendingLimits(-1, -1) // room bounds them
	}
	if err != nil {
		return nil, fmt.Errorf("listen for acknowledgements: %w", err)
	}
	return a, nil
}

// begin makes a call of n messages.
func (a *acks) begin(n int) *call {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	c := &call{acks: a, number: a.last, prefix: a.prefix + strconv.FormatUint(a.last, 36) + ".", outcomes: make([]plugin.Outcome, n), waits: make([]bool, n), left: 1, done: make(chan struct{})}
	a.calls[c.number] = c
	return c
}

// reply waits until one more message may be under way, and gives its reply subject.
func (c *call) reply(ctx context.Context, place int) (string, error) {
	select {
	case c.acks.room <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits[place] = true
	c.left++
	return c.prefix + strconv.Itoa(place), nil
}

// settle notes what became of a message, the first time.
func (c *call) settle(place int, o plugin.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if place >= len(c.waits) || !c.waits[place] {
		return
	}
	c.waits[place], c.outcomes[place] = false, o
	<-c.acks.room
	c.leave()
}

// leave counts down; c.mu is held.
func (c *call) leave() {
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// end waits for what was sent, and gives what became of each message.
func (c *call) end(ctx context.Context) []plugin.Outcome {
	c.mu.Lock()
	c.leave()
	c.mu.Unlock()
	select {
	case <-c.done:
	case <-ctx.Done():
		c.fail(fmt.Errorf("no acknowledgement: %w", ctx.Err()))
	}
	c.acks.mu.Lock()
	delete(c.acks.calls, c.number)
	c.acks.mu.Unlock()
	return c.outcomes
}

// fail settles what still waits.
func (c *call) fail(err error) {
	for place := range c.waits {
		c.settle(place, plugin.Retry(err))
	}
}

// lost settles all that waits: an acknowledgement on its way is gone with its connection.
func (a *acks) lost() {
	a.mu.Lock()
	all := make([]*call, 0, len(a.calls))
	for _, c := range a.calls {
		all = append(all, c)
	}
	a.mu.Unlock()
	for _, c := range all {
		c.fail(errLost)
	}
}

// heard takes up an answer of the server.
func (a *acks) heard(m *nats.Msg) {
	of, at, _ := strings.Cut(strings.TrimPrefix(m.Subject, a.prefix), ".")
	number, err := strconv.ParseUint(of, 36, 64)
	place, err2 := strconv.ParseUint(at, 10, 31)
	if err != nil || err2 != nil {
		return
	}
	a.mu.Lock()
	c := a.calls[number]
	a.mu.Unlock()
	if c != nil {
		c.settle(int(place), a.read(m))
	}
}

// read gives the outcome that an answer stands for.
func (a *acks) read(m *nats.Msg) plugin.Outcome {
	if bytes.HasPrefix(m.Data, a.whole) && !bytes.Contains(m.Data, []byte(`"error":`)) {
		return plugin.Done()
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return judge(errNoStream)
	}
	var said struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
	}
	switch err := json.Unmarshal(m.Data, &said); {
	case err == nil && said.Error != nil:
		return judge(said.Error)
	case err != nil || said.Stream != a.stream:
		return judge(errGarbage)
	}
	return plugin.Done()
}
