package jetlog

import (
	"context"
	"sync"
	"time"

	"github.com/eventfuldb/eventful/pkg/eventlog"
)

// Recent hands on, inside one process, what the appends of its Stores had acknowledged, to the cursors of its Stores: the blocks of a writer in the
// same process need not come from the server a second time. A message is handed on only behind its acknowledgement, so it is what the
// server would send. It is safe for concurrent use.
type Recent struct {
	mu   sync.Mutex // guards what follows
	logs map[string][]*handed
}

// NewRecent makes a Recent for all Stores of a process and site.
func NewRecent() *Recent { return &Recent{logs: map[string][]*handed{}} }

// handedBytes bounds the messages that wait for one cursor; one that falls behind further reads from the server.
const handedBytes = 8 << 20

// handed is what one cursor was handed.
type handed struct {
	arrived chan struct{} // has one element when there is something new

	mu       sync.Mutex // guards what follows
	messages []eventlog.Message
	bytes    int
	last     uint64 // the newest sequence ever handed; 0: none
	rewound  bool   // a sequence came again
}

// join makes a cursor known. A nil Recent hands nothing on.
func (r *Recent) join(log string) *handed {
	h := &handed{arrived: make(chan struct{}, 1)}
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.logs[log] = append(r.logs[log], h)
	}
	return h
}

func (r *Recent) leave(log string, gone *handed) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var left []*handed
	for _, h := range r.logs[log] {
		if h != gone {
			left = append(left, h)
		}
	}
	r.logs[log] = left
}

// stored hands a message on that the server has acknowledged.
func (r *Recent) stored(log string, m eventlog.Message) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.logs[log] {
		h.add(m)
	}
}

func (h *handed) add(m eventlog.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rewound = h.rewound || m.Sequence <= h.last
	if m.Sequence != h.last+1 || h.bytes+len(m.Data) > handedBytes {
		h.messages, h.bytes = nil, 0 // there is a gap now; what the cursor lacks it reads from the server
	}
	h.messages, h.bytes, h.last = append(h.messages, m), h.bytes+len(m.Data), m.Sequence
	select {
	case h.arrived <- struct{}{}:
	default:
	}
}

// near reports whether what follows a sequence is handed on: it is there, or a writer of this process has just written up to there. (An
// acknowledgement can come a little later than the message itself.)
func (h *handed) near(sequence uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last > sequence {
		return len(h.messages) > 0 && h.messages[0].Sequence <= sequence+1
	}
	return h.last > 0 && h.last+2 >= sequence
}

// take gives the messages behind a sequence, and keeps none. gap: those that follow at once were not handed on. rewound: the log used a sequence again.
func (h *handed) take(after uint64) (messages []eventlog.Message, gap, rewound bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	messages = h.messages
	for len(messages) > 0 && messages[0].Sequence <= after {
		messages = messages[1:]
	}
	gap = len(messages) > 0 && messages[0].Sequence != after+1
	if !gap {
		h.messages, h.bytes = nil, 0
	}
	return messages, gap, h.rewound
}

const (
	// handedIdle is how long a cursor waits for more to be handed on before it asks the server again, where others may write too.
	handedIdle = time.Second
	// hurried is that time for one that somebody waits for.
	hurried = 50 * time.Millisecond
)

// fromRecent passes on what is handed on, until nothing comes for a while or something is missing: then the server is asked again.
func (c *cursor) fromRecent(ctx context.Context, after *uint64) error {
	for {
		messages, gap, rewinding := c.recent.take(*after)
		switch {
		case rewinding:
			return rewound(*after, *after)
		case gap:
			return nil
		}
		for _, m := range messages {
			if err := c.hand(ctx, m, after); err != nil {
				return err
			}
		}
		if len(messages) == 0 && !c.await(ctx) {
			return ctx.Err()
		}
	}
}

// await waits until something is handed on, and then for more of it, unless somebody is in a hurry. false: nothing came.
func (c *cursor) await(ctx context.Context) bool {
	idle := time.NewTimer(handedIdle)
	defer idle.Stop()
	for {
		select {
		case <-c.recent.arrived:
			c.gather(ctx)
			return true
		case <-c.hurry:
			idle.Reset(hurried)
			select {
			case <-c.recent.arrived:
				return true
			case <-idle.C:
				return false
			case <-ctx.Done():
				return false
			}
		case <-idle.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (c *cursor) gather(ctx context.Context) {
	enough := time.NewTimer(c.log.store.options.Gather)
	defer enough.Stop()
	select {
	case <-enough.C:
	case <-c.hurry:
	case <-ctx.Done():
	}
}

// Hurry makes the cursor pass on at once what it gathers; package eventlog says when it is called. It never blocks.
func (c *cursor) Hurry() {
	select {
	case c.hurry <- struct{}{}:
	default:
	}
}
