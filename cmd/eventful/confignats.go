package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const natsConfigHead = `# What nats-server must know of site %s: whom it trusts. Made by "eventful config show --nats"; it holds no secrets.
# An account that a server has already is replaced by a newer one only.
`

// showNATS prints the part of a nats-server's configuration that makes it trust the site: to be included in one that others run.
func (a *app) showNATS() error {
	keys, err := a.loadKeys()
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.out, natsConfig(keys))
	return err
}

func natsConfig(keys *keyring.Keyring) string {
	var b strings.Builder
	fmt.Fprintf(&b, natsConfigHead, keys.Site())
	fmt.Fprintf(&b, "operator: %q\nsystem_account: %q\nresolver_preload: {\n", keys.OperatorJWT(), keys.AccountID(keyring.SYS))
	for _, account := range []keyring.Account{keyring.LOG, keyring.APP, keyring.SYS} {
		fmt.Fprintf(&b, "  # %s\n  %q: %q\n", account, keys.AccountID(account), keys.AccountJWT(account))
	}
	b.WriteString("}\n")
	return b.String()
}

func (a *app) loadKeys() (*keyring.Keyring, error) {
	if err := a.mustBeConfigured(); err != nil {
		return nil, err
	}
	keys, err := keyring.Load(filepath.Join(a.settings.DataDir, run.KeyFile))
	return keys, run.KeyProblem(err)
}

// openKeys opens the key file with the DEK, as start does.
func (a *app) openKeys() (*keyring.Keyring, *keyring.Secrets, error) {
	dek, err := a.dek()
	if err != nil {
		return nil, nil, err
	}
	keys, err := a.loadKeys()
	if err != nil {
		return nil, nil, err
	}
	secrets, err := keys.Open(dek)
	return keys, secrets, run.KeyProblem(err)
}

// keyCredential is what may add an auth key: the credential that the server on the data folder left, or for a --server one made from the key file.
func (a *app) keyCredential() (string, error) {
	if a.settings.Server == "" {
		credential, err := a.localCredential()
		if err == nil && credential == "" {
			err = notRunning(a.settings.DataDir)
		}
		return credential, err
	}
	_, secrets, err := a.openKeys()
	if err != nil {
		return "", err
	}
	credential, _, err := secrets.LocalUser()
	if err != nil {
		return "", problem.New(problem.Internal, "make a credential for %s: %v", a.settings.Server, err)
	}
	return credential, nil
}
