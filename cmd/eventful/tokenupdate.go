package main

import (
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/token"
)

const tokenUpdateHelp = `Change the name, the rights or the ceilings of an auth key: what is given, and nothing else. It needs the master key, as making one does.

  eventful token:update PUBLIC-ID --actions=read,verify,admin --max-expiration=86400

When it returns, tokens that go beyond the new rights or ceilings are refused, also those that were made before; connections of its tokens are
closed where the actions or the name changed, and come back with the new rights. It cannot bring back an auth key that was revoked.`

func newTokenUpdateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "token:update AUTH-KEY-ID", Short: "Change the rights or ceilings of an auth key", Long: tokenUpdateHelp, Args: cobra.ExactArgs(1)}
	var f tokenFlags
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "", "`name`, for people")
	flags.StringSliceVar(&f.aggregates, "aggregates", nil, "aggregate `types` that its tokens may be for; * is all")
	flags.StringSliceVar(&f.actions, "actions", nil, "what its tokens may do: write, read, verify, archive, admin")
	flags.Uint64Var(&f.maxLimit, "max-limit", 0, "the largest --limit of its tokens; 0: no ceiling")
	flags.Uint64Var(&f.maxExpiration, "max-expiration", 0, "the longest --expiration of its tokens in seconds; 0: no ceiling")
	masterKeyFlags(cmd)
	timeoutFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.HasPrefix(args[0], "SA") {
			return usageError("the public id begins with A; take the secret for known to others, and revoke it", "this is the secret of an auth key, and its public id is wanted")
		}
		if err := f.checkLists(cmd); err != nil {
			return err
		}
		return a.updateKey(cmd, args[0], f)
	}
	return cmd
}

// updateKey reads the key, and has the operator sign what it is to be for the version that was read.
func (a *app) updateKey(cmd *cobra.Command, id string, f tokenFlags) error {
	operator, err := a.operatorSeed()
	if err != nil {
		return err
	}
	defer clear(operator)
	credential, account, err := a.keyHolder()
	if err != nil {
		return err
	}
	c, err := a.dial(cmd, client.Static(credential))
	if err != nil {
		return err
	}
	defer c.Close()
	present, err := c.KeyShow(cmd.Context(), id)
	if err != nil {
		return err
	}
	key := f.changed(cmd, present)
	order, err := token.Order{Act: token.OrderUpdateKey, ID: id, Version: present.Version, Key: &key}.Sign(operator, account, time.Now())
	if err != nil {
		return err
	}
	if err := c.KeyUpdate(cmd.Context(), id, order); err != nil {
		return err
	}
	if present, err = c.KeyShow(cmd.Context(), id); err != nil {
		return err
	}
	return a.showKey(present)
}

// changed is the key with what the flags give.
func (f *tokenFlags) changed(cmd *cobra.Command, k *client.KeyInfo) token.Key {
	key := token.Key{ID: k.ID, Name: k.Name, Aggregates: k.Aggregates, Actions: actionsOf(k.Actions), MaxLimit: k.MaxLimit, MaxExpiration: time.Duration(k.MaxExpiration) * time.Second}
	for flag, set := range map[string]func(){
		"name":           func() { key.Name = f.name },
		"aggregates":     func() { key.Aggregates = trimmed(f.aggregates) },
		"actions":        func() { key.Actions = actionsOf(f.actions) },
		"max-limit":      func() { key.MaxLimit = f.maxLimit },
		"max-expiration": func() { key.MaxExpiration = time.Duration(min(f.maxExpiration, maxExpiration)) * time.Second },
	} {
		if cmd.Flags().Changed(flag) {
			set()
		}
	}
	return key
}

// keyHolder is the credential for acts that the operator signs, and the public id of the account that it is of.
func (a *app) keyHolder() (credential, account string, err error) {
	if credential, err = a.keyCredential(); err != nil {
		return "", "", err
	}
	holder, err := jwt.DecodeUserClaims(credential)
	if err != nil {
		return "", "", problem.New(problem.Internal, "the local credential cannot be read: %v", err)
	}
	if account = holder.IssuerAccount; account == "" {
		account = holder.Issuer
	}
	return credential, account, nil
}
