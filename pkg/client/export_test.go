package client

import (
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
