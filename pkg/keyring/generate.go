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

// addAccount makes an account with one unscoped signing key. Its identity seed is forgotten: the operator signs the account.
func (k *Keyring) addAccount(a Account, operator nkeys.KeyPair, secrets *Secrets) error {
	identity, err := nkeys.CreateAccount()
	if err != nil {
		return fmt.Errorf("create account %s: %w", a, err)
	}
	id, err := identity.PublicKey()
	if err != nil {
		return fmt.Errorf("read public key of %s: %w", a, err)
	}
	signing, err := nkeys.CreateAccount()
	if err != nil {
		return fmt.Errorf("create signing key of %s: %w", a, err)
	}
	signingID, signingSeed, err := publicAndSeed(signing)
	if err != nil {
		return err
	}
	claims := jwt.NewAccountClaims(id)
	claims.Name = string(a)
	claims.SigningKeys.Add(signingID)
	if a != SYS { // APP holds the durable inbox; the system account cannot have JetStream
		claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
			MaxAckPending: jwt.NoLimit, MemoryMaxStreamBytes: jwt.NoLimit, DiskMaxStreamBytes: jwt.NoLimit}
	}
	text, err := claims.Encode(operator)
	if err != nil {
		return fmt.Errorf("sign account %s: %w", a, err)
	}
	k.file.Accounts[a] = accountInfo{ID: id, JWT: text}
	secrets.Accounts[a] = AccountSecret{ID: id, SigningSeed: signingSeed}
	return nil
}
