package natsapi

import (
	"strings"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// command hands a request on cmd.> to the writer. It runs on the connection's goroutine, one request after the other, so the order of commands is kept;
// the answer comes from the writer's.
func (a *API) command(m micro.Request) {
	r := request{m, a.cfg.App}
	cmd, p := readCommand(r)
	if p != nil {
		r.refuse(p)
		return
	}
	a.cfg.Writer.Execute(cmd, func(answer *writer.Answer, p *problem.Problem) {
		switch {
		case p == nil:
			r.stored(answer)
		case !a.elsewhere(r, p):
			r.refuse(p)
		}
	})
}

func readCommand(r request) (writer.Request, *problem.Problem) {
	h, p := r.headers()
	if p != nil {
		return writer.Request{}, p
	}
	dry, p := h.flag(streams.HeaderDryRun, "true")
	if p != nil {
		return writer.Request{}, p
	}
	cmd := aggregate.Command{
		ID: h.get(streams.HeaderCommandID), DryRun: dry, Correlation: h.get(streams.HeaderCorrelation),
		Causation: h.get(streams.HeaderCausation), Traceparent: h.get(streams.HeaderTraceparent),
	}
	var err error
	if strings.Count(r.Subject(), ".") == 1 {
		cmd.Changes, err = readTransaction(r, &h)
	} else {
		cmd.Changes, err = readEvent(r, &h)
	}
	if err != nil {
		return writer.Request{}, problem.From(err)
	}
	return writer.Request{Token: h.get(streams.HeaderToken), Command: cmd}, nil
}

func readEvent(r request, h *headers) ([]aggregate.Change, error) {
	a, eventType, err := streams.ParseCommandSubject(r.Subject())
	if err != nil {
		return nil, problem.New(problem.Malformed, "%v", err).WithHint("a command goes to cmd.<type>.<id>.<event>, a transaction to cmd.<type>; docs/spec/subjects.md says how an id is escaped")
	}
	one := &struct { // a change with its one event, in one piece
		changes [1]aggregate.Change
		events  [1]aggregate.NewEvent
	}{}
	one.events[0].Type = eventType
	c := &one.changes[0]
	c.Aggregate, c.Events = a, one.events[:]
	if v := h.get(streams.HeaderExpected); v != "" {
		if c.Expected, err = aggregate.ParseExpected(v); err != nil {
			return nil, err
		}
	}
	if v := h.get(streams.HeaderOccurredAt); v != "" {
		at, err := aggregate.ParseOccurredAt(v)
		if err != nil {
			return nil, err
		}
		c.Events[0].OccurredAt = &at
	}
	c.Events[0].Fields, err = aggregate.DecodeFields(r.Data())
	return one.changes[:], err
}

func readTransaction(r request, h *headers) ([]aggregate.Change, error) {
	for _, name := range []string{streams.HeaderExpected, streams.HeaderOccurredAt} {
		if h.get(name) != "" {
			return nil, problem.New(problem.Malformed, "header %s says nothing about a transaction", name).WithHint("give it in the body, with the commit or event that it is about")
		}
	}
	changes, err := aggregate.DecodeTransaction(r.Data())
	if err != nil {
		return nil, err
	}
	t := strings.TrimPrefix(r.Subject(), "cmd.")
	if err := event.CheckType(t); err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	if len(changes) == 0 || changes[0].Aggregate.Type != t {
		return nil, problem.New(problem.Malformed, "the transaction came to cmd.%s, which is not the type of its first aggregate", t).WithHint("send it to cmd.<type of its first aggregate>")
	}
	return changes, nil
}
