package natsapi

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

const (
	maxHeader = 20 << 10 // bytes of one header value; a token has at most 16 KiB
	servers   = "Nats-"  // names that begin so, in whatever case, are the server's
)

// request is a message that wants an answer. It answers over the connection itself: micro notes the outcome of its own Respond and Error where it reads it
// when the handler comes back, and here most answers come later, from other goroutines.
type request struct {
	micro.Request
	app *nats.Conn
}

// headers are those of docs/spec/commands.md, section 1.
type headers [len(ours)]string

// ours are the names of the headers as package streams gives them.
var ours = [...]string{
	streams.HeaderToken, streams.HeaderCommandID, streams.HeaderExpected, streams.HeaderOccurredAt, streams.HeaderCorrelation, streams.HeaderCausation,
	streams.HeaderTraceparent, streams.HeaderDryRun, streams.HeaderWaitFor, streams.HeaderStream, streams.HeaderAct,
}

// headerOf is the place of a name among ours, or -1.
func headerOf(name string) int {
	for i := range ours {
		if ours[i] == name || len(ours[i]) == len(name) && strings.EqualFold(ours[i], name) {
			return i
		}
	}
	return -1
}

// headers reads the headers: names without regard to case, each of ours once and not empty, none of the server's.
func (r request) headers() (h headers, p *problem.Problem) {
	there := [len(ours)]bool{}
	for name, values := range r.Headers() {
		i := headerOf(name)
		if i < 0 {
			if len(name) >= len(servers) && strings.EqualFold(name[:len(servers)], servers) {
				return h, problem.New(problem.Malformed, "header %.80q: names that begin with Nats- are the server's", name).WithHint("leave the header out")
			}
			continue
		}
		if there[i] || len(values) != 1 {
			return h, problem.New(problem.Malformed, "header %s stands more than once", name).WithHint("send it once")
		}
		if len(values[0]) > maxHeader {
			return h, problem.New(problem.TooLarge, "header %s has %d bytes, at most %d are allowed", name, len(values[0]), maxHeader)
		}
		if values[0] == "" && ours[i] != streams.HeaderToken { // an empty token is a missing one, which has its own answer
			return h, problem.New(problem.Malformed, "header %s is empty", name).WithHint("give it a value, or leave it out")
		}
		h[i], there[i] = values[0], true
	}
	return h, nil
}

func (h *headers) get(name string) string {
	if i := headerOf(name); i >= 0 {
		return h[i]
	}
	return ""
}

// flag reads a header that has the value on, or is `false` or left out.
func (h *headers) flag(name, on string) (bool, *problem.Problem) {
	switch v := h.get(name); v {
	case "", "false":
		return false, nil
	case on:
		return true, nil
	default:
		return false, problem.New(problem.Malformed, "header %s is %.80q", name, v).WithHint("give it the value %s, or leave it out", on)
	}
}

// appender is an answer that writes its own JSON, which costs a fifth of what encoding/json takes.
type appender interface{ AppendJSON([]byte) []byte }

// stored sends the answer to a command.
func (r request) stored(a *writer.Answer) { r.append(a) }

func (r request) append(a appender) {
	b := buffers.Get().(*[]byte)
	*b = a.AppendJSON((*b)[:0])
	r.send(*b, nil)
	buffers.Put(b)
}

// buffers are for answers, which the connection copies when it sends them.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// answer sends the only or last message of an answer. An error is the connection's, which reports it itself.
func (r request) answer(v any) {
	if a, ok := v.(appender); ok {
		r.append(a)
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		r.refuse(problem.New(problem.Internal, "the answer cannot be encoded: %v", err))
		return
	}
	r.send(data, nil)
}

// send publishes an answer, if one is wanted. One that no message can hold is refused: nothing at all would look like an engine that is away.
func (r request) send(data []byte, header nats.Header) {
	var err error
	switch reply := r.Reply(); {
	case reply == "":
	case header == nil:
		err = r.app.Publish(reply, data)
	default:
		err = r.app.PublishMsg(&nats.Msg{Subject: reply, Header: header, Data: data})
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		r.refuse(problem.New(problem.TooLarge, "the answer has %d bytes, a message holds at most %d", len(data), r.app.MaxPayload()).
			WithHint("ask for less at once: a state of that size is read event by event, with `eventful aggregate:history`"))
	}
}

// more sends one message of an answer that others follow.
func (r request) more(v any) {
	if data, err := json.Marshal(v); err == nil {
		r.send(data, nats.Header{streams.HeaderMore: {"1"}})
	}
}

// refuse sends a problem as a NATS service error. Of a list of failing checks that takes more than half a message only the beginning is told.
func (r request) refuse(p *problem.Problem) {
	p = hinted(p)
	data, err := json.Marshal(p)
	for err == nil && int64(len(data)) > r.app.MaxPayload()/2 && len(p.Problems) > 0 {
		shorter := *p
		shorter.Problems = p.Problems[:len(p.Problems)/2]
		p = &shorter
		data, err = json.Marshal(p)
	}
	if err != nil {
		data = []byte(`{"code":"internal"}`)
	}
	r.send(data, nats.Header{micro.ErrorCodeHeader: {strconv.Itoa(p.Status)}, micro.ErrorHeader: {p.Title}})
}
