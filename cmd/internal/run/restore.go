package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/natsapi"
	"github.com/eventfuldb/eventful/pkg/token"
	"github.com/eventfuldb/eventful/pkg/writer"
)

// account brings the account APP on the servers to what the system log records. The operator approved each key when it was recorded; its signing key signs the account
// again. Only the process that writes the system log changes the account, after each change and when it begins to write it: so what a crash left undone, a
// server's account file that was lost or put back from an older copy, and templates of an earlier version are mended.
type account struct {
	id        string
	secrets   *keyring.Secrets
	app       *nats.Conn
	mend      func() (*nats.Conn, error) // connects in account SYS
	confirmed func() error               // makes an updated account durable
	writer    *writer.Writer
	log       zerolog.Logger

	brought chan struct{} // closed when it was looked at for the first time
	mu      sync.Mutex    // held while the account is changed
}

// account lets the doors read and change the account, and check credentials that are to be recorded, if there is a writer.
func (e Engines) account(app *nats.Conn, api *natsapi.Config) *account {
	a := &account{id: e.Secrets.Accounts[keyring.APP].ID, secrets: e.Secrets, app: app, mend: e.connectMender, confirmed: e.Confirmed, log: e.Log, brought: make(chan struct{})}
	if a.confirmed == nil {
		a.confirmed = func() error { return nil }
	}
	if a.writer = api.Writer; a.writer != nil {
		api.AccountID, api.Account, api.Bring, api.Credential = a.id, a.present, a.bring, e.checkCredential
	}
	return a
}

func (a *account) present(ctx context.Context) (text string, err error) {
	err = a.ask(func(nc *nats.Conn) error {
		text, err = natsapi.LookupAccount(ctx, nc, a.id)
		return err
	})
	return text, err
}

// ask asks the servers through APP, or in SYS while APP is an account of an older site.
func (a *account) ask(do func(*nats.Conn) error) error {
	err := do(a.app)
	if !errors.Is(err, nats.ErrNoResponders) {
		return err
	}
	nc, err := a.mend()
	if err != nil {
		return err
	}
	defer nc.Close()
	return do(nc)
}

// wanted is the account as the system log records it, with the questions that the writer asks.
func (a *account) wanted(present string, recorded token.Recorded) (text string, changed bool, err error) {
	text, changed, err = token.BringAccount(present, a.secrets.OperatorSigningSeed, recorded, time.Now())
	if err != nil {
		return "", false, err
	}
	text, asks, err := a.secrets.Asking(keyring.APP, text)
	return text, changed || asks, err
}

// bring changes the account if it is not as recorded.
func (a *account) bring(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, bringPatience)
	defer cancel()
	if p := a.writer.Current(ctx); p != nil { // who writes the log now knows more
		return errors.New("the system log is written by another process")
	}
	present, err := a.present(ctx)
	if err != nil {
		return err
	}
	recorded := a.writer.Recorded()
	wanted, changed, err := a.wanted(present, recorded)
	if err != nil || !changed {
		return err
	}
	if err := a.ask(func(nc *nats.Conn) error { return natsapi.UpdateAccount(ctx, nc, wanted) }); err != nil {
		return err
	}
	if err := a.confirmed(); err != nil {
		return fmt.Errorf("make account APP durable: %w", err)
	}
	a.log.Info().Int("keys", len(recorded.Keys)).Int("revoked", len(recorded.Revoked)).Msg("account APP was brought to what the system log records")
	return nil
}

const (
	bringPatience = 10 * time.Second
	bringRetry    = time.Second      // until a server that did not take the account is asked again
	bringLater    = 15 * time.Second // for the act that changed something to bring the account along itself, behind its barrier
)

// run brings the account along until ctx ends: at once when this process begins to write the system log, else some time behind a change, which an act has followed up by then.
func (a *account) run(ctx context.Context) error {
	select {
	case <-a.writer.Ready():
	case <-ctx.Done():
		return nil
	}
	wait := time.NewTimer(0)
	defer wait.Stop()
	var first sync.Once
	waiting, led := true, true
	for {
		changed, leads := a.writer.AccountChanges(), a.writer.LeadsSystem()
		if leads && !led {
			waiting = true
			wait.Reset(0)
		}
		led = leads
		select {
		case <-changed:
			if !waiting {
				waiting = true
				wait.Reset(bringLater)
			}
			continue
		case <-wait.C:
			waiting = false
		case <-ctx.Done():
			return nil
		}
		if leads {
			if err := a.bring(ctx); err != nil && ctx.Err() == nil {
				a.log.Warn().Err(err).Msg("account APP could not be brought to what the system log records")
				waiting = true
				wait.Reset(bringRetry)
			}
		}
		first.Do(func() { close(a.brought) })
	}
}
