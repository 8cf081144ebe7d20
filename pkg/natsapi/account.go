package natsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/streams"
)

const systemTimeout = 5 * time.Second

// LookupAccount reads the present JWT of an account over a connection whose account imports that question; nats.ErrNoResponders: it does not.
func LookupAccount(ctx context.Context, asking *nats.Conn, account string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, systemTimeout)
	defer cancel()
	m, err := asking.RequestWithContext(ctx, streams.LookUpAccount(account), nil)
	if err != nil {
		return "", fmt.Errorf("look up account %s: %w", account, err)
	}
	if len(m.Data) == 0 {
		return "", fmt.Errorf("look up account %s: the server does not know it", account)
	}
	return string(m.Data), nil
}

// UpdateAccount puts another JWT of an account into force, over a connection as LookupAccount has it. It is kept by the servers' account resolvers.
func UpdateAccount(ctx context.Context, asking *nats.Conn, jwt string) error {
	ctx, cancel := context.WithTimeout(ctx, systemTimeout)
	defer cancel()
	m, err := asking.RequestWithContext(ctx, streams.UpdateAccount, []byte(jwt))
	if err != nil {
		return fmt.Errorf("update account: %w", err)
	}
	var answer struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("update account: the answer cannot be read: %w", err)
	}
	if answer.Error != nil {
		return errors.New("update account: " + answer.Error.Description)
	}
	return nil
}
