package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/eventfuldb/eventful/pkg/keyring"
)

// accounts is the resolver with what nats-server leaves out: it overwrites account JWTs in place and does not flush them, so a flushed
// copy of each lies beside it (<id>.saved).
type accounts struct {
	dir      string
	resolver *server.DirAccResolver
	keys     *keyring.Keyring
	secrets  *keyring.Secrets

	mu sync.Mutex // guards the copies
}

// syncEvery is how often servers of a cluster compare their account JWTs.
const syncEvery = time.Minute

// openAccounts gives the resolver the newest sound JWT of each account: the saved copy, its own, or the one that the key file was made with. Of two that
// were signed in the same second the copy wins, since it is what was confirmed. Accounts of older sites get the questions that engines ask the server now.
func openAccounts(dir string, keys *keyring.Keyring, secrets *keyring.Secrets) (*accounts, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make resolver folder: %w", err)
	}
	resolver, err := server.NewDirAccResolver(dir, 0, syncEvery, server.NoDelete)
	if err != nil {
		return nil, fmt.Errorf("open account resolver in %s: %w", dir, err)
	}
	a := &accounts{dir: dir, resolver: resolver, keys: keys, secrets: secrets}
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP, keyring.SYS} {
		if err := a.seed(account); err != nil {
			resolver.Close()
			return nil, fmt.Errorf("prepare account %s: %w", account, err)
		}
	}
	return a, nil
}

func (a *accounts) seed(account keyring.Account) error {
	id, initial := a.keys.AccountID(account), a.keys.AccountJWT(account)
	present, _ := a.resolver.LoadAcc(id) // absent, or not readable: the others stand in
	saved, _ := os.ReadFile(a.savedPath(id))
	best := initial
	for _, candidate := range []string{present, string(saved)} {
		if a.issued(id, candidate) >= a.issued(id, best) {
			best = candidate
		}
	}
	best, _, err := a.secrets.Asking(account, best)
	if err != nil || best == present {
		return err
	}
	return a.resolver.SaveAcc(id, best)
}

// issued is when the account was signed, in seconds; -1 for what is no JWT of this account that the operator signed.
func (a *accounts) issued(id, text string) int64 {
	if text == "" {
		return -1
	}
	claims, err := jwt.DecodeAccountClaims(text)
	if err != nil || claims.Subject != id || !slices.Contains(a.keys.OperatorKeys(), claims.Issuer) {
		return -1
	}
	return claims.IssuedAt
}

func (a *accounts) present(id string) (string, error) {
	text, err := a.resolver.LoadAcc(id)
	if err != nil {
		return "", fmt.Errorf("read account %s: %w", id, err)
	}
	return text, nil
}

// save copies the present JWTs that differ from their copies, flushed. A JWT that is not sound is never copied.
func (a *accounts) save() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP, keyring.SYS} {
		id := a.keys.AccountID(account)
		text, err := a.present(id)
		if err != nil {
			return err
		}
		saved, _ := os.ReadFile(a.savedPath(id)) // absent: written now
		if string(saved) == text || a.issued(id, text) < 0 {
			continue
		}
		if err := replaceFile(a.savedPath(id), []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func (a *accounts) savedPath(id string) string { return filepath.Join(a.dir, id+".saved") }
