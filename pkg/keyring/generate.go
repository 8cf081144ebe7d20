package keyring

import (
	"fmt"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// generate fills the public part of k and gives what is to be sealed.
func (k *Keyring) generate() (operatorSeed []byte, secrets *Secrets, err error) {
	operator, err := nkeys.CreateOperator()
	if err != nil {
		return nil, nil, fmt.Errorf("create operator: %w", err)
	}
	secrets = newSecrets()
	for _, a := range []Account{LOG, APP, SYS} {
		if secrets.Accounts[a], err = newAccount(); err != nil {
			return nil, nil, fmt.Errorf("create account %s: %w", a, err)
		}
	}
	k.file.Accounts = make(map[Account]accountInfo)
	for _, a := range []Account{LOG, APP, SYS} {
		if err := k.addAccount(a, operator, secrets); err != nil {
			return nil, nil, err
		}
	}
	public, operatorSeed, err := publicAndSeed(operator)
	if err != nil {
		return nil, nil, err
	}
	claims := jwt.NewOperatorClaims(public)
	claims.Name, claims.SystemAccount = k.file.Site, k.file.Accounts[SYS].ID
	signing, err := nkeys.CreateOperator()
	if err != nil {
		return nil, nil, fmt.Errorf("create signing key of the operator: %w", err)
	}
	signingID, signingSeed, err := publicAndSeed(signing)
	if err != nil {
		return nil, nil, err
	}
	claims.SigningKeys.Add(signingID)
	secrets.OperatorSigningSeed = signingSeed
	if k.file.Operator, err = claims.Encode(operator); err != nil {
		return nil, nil, fmt.Errorf("sign operator: %w", err)
	}
	return operatorSeed, secrets, nil
}

// newAccount makes an account with one unscoped signing key. Its identity seed is forgotten: the operator signs the account.
func newAccount() (made AccountSecret, err error) {
	identity, err := nkeys.CreateAccount()
	if err != nil {
		return made, err
	}
	if made.ID, err = identity.PublicKey(); err != nil {
		return made, err
	}
	signing, err := nkeys.CreateAccount()
	if err != nil {
		return made, err
	}
	made.SigningSeed, err = signing.Seed()
	return made, err
}

// addAccount signs an account, with what it asks the servers or answers.
func (k *Keyring) addAccount(a Account, operator nkeys.KeyPair, secrets *Secrets) error {
	secret := secrets.Accounts[a]
	signing, err := nkeys.FromSeed(secret.SigningSeed)
	if err != nil {
		return fmt.Errorf("read signing key of %s: %w", a, err)
	}
	signingID, err := signing.PublicKey()
	if err != nil {
		return fmt.Errorf("read signing key of %s: %w", a, err)
	}
	claims := jwt.NewAccountClaims(secret.ID)
	claims.Name = string(a)
	claims.SigningKeys.Add(signingID)
	if a != SYS { // APP holds the durable inbox; the system account cannot have JetStream
		claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
			MaxAckPending: jwt.NoLimit, MemoryMaxStreamBytes: jwt.NoLimit, DiskMaxStreamBytes: jwt.NoLimit}
	}
	secrets.ask(a, claims)
	text, err := claims.Encode(operator)
	if err != nil {
		return fmt.Errorf("sign account %s: %w", a, err)
	}
	k.file.Accounts[a] = accountInfo{ID: secret.ID, JWT: text}
	return nil
}
