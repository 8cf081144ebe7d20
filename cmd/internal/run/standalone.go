package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/internal/heap"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
	"github.com/eventfuldb/eventful/streams"
)

// Standalone is a program that runs engines against any NATS cluster, instead of the one in `eventful start`.
type Standalone struct {
	Name      string // of the program
	Short     string // what it does, in one line
	Writer    bool
	Projector bool
	Runner    bool
}

// Main runs the program until it is told to stop, and gives its exit status. It logs to standard error.
func (s Standalone) Main() (status int) {
	defer func() {
		if r := recover(); r != nil {
			status = complain(problem.New(problem.Internal, "a fault of %s itself: %v", s.Name, r))
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) }) // a second interrupt ends the process at once
	started := false
	cmd := &cobra.Command{
		Use: s.Name, Short: s.Short, Version: Version(), Args: cobra.NoArgs, SilenceErrors: true, SilenceUsage: true,
		Long: s.Short + ".\n\nThe data folder must hold the site's keys.json, which `eventful config` makes; the state that is kept beside it can be rebuilt.\n" +
			"Settings come from flags, then EVENTFUL_* in the environment, then config.toml in the data folder, then defaults.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			started = true
			return s.serve(cmd)
		},
	}
	s.flags(cmd)
	if s.Writer {
		cmd.Flags().Int("replicas", 1, "`servers` that hold each log that is made from now on: 1, 3 or 5")
	}
	switch err := cmd.ExecuteContext(ctx); {
	case err == nil:
		return 0
	case started:
		return complain(err)
	default:
		return complain(problem.New(problem.Malformed, "%v", err).WithHint("`%s --help` shows all flags", s.Name))
	}
}

func (s Standalone) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("data-dir", "./.eventful", "`folder` of keys.json and of the engine's state")
	flags.String("nats-url", "nats://127.0.0.1:4222", "`url` of the NATS servers, separated by commas")
	for _, account := range []string{"log", "app"} {
		flags.String(account+"-creds", "", "credentials `file` of this role in that account, as `eventful creds` makes it; made from keys.json if not given")
	}
	flags.String("sys-creds", "", "not used any more: engines have no user in account SYS")
	flags.String("dek", "", "the DEK; others can see it here, so give --dek-file or EVENTFUL_DEK instead")
	flags.String("dek-file", "", "`file` that holds the DEK; - is standard input")
	flags.String("site", "", "the site that keys.json must belong to")
	flags.Int("memory-threshold", 100000, "decoded `events` kept in memory, first in first out")
	flags.String("min-free", "1GiB", "`bytes` that must stay free of the disk of --data-dir and of each server's store")
	flags.Int("min-free-percent", 5, "the same as a part of them in percent; the larger of the two counts")
	flags.String("archiver-creds", "", "the same for role archiver in account LOG, which the projector purges with when it archives")
	ArchiveFlags(flags)
	if s.Runner {
		PluginFlags(flags)
		runnerFlags(flags)
	}
	flags.String("http", "", "`address` (host:port) of /livez, /readyz and /metrics; none if not given")
	flags.String("log-level", "info", "trace, debug, info, warn or error")
	flags.String("tls-ca", "", "PEM `file` of the CA of the NATS servers: connections to them are TLS")
	flags.String("tls-cert", "", "PEM `file` of the certificate for --http; read again when it changes")
	flags.String("tls-key", "", "PEM `file` of its key")
	flags.Bool("insecure", false, "let --http listen off loopback without TLS")
}

func (s Standalone) serve(cmd *cobra.Command) error {
	config, err := settings.Load(cmd.Flags())
	if err != nil {
		return err
	}
	out := io.Writer(os.Stderr)
	if term.IsTerminal(int(os.Stderr.Fd())) {
		out = Console(os.Stderr, os.Getenv("NO_COLOR") == "")
	}
	logger, err := Logger(out, config.LogLevel)
	if err != nil {
		return err
	}
	keys, secrets, err := openKeys(config)
	if err != nil {
		return err
	}
	replicas, err := strconv.Atoi(cmp.Or(config.Text("replicas"), "1")) // checked when it was loaded
	if err != nil {
		return err
	}
	if config.Text("sys-creds") != "" {
		logger.Warn().Msg("--sys-creds is not used any more: no engine needs a credential in account SYS, and that file should be destroyed")
	}
	link := outside{config, keys, secrets, s.Name, logger}
	engines := Engines{
		Site: keys.Site(), Dir: config.DataDir, Secrets: secrets, Connect: link.connect, Make: link.maker, Operators: keys.OperatorKeys(),
		Writer: s.Writer, Projector: s.Projector, Runner: s.Runner, Programs: config.Programs, PluginPII: config.Text("plugin-pii") == "true", Replicas: replicas, MemoryThreshold: config.MemoryThreshold, Limits: config.Space, Log: logger,
	}
	if err := ArchiveOf(config).give(&engines); err != nil {
		return err
	}
	return withHealth(cmd.Context(), config.Text("http"), TLS{config.TLSCert, config.TLSKey, config.Insecure}, engines, logger)
}

func openKeys(config *settings.Config) (*keyring.Keyring, *keyring.Secrets, error) {
	if !Configured(config.DataDir) {
		return nil, nil, problem.New(problem.NotFound, "there is no %s", filepath.Join(config.DataDir, KeyFile)).
			WithHint("copy the one that `eventful config` made, or name another folder with --data-dir")
	}
	dek, err := DEK(config)
	if err != nil {
		return nil, nil, err
	}
	if dek.Bytes == nil {
		return nil, nil, problem.New(problem.Unauthenticated, "the DEK is missing: nothing can be decrypted without it").
			WithHint("set EVENTFUL_DEK or EVENTFUL_DEK_FILE")
	}
	return Server{DataDir: config.DataDir, DEK: dek.Bytes, Site: config.Site}.open()
}

// withHealth runs the engines, with the HTTP port if there is to be one.
func withHealth(ctx context.Context, address string, protection TLS, engines Engines, logger zerolog.Logger) error {
	registry := newRegistry()
	engines.Metrics = prometheus.Registerer(registry)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up := func() error { return nil }
	web := make(chan error, 1)
	if address == "" {
		web <- nil
	} else {
		health, err := listenAddress(address, protection, registry)
		if err != nil {
			return err
		}
		up = func() error { health.ready.Store(true); return nil }
		engines.Guarded, engines.Written, engines.Kept = health.guard.Store, health.writer.Store, health.inbox.Store
		go func() { defer cancel(); web <- health.serve(ctx) }()
	}
	paced := make(chan struct{})
	go func() { defer close(paced); heap.Pace(ctx, heap.Headroom) }()
	err := engines.Run(ctx, func() error {
		logger.Info().Str(fieldSite, engines.Site).Str(fieldVer, Version()).Msg("engine accepted requests")
		return up()
	})
	cancel()
	<-paced
	return errors.Join(err, <-web)
}

func listenAddress(address string, protection TLS, registry *prometheus.Registry) (*health, error) {
	host, text, err := net.SplitHostPort(address)
	port, portErr := strconv.ParseUint(text, 10, 16)
	if err != nil || portErr != nil {
		return nil, problem.New(problem.Malformed, "--http %q is no host:port", address).WithHint("for example 127.0.0.1:9596")
	}
	if err := protection.Check(host); err != nil {
		return nil, err
	}
	config, err := protection.config()
	if err != nil {
		return nil, err
	}
	return listenHTTP(host, int(port), config, registry)
}

// outside connects to a NATS cluster that others run.
type outside struct {
	config  *settings.Config
	keys    *keyring.Keyring
	secrets *keyring.Secrets
	name    string
	log     zerolog.Logger
}

func (o outside) connect(account keyring.Account, roles []streams.Role, options ...nats.Option) (*nats.Conn, error) {
	credentials, err := o.credentials(account, roles)
	if err != nil {
		return nil, err
	}
	name := o.name
	if own, _ := ownFile(roles); own != "" {
		name = string(own)
	}
	nc, err := o.dial(name, append(credentials, options...))
	if err != nil {
		return nil, problem.New(problem.Unavailable, "connect to %s in account %s: %v", o.config.Text("nats-url"), account, err).
			WithHint("--nats-url names the servers; they must trust the site's operator and hold its accounts")
	}
	return nc, nil
}

// maker connects with the right to make one stream. Its user is made from keys.json, whatever credentials files there are: none of them may make streams.
func (o outside) maker(account keyring.Account, stream string, options ...nats.Option) (*nats.Conn, error) {
	userJWT, seed, err := node.MakerUser(o.keys.Site(), o.secrets, account, stream)
	if err != nil {
		return nil, err
	}
	credentials, err := node.Credentials(userJWT, seed)
	if err != nil {
		return nil, err
	}
	nc, err := o.dial(string(streams.RoleMaker), append(credentials, options...))
	if err != nil {
		return nil, fmt.Errorf("connect in account %s as a user of keys.json that may make stream %s: %w", account, stream, err)
	}
	return nc, nil
}

// dial connects to the servers of the settings, unless the options name others.
func (o outside) dial(name string, options []nats.Option) (*nats.Conn, error) {
	all := []nats.Option{nats.Name(name)}
	if o.config.TLSCA != "" {
		trust, err := Trusting(o.config.TLSCA)
		if err != nil {
			return nil, err
		}
		all = append(all, nats.Secure(trust))
	}
	return nats.Connect(o.config.Text("nats-url"), append(all, options...)...)
}

// ownFile says which roles have a connection, and a file, beside the one of the engine; empty: none of them.
func ownFile(roles []streams.Role) (role streams.Role, flag string) {
	switch {
	case slices.Equal(roles, archiving()):
		return streams.RoleArchiver, "archiver-creds"
	case slices.Equal(roles, keyReading()):
		return streams.RoleKeyReader, "key-creds"
	}
	return "", ""
}

// credentials are those of the file for the account, which must belong to the account of that name in keys.json, or a user made from keys.json.
func (o outside) credentials(account keyring.Account, roles []streams.Role) ([]nats.Option, error) {
	flag := map[keyring.Account]string{keyring.LOG: "log-creds", keyring.APP: "app-creds"}[account]
	if _, own := ownFile(roles); own != "" {
		flag = own
	}
	if flag == "" || o.config.Text(flag) == "" {
		return o.made(account, roles)
	}
	path := o.config.Text(flag)
	userJWT, claims, err := readCreds(flag, path)
	if err != nil {
		return nil, err
	}
	if owner := claims.IssuerAccount; owner != o.keys.AccountID(account) && claims.Issuer != o.keys.AccountID(account) {
		return nil, problem.New(problem.Invalid, "--%s: %s is of account %s, and the site's account %s is %s", flag, path, owner, account, o.keys.AccountID(account)).
			WithHint("every account has a file of its own; keys.json says which account is which")
	}
	if makesStreams(claims) {
		o.log.Warn().Str("file", path).
			Msg("credentials file of an older eventful may make streams, and so remove any of its account. Make the file anew with `eventful creds`, and destroy this one")
	}
	if missing := o.unasked(account, roles, claims); missing != "" {
		o.log.Warn().Str("file", path).Str("subject", missing).
			Msg("credentials file of an older eventful lacks a right that the engine needs now: a user made from keys.json is used in its place. Make the file anew with `eventful creds`")
		return o.made(account, roles)
	}
	inboxes, err := node.OwnInboxes(userJWT)
	return []nats.Option{nats.UserCredentials(path), inboxes}, err
}

// makesStreams reports whether a user may make or change streams, which nobody but a maker is to.
func makesStreams(claims *jwt.UserClaims) bool {
	return slices.ContainsFunc(claims.Pub.Allow, func(subject string) bool {
		return strings.Contains(subject, ".STREAM.CREATE.") || strings.Contains(subject, ".STREAM.UPDATE.")
	})
}

// menderTime is how long a user in account SYS lives.
const menderTime = time.Minute

// made are those of a user made from keys.json.
func (o outside) made(account keyring.Account, roles []streams.Role) ([]nats.Option, error) {
	var expires time.Time
	if account == keyring.SYS {
		expires = time.Now().Add(menderTime)
	}
	userJWT, seed, err := node.RoleUser(o.keys.Site(), o.secrets, account, o.name, expires, roles...)
	if err != nil {
		return nil, err
	}
	return node.Credentials(userJWT, seed)
}

// unasked is a subject of questions or answers that the roles need in an account and a user may not use, empty if there is none.
func (o outside) unasked(account keyring.Account, roles []streams.Role, claims *jwt.UserClaims) string {
	in := streams.Installation{Site: o.keys.Site(), LOG: o.keys.AccountID(keyring.LOG), APP: o.keys.AccountID(keyring.APP)}
	p, err := streams.RolePermissions(in, string(account), roles...)
	if err != nil {
		return ""
	}
	needed := in.Questions()
	for _, answers := range []string{streams.RunnerAnswers(in.Site), streams.StandingAnswers(in.Site)} { // came later, too
		needed = append(needed, streams.Question{Subject: answers}, streams.Question{Subject: answers, Told: true})
	}
	for _, q := range needed {
		wanted, allowed := p.Publish, claims.Pub.Allow
		if q.Told {
			wanted, allowed = p.Subscribe, claims.Sub.Allow
		}
		asks := slices.ContainsFunc(wanted, func(one streams.Permission) bool { return one.Subject == q.Subject })
		may := len(allowed) == 0 || slices.ContainsFunc(allowed, func(one string) bool { return jwt.Subject(q.Subject).IsContainedIn(jwt.Subject(one)) })
		if asks && !may {
			return q.Subject
		}
	}
	return ""
}

func readCreds(flag, path string) (userJWT string, claims *jwt.UserClaims, err error) {
	text, err := settings.ReadSecret(path)
	if err != nil {
		return "", nil, err
	}
	if userJWT, err = jwt.ParseDecoratedJWT(text); err != nil {
		return "", nil, problem.New(problem.Invalid, "--%s: %s is no credentials file: %v", flag, path, err)
	}
	if claims, err = jwt.DecodeUserClaims(userJWT); err != nil {
		return "", nil, problem.New(problem.Invalid, "--%s: %s holds no user: %v", flag, path, err)
	}
	return userJWT, claims, nil
}

// complain prints the error as every program of EventfulDB does.
func complain(err error) (status int) {
	p := problem.From(err)
	fmt.Fprintln(os.Stderr, "error:", p.Detail)
	for _, one := range p.Problems {
		fmt.Fprintln(os.Stderr, "  -", one.Detail)
	}
	if p.Hint != "" {
		fmt.Fprintln(os.Stderr, "hint:", p.Hint)
	}
	return p.ExitStatus()
}
