package natsapi

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

const maxHeader = 20 << 10 // bytes of one header value; a token has at most 16 KiB

// request is a message that wants an answer. It answers over the connection itself: micro notes the outcome of its own Respond and Error where it reads it
// when the handler comes back, and here most answers come later, from other goroutines.
type request struct {
	micro.Request
	app *nats.Conn
}

// headers are those of docs/spec/commands.md, section 1, by the name that package streams gives them.
type headers map[string]string

// known leads from a name as it is usually sent, or in lower case, to the name in package streams.
var known = func() map[string]string {
	m := make(map[string]string)
	for _, h := range []string{
		streams.HeaderToken, streams.HeaderCommandID, streams.HeaderExpected, streams.HeaderOccurredAt, streams.HeaderCorrelation, streams.HeaderCausation,
		streams.HeaderTraceparent, streams.HeaderDryRun, streams.HeaderWaitFor, streams.HeaderStream,
	} {
		m[h], m[strings.ToLower(h)] = h, h
	}
	return m
}()

// headers reads the headers: names without regard to case, each of ours once and not empty, none of the server's.
func (r request) headers() (headers, *problem.Problem) {
	sent := r.Headers()
	out := make(headers, len(sent))
	for name, values := range sent {
		ours, ok := known[name]
		if !ok {
			lower := strings.ToLower(name)
			if strings.HasPrefix(lower, "nats-") {
				return nil, problem.New(problem.Malformed, "header %.80q: names that begin with Nats- are the server's", name).WithHint("leave the header out")
			}
			if ours, ok = known[lower]; !ok {
				continue
			}
		}
		if _, twice := out[ours]; twice || len(values) != 1 {
			return nil, problem.New(problem.Malformed, "header %s stands more than once", name).WithHint("send it once")
		}
		if len(values[0]) > maxHeader {
			return nil, problem.New(problem.TooLarge, "header %s has %d bytes, at most %d are allowed", name, len(values[0]), maxHeader)
		}
		if values[0] == "" && ours != streams.HeaderToken { // an empty token is a missing one, which has its own answer
			return nil, problem.New(problem.Malformed, "header %s is empty", name).WithHint("give it a value, or leave it out")
		}
		out[ours] = values[0]
	}
	return out, nil
}

func (h headers) get(name string) string { return h[name] }

// flag reads a header that has the value on, or is `false` or left out.
func (h headers) flag(name, on string) (bool, *problem.Problem) {
	switch v := h.get(name); v {
	case "", "false":
		return false, nil
	case on:
		return true, nil
	default:
		return false, problem.New(problem.Malformed, "header %s is %.80q", name, v).WithHint("give it the value %s, or leave it out", on)
	}
}

// answer sends the only or last message of an answer. An error is the connection's, which reports it itself.
func (r request) answer(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		r.refuse(problem.New(problem.Internal, "the answer cannot be encoded: %v", err))
		return
	}
	r.send(data, nil)
}

// send publishes an answer, if one is wanted.
func (r request) send(data []byte, header nats.Header) {
	if reply := r.Reply(); reply != "" {
		_ = r.app.PublishMsg(&nats.Msg{Subject: reply, Header: header, Data: data})
	}
}

// more sends one message of an answer that others follow.
func (r request) more(v any) {
	if data, err := json.Marshal(v); err == nil {
		r.send(data, nats.Header{streams.HeaderMore: {"1"}})
	}
}

// refuse sends a problem as a NATS service error.
func (r request) refuse(p *problem.Problem) {
	data, err := json.Marshal(hinted(p))
	if err != nil {
		data = []byte(`{"code":"internal"}`)
	}
	r.send(data, nats.Header{micro.ErrorCodeHeader: {strconv.Itoa(p.Status)}, micro.ErrorHeader: {p.Title}})
}
