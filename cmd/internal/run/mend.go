package run

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// mendAccounts brings SYS and LOG of a site that an older eventful made to what engines ask the servers through (docs/adr/0013-questions.md), SYS first. Several engines may do so at once:
// each signs the same. A crash between the two leaves SYS with what nobody imports yet, and the next start goes on. APP is brought along by who writes the system log.
func (e Engines) mendAccounts(ctx context.Context) error {
	nc, err := e.connectMender()
	if err != nil {
		return err
	}
	defer nc.Close()
	for _, account := range []keyring.Account{keyring.SYS, keyring.LOG} {
		present, err := natsapi.LookupAccount(ctx, nc, e.Secrets.Accounts[account].ID)
		if err != nil {
			return err
		}
		wanted, changed, err := e.Secrets.Asking(account, present)
		if err != nil {
			return fmt.Errorf("bring account %s up to date: %w", account, err)
		}
		if !changed {
			continue
		}
		if err := natsapi.UpdateAccount(ctx, nc, wanted); err != nil {
			return fmt.Errorf("bring account %s up to date: %w", account, err)
		}
		e.Log.Info().Str("account", string(account)).Msg("account of an older eventful was brought up to date: engines ask the servers through account LOG now")
	}
	return nil
}

// connectMender connects in account SYS with the right to look accounts up and update them. The caller closes it, soon.
func (e Engines) connectMender() (*nats.Conn, error) {
	nc, err := e.Connect(keyring.SYS, []streams.Role{streams.RoleMender}, nats.NoReconnect())
	if err != nil {
		return nil, problem.New(problem.Unavailable, "the accounts of this site are those of an older eventful, and cannot be brought up to date: %v", err).
			WithHint("the nats-servers must let users of account SYS connect until an engine has started once")
	}
	return nc, nil
}
