package run

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/writer"
	"github.com/eventfuldb/eventful/streams"
)

// MaxBreakGlass is the longest life of a break-glass credential.
const MaxBreakGlass = 24 * time.Hour

// usePatience is how long the use of a credential is tried to be recorded while nobody writes the system log.
const usePatience = 30 * time.Second

// checkCredential reads a user that is to be recorded: a break-glass one, which ends within a day, and of which the proof says who takes it.
func (e Engines) checkCredential(userJWT, proof string) (c writer.Credential, p *problem.Problem) {
	if c, p = e.breakGlass(userJWT); p != nil {
		return c, p
	}
	if time.Until(c.Expires) > MaxBreakGlass {
		return c, problem.New(problem.Forbidden, "the credential lives longer than %s", MaxBreakGlass).WithHint("give a shorter --expiration")
	}
	c.Taken, p = e.takenBy(c.User, proof)
	return c, p
}

// takenBy says who takes a credential: the proof is an act that names it, signed with the keys of the site.
func (e Engines) takenBy(user, proof string) (map[string]string, *problem.Problem) {
	keys, err := keyring.Load(filepath.Join(e.Dir, KeyFile))
	if err != nil {
		return nil, problem.From(KeyProblem(err))
	}
	act, err := keys.ReadAct(proof)
	if err != nil {
		return nil, problem.New(problem.Malformed, "who takes the credential cannot be read: %.200s", err).WithHint("make it with `eventful creds break-glass` of the writer's version")
	}
	if act.Event != keyring.ActCredentials || act.Settings["role"] != string(streams.RoleBreakGlass) || act.Settings["users"] != user {
		return nil, problem.New(problem.Forbidden, "what says who takes the credential is about another one").WithHint("make it with `eventful creds break-glass`")
	}
	return map[string]string{"user": act.User, "host": act.Host, "proved": act.Proved, "proof": act.Proof}, nil
}

// breakGlass reads a user of this site's account LOG, signed by its key, and named as break-glass ones are.
func (e Engines) breakGlass(userJWT string) (writer.Credential, *problem.Problem) {
	claims, err := jwt.DecodeUserClaims(userJWT)
	if err != nil {
		return writer.Credential{}, problem.New(problem.Malformed, "the credential cannot be read: %.200s", err).WithHint("make it with `eventful creds break-glass`")
	}
	logs := e.Secrets.Accounts[keyring.LOG]
	signer, err := nkeys.FromSeed(logs.SigningSeed)
	if err != nil {
		return writer.Credential{}, problem.New(problem.Internal, "read the signing key of account LOG: %v", err)
	}
	id, err := signer.PublicKey()
	if err != nil {
		return writer.Credential{}, problem.New(problem.Internal, "read the signing key of account LOG: %v", err)
	}
	if claims.Issuer != id || claims.IssuerAccount != logs.ID || claims.Name != string(streams.RoleBreakGlass) || claims.Expires == 0 {
		return writer.Credential{}, problem.New(problem.Forbidden, "the credential is no break-glass one of this site").WithHint("make it with `eventful creds break-glass`")
	}
	return writer.Credential{User: claims.Subject, Role: claims.Name, Issuer: claims.Issuer, Expires: time.Unix(claims.Expires, 0)}, nil
}

// connected is the part that is read of what nats-server says when a client has connected.
type connected struct {
	Client struct {
		JWT  string `json:"jwt"`
		Host string `json:"host"`
		Name string `json:"name"`
	} `json:"client"`
}

// watchUses records who connects to the account of the logs with a break-glass credential. Every writer hears of it; the one that writes the system log records it.
func (e Engines) watchUses(ctx context.Context, c *connections, w *writer.Writer) error {
	heard := make(chan *nats.Msg, 256)
	sub, err := c.asking.ChanSubscribe(streams.Connects(e.Secrets.Accounts[keyring.LOG].ID), heard)
	if err != nil {
		return err
	}
	var recording sync.WaitGroup
	defer recording.Wait()
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed
	for {
		select {
		case m := <-heard:
			var who connected
			if json.Unmarshal(m.Data, &who) != nil {
				continue
			}
			if credential, p := e.breakGlass(who.Client.JWT); p == nil {
				recording.Go(func() { e.recordUse(ctx, w, credential, who) })
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// recordUse records it if this process writes the system log, or comes to write it soon: around a take-over a use may be recorded twice, and is not lost.
func (e Engines) recordUse(ctx context.Context, w *writer.Writer, credential writer.Credential, who connected) {
	ctx, cancel := context.WithTimeout(ctx, usePatience)
	defer cancel()
	log := e.Log.With().Str("user", credential.User).Str("host", who.Client.Host).Logger()
	log.Warn().Msg("somebody connected with a break-glass credential")
	p := whileLeading(ctx, w, func() *problem.Problem { return w.RecordUse(ctx, credential, who.Client.Host, who.Client.Name) })
	if p != nil {
		log.Error().Err(p).Msg("use of a break-glass credential could not be recorded")
	}
}

// whileLeading does something as soon as this process writes the system log, and again until it is done or ctx ends. The problem is that of the last try; nil too if there was none.
func whileLeading(ctx context.Context, w *writer.Writer, do func() *problem.Problem) (last *problem.Problem) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if w.LeadsSystem() {
			if last = do(); last == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last
		}
	}
}
