package natsapi

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventfuldb/eventful/pkg/aggregate"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// relayTimeout is how long a relayed command waits for its answer.
const relayTimeout = 10 * time.Second

// Relay sends commands to whatever process writes their log, as a client does: over a connection in APP that may publish to cmd.> and subscribe to its inbox.
type Relay struct{ App *nats.Conn }

// Execute implements staging.Execute: it sends a transaction. Silence is unknown_outcome, or unavailable for a dry run.
func (r Relay) Execute(ctx context.Context, w writer.Request) (*writer.Answer, *problem.Problem) {
	subject, err := streams.TransactionSubject(w.Command.Changes[0].Aggregate.Type)
	if err != nil {
		return nil, problem.New(problem.Malformed, "%v", err)
	}
	body, err := encodeTransaction(w.Command.Changes)
	if err != nil {
		return nil, problem.New(problem.Internal, "encode a transaction: %v", err)
	}
	header := nats.Header{streams.HeaderToken: {w.Token}, streams.HeaderCommandID: {w.Command.ID}}
	for name, value := range map[string]string{
		streams.HeaderCorrelation: w.Command.Correlation, streams.HeaderCausation: w.Command.Causation, streams.HeaderTraceparent: w.Command.Traceparent,
	} {
		if value != "" {
			header.Set(name, value)
		}
	}
	if w.Command.DryRun {
		header.Set(streams.HeaderDryRun, "true")
	}
	data, p := r.Send(ctx, subject, header, body)
	if p != nil && p.Code == problem.UnknownOutcome && w.Command.DryRun {
		p = problem.New(problem.Unavailable, "%s", p.Detail)
	}
	if p != nil {
		return nil, p
	}
	answer := &writer.Answer{}
	if err := json.Unmarshal(data, answer); err != nil {
		return nil, problem.New(problem.Internal, "the answer to a command cannot be read: %v", err)
	}
	return answer, nil
}

// Send sends a command as it is and gives the answer's body, or the problem in it.
func (r Relay) Send(ctx context.Context, subject string, header nats.Header, body []byte) ([]byte, *problem.Problem) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	m, err := r.App.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Header: header, Data: body})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, problem.New(problem.Unavailable, "no writer answers on %.80q", subject)
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, problem.New(problem.TooLarge, "the command has %d bytes, more than the server takes", len(body))
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrBadHeaderMsg):
		return nil, problem.New(problem.Malformed, "the command cannot be sent to %.80q: %v", subject, err)
	case err != nil:
		return nil, problem.New(problem.UnknownOutcome, "the command got no answer: %v", err)
	}
	if code := m.Header.Get(micro.ErrorCodeHeader); code != "" {
		p := problem.Decode(m.Data)
		if _, err := strconv.Atoi(code); err != nil {
			return nil, problem.New(problem.Internal, "the answer to a command has the status %.20q", code)
		}
		return nil, p
	}
	return m.Data, nil
}

type relayedEvent struct {
	Event      string             `json:"event"`
	OccurredAt string             `json:"occurred-at,omitempty"`
	Fields     map[string]*string `json:"fields,omitempty"`
}

type relayedCommit struct {
	Type     string         `json:"type"`
	ID       string         `json:"id"`
	Expected string         `json:"expected-version"`
	Events   []relayedEvent `json:"events"`
}

// encodeTransaction is the inverse of aggregate.DecodeTransaction: values come as strings, which keeps their characters.
func encodeTransaction(changes []aggregate.Change) ([]byte, error) {
	var body struct {
		Commits []relayedCommit `json:"commits"`
	}
	for _, c := range changes {
		commit := relayedCommit{Type: c.Aggregate.Type, ID: c.Aggregate.ID, Expected: c.Expected.String()}
		for _, e := range c.Events {
			one := relayedEvent{Event: e.Type, Fields: map[string]*string{}}
			if e.OccurredAt != nil {
				one.OccurredAt = time.Unix(0, int64(*e.OccurredAt)).UTC().Format(time.RFC3339Nano)
			}
			for _, f := range e.Fields {
				one.Fields[f.Name] = nil
				if f.Set {
					one.Fields[f.Name] = new(f.Value)
				}
			}
			commit.Events = append(commit.Events, one)
		}
		body.Commits = append(body.Commits, commit)
	}
	return json.Marshal(body)
}
