package reencrypt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/jetlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/pkg/verify"
)

// store is one of the two stores, behind a server of its own.
type store struct {
	node *node.Node
	site string
	keys *keyring.Secrets
	conn map[keyring.Account]*nats.Conn
	js   map[keyring.Account]jetstream.JetStream
}

// accounts are those that have streams.
func accounts() []keyring.Account { return []keyring.Account{keyring.LOG, keyring.APP} }

// open starts a server on a store. One that is being made is not flushed message by message, which would take as long as writing it did: all of it is flushed
// when it is whole (settle), and read back before.
func (c Config) open(ctx context.Context, dir, keyFile string) (s *store, err error) {
	keys, err := keyring.Load(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, run.KeyProblem(err)
	}
	secrets, err := keys.Open(c.DEK)
	if err != nil {
		return nil, run.KeyProblem(err)
	}
	s = &store{site: keys.Site(), keys: secrets, conn: map[keyring.Account]*nats.Conn{}, js: map[keyring.Account]jetstream.JetStream{}}
	s.node, err = node.Start(ctx, node.Config{
		StoreDir: run.StoreDir(dir), ResolverDir: run.AccountsDir(dir), Host: "127.0.0.1", Keyring: keys, Secrets: secrets, Log: c.Log.With().Str("folder", dir).Logger(),
		NoSync: keyFile == copyingKeys,
	})
	if err != nil {
		return nil, err
	}
	for _, account := range accounts() {
		if s.conn[account], err = s.node.Conn(account, jetlog.ConnectOptions()...); err == nil {
			s.js[account], err = jetstream.New(s.conn[account])
		}
		if err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

func (s *store) close() {
	for _, nc := range s.conn {
		if nc != nil {
			nc.Close()
		}
	}
	s.node.Shutdown()
}

// copied copies every stream, compares it, and verifies every log of the copy. Both servers have ended when it returns.
func (c Config) copied(ctx context.Context) error {
	c.Progress("opening both stores")
	from, err := c.open(ctx, c.From, run.KeyFile)
	if err != nil {
		return err
	}
	defer from.close()
	to, err := c.open(ctx, c.To, copyingKeys)
	if err != nil {
		return err
	}
	defer to.close()
	for _, account := range accounts() {
		if err := c.account(ctx, account, from, to); err != nil {
			return err
		}
	}
	return c.verify(ctx, to)
}

func (c Config) account(ctx context.Context, account keyring.Account, from, to *store) error {
	wanted, err := from.streams(ctx, account)
	if err != nil {
		return err
	}
	made, err := to.streams(ctx, account)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if _, ok := wanted[name]; !ok {
			return problem.New(problem.Conflict, "the new store holds stream %s, and the old one does not", name).WithHint("remove the new folder and begin again")
		}
	}
	for i, name := range slices.Sorted(maps.Keys(wanted)) {
		c.Progress("account %s, stream %d of %d: %s, %d messages, %s", account, i+1, len(wanted), name, wanted[name].State.Msgs, space.Format(wanted[name].State.Bytes))
		one := streamCopy{wanted[name], made[name], side{from.conn[account], from.js[account]}, side{to.conn[account], to.js[account]}, c.meter()}
		if err := one.run(ctx); err != nil {
			return fmt.Errorf("copy stream %s of account %s: %w", name, account, err)
		}
	}
	return nil
}

// streamCopy is the copy of one stream.
type streamCopy struct {
	wanted, made *jetstream.StreamInfo // made: by a run that was cut short; nil: not yet
	from, to     side
	meter        *meter
}

// side is one of the two servers, in an account.
type side struct {
	conn *nats.Conn
	js   jetstream.JetStream
}

// run copies the stream, unless a run that was cut short has, and compares it message by message.
func (s streamCopy) run(ctx context.Context) error {
	name := s.wanted.Config.Name
	if s.made != nil && !alike(s.wanted, s.made) {
		if err := s.to.js.DeleteStream(ctx, name); err != nil {
			return err
		}
		s.made = nil
	}
	if s.made == nil {
		if err := s.transfer(ctx); err != nil {
			return err
		}
	}
	again, err := s.to.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	if !alike(s.wanted, again.CachedInfo()) {
		return differs("its settings or its bounds")
	}
	return s.compare(ctx)
}

func differs(what string) error {
	return problem.New(problem.Damaged, "the copy differs from the original: %s", what).WithHint("nothing was given up; remove the new folder and begin again")
}

// alike reports whether two streams have the same settings, bounds and number of messages.
func alike(a, b *jetstream.StreamInfo) bool {
	return firstOf(a) == firstOf(b) && a.State.LastSeq == b.State.LastSeq && a.State.Msgs == b.State.Msgs && a.State.NumDeleted == b.State.NumDeleted &&
		settingsOf(a) == settingsOf(b)
}

// firstOf is the sequence of the first message; of a stream without one that of the next, however the server counts there.
func firstOf(i *jetstream.StreamInfo) uint64 {
	if i.State.Msgs == 0 {
		return i.State.LastSeq + 1
	}
	return i.State.FirstSeq
}

// settingsOf are a stream's settings without what the server notes in them of itself.
func settingsOf(i *jetstream.StreamInfo) string {
	config := i.Config
	config.Metadata = maps.Clone(config.Metadata)
	maps.DeleteFunc(config.Metadata, func(key, _ string) bool { return strings.HasPrefix(key, "_nats.") })
	text, err := json.Marshal(config)
	if err != nil {
		return err.Error() // cannot be: it came as JSON
	}
	return string(text)
}

func (s *store) streams(ctx context.Context, account keyring.Account) (map[string]*jetstream.StreamInfo, error) {
	all := map[string]*jetstream.StreamInfo{}
	list := s.js[account].ListStreams(ctx)
	for info := range list.Info() {
		all[info.Config.Name] = info
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list the streams of account %s: %w", account, err)
	}
	return all, nil
}

// verify proves every log of the new store, as aggregate:verify --all does.
func (c Config) verify(ctx context.Context, to *store) error {
	logs, err := c.logs(to)
	if err != nil {
		return err
	}
	names, err := logs.List(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		c.Progress("verifying log %s", name)
		log, err := logs.Open(ctx, name)
		if err != nil {
			return err
		}
		m := c.meter()
		report, err := verify.All(ctx, log, func(done, total uint64) { m.at("  verified %d of %d blocks", done, total) })
		if err != nil {
			return err
		}
		if failures := report.Failures(); len(failures) > 0 {
			return problem.New(problem.VerificationFailed, "log %s does not verify: %s %s", name, failures[0].Verdict, failures[0].Detail).
				WithHint("nothing was given up; `eventful aggregate:verify --all` on the old folder says whether it is so there too")
		}
	}
	return nil
}

// logs are those of a store, together with what the archive has of them. Its key is the same in both folders.
func (c Config) logs(of *store) (eventlog.Store, error) {
	logs, err := jetlog.New(of.conn[keyring.LOG], of.site, jetlog.Options{})
	if err != nil {
		return nil, err
	}
	kept, err := c.Archive.Open(of.site, of.keys)
	if err != nil || kept == nil {
		return logs, err
	}
	return archive.Join(logs, kept), nil
}

// errEnded: a server stopped answering in the middle.
var errEnded = errors.New("the stream of parts ended early")
