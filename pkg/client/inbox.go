package client

import (
	"context"
	"time"

	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// What JetStream answers when its stream has no room (nats-server, store.go, ErrMaxBytes).
const (
	codeStoreFailed = 10077
	inboxFull       = "maximum bytes exceeded"
)

// Enqueue puts a command into the durable inbox and waits until it is on disk there: it is stored later, once, or refused; `eventful inbox:refused` lists those.
// Commands about one aggregate are decided in the order in which they were put in. The token goes with the command: it must still be valid when the command is
// decided. A repeat with the same command id is harmless. ErrNoSpace: the inbox is full. The answer is the command's number in the inbox.
func (c *Client) Enqueue(ctx context.Context, cmd Command) (uint64, error) {
	req, err := cmd.request()
	if err != nil {
		return 0, err
	}
	return c.enqueue(ctx, req)
}

// EnqueueTransaction is Enqueue for a transaction.
func (c *Client) EnqueueTransaction(ctx context.Context, t Transaction) (uint64, error) {
	req, err := t.request()
	if err != nil {
		return 0, err
	}
	return c.enqueue(ctx, req)
}

func (c *Client) enqueue(ctx context.Context, req request) (uint64, error) {
	req.subject = streams.InboxSubject(req.subject)
	var ack struct { // JetStream's acknowledgement
		Stream   string `json:"stream"`
		Sequence uint64 `json:"seq"`
		Error    *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	m, err := c.roundTrip(ctx, req)
	if err := decodeInto(&ack, m, err); err != nil {
		return 0, err
	}
	if ack.Error != nil && ack.Error.Code == codeStoreFailed && ack.Error.Description == inboxFull {
		return 0, problem.New(problem.NoSpace, "the inbox is full").
			WithHint("send it again later with the same command id, or without the inbox; `eventful inbox:status` says how many commands wait and how many were refused, and `eventful inbox:purge` makes room for what waits to be refused")
	}
	if ack.Error != nil || ack.Sequence == 0 {
		reason := "the acknowledgement cannot be read"
		if ack.Error != nil {
			reason = ack.Error.Description
		}
		return 0, problem.New(problem.Unavailable, "the inbox did not take the command: %s", reason).WithHint("send it again in a moment, with the same command id")
	}
	return ack.Sequence, nil
}

// InboxStatus is how the durable inbox stands.
type InboxStatus struct {
	Waiting uint64     `json:"waiting"`          // commands that are neither stored nor refused
	Oldest  *time.Time `json:"oldest,omitempty"` // when the first of them was sent
	Refused uint64     `json:"refused"`
}

// Refused is one command from the inbox that was refused. An event has type, id and event, a transaction its first type.
type Refused struct {
	Number  uint64           `json:"number"`
	Sent    time.Time        `json:"sent"`
	Refused time.Time        `json:"refused"`
	Type    string           `json:"type,omitempty"`
	ID      string           `json:"id,omitempty"`
	Event   string           `json:"event,omitempty"`
	Subject string           `json:"subject"`
	Actor   string           `json:"actor,omitempty"` // empty: its token was not valid when it was sent
	Command string           `json:"command"`
	Problem *problem.Problem `json:"problem"`
}

// RefusedContent is a refused command with what it held.
type RefusedContent struct {
	Refused
	Inbox  string              `json:"inbox"`
	Letter uint64              `json:"letter"` // its number in the inbox
	Token  string              `json:"token,omitempty"`
	Issuer string              `json:"issuer,omitempty"`
	Header map[string][]string `json:"header"`         // without the token
	Body   string              `json:"body,omitempty"` // as it was sent, if it is UTF-8 …
	Base64 []byte              `json:"body-base64,omitempty"`
	Size   int                 `json:"size"` // of the body as it was sent; of a very large one the beginning is kept
}

// Retried says where a refused command waits again.
type Retried struct {
	Letter  uint64 `json:"letter"`
	Command string `json:"command"`
}

type inboxBody struct {
	Number uint64 `json:"number,omitempty"`
	Actor  string `json:"actor,omitempty"`
	After  uint64 `json:"after,omitempty"`
	Take   int    `json:"take,omitempty"`
}

// InboxStatus says how many commands wait in the inbox, since when, and how many were refused.
func (c *Client) InboxStatus(ctx context.Context) (*InboxStatus, error) {
	s := &InboxStatus{}
	return s, c.act(ctx, "inbox", "status", struct{}{}, s)
}

// RefusedPage lists up to take refused commands behind the number after, oldest first: every one to an administrator, to anybody else his own. cursor is the
// next page's after; 0: nothing follows.
func (c *Client) RefusedPage(ctx context.Context, after uint64, take int) (page []Refused, cursor uint64, err error) {
	var answer struct {
		Refused []Refused `json:"refused"`
		Cursor  uint64    `json:"cursor"`
	}
	err = c.act(ctx, "inbox", "list", inboxBody{After: after, Take: take}, &answer)
	return answer.Refused, answer.Cursor, err
}

// Refused gives one refused command with its content.
func (c *Client) Refused(ctx context.Context, number uint64) (*RefusedContent, error) {
	r := &RefusedContent{}
	return r, c.act(ctx, "inbox", "show", inboxBody{Number: number}, r)
}

// RetryRefused puts one of the actor's own refused commands back into the inbox, with this client's token and under its first command id.
func (c *Client) RetryRefused(ctx context.Context, number uint64) (*Retried, error) {
	r := &Retried{}
	return r, c.act(ctx, "inbox", "retry", inboxBody{Number: number}, r)
}

// PurgeRefused drops one refused command, or with number 0 every one that the token may see, and says how many.
func (c *Client) PurgeRefused(ctx context.Context, number uint64) (int, error) {
	return c.purge(ctx, inboxBody{Number: number})
}

// PurgeRefusedOf drops the refused commands of an actor that the token may see, and says how many; `-` stands for those whose token was not valid.
func (c *Client) PurgeRefusedOf(ctx context.Context, actor string) (int, error) {
	return c.purge(ctx, inboxBody{Actor: actor})
}

func (c *Client) purge(ctx context.Context, body inboxBody) (int, error) {
	for total := 0; ; {
		var answer struct {
			Purged int  `json:"purged"`
			More   bool `json:"more"`
		}
		err := c.act(ctx, "inbox", "purge", body, &answer)
		if total += answer.Purged; err != nil || !answer.More {
			return total, err
		}
	}
}
