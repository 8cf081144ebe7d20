package run

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/internal/heap"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// Server is a whole EventfulDB in one process: NATS, the engines, and the HTTP port.
type Server struct {
	DataDir         string            // absolute; must have been configured
	DEK             []byte            // opens the key file
	Site            string            // must be the one in the key file; empty: take that
	Host            string            // address that HTTP and NATS listen on
	Port            int               // of HTTP; 0: any free one
	NATSPort        int               // 0: any free one
	ConnectFailures int               // as in node.Config
	MemoryThreshold int               // decoded events kept in memory; 0: none
	TLS             TLS               // of both ports
	Space           space.Limits      // of free space, below which writes are refused
	NoEngines       bool              // NATS only: the engines run elsewhere (cmd/writer, cmd/projector)
	UnsafeNoSync    bool              // for benchmarks: acknowledged events can be lost
	Given           map[string]string // settings that were given for this run only; they are noted for restart
	Archive         Archive           // where logs go on behind what their streams have
	Programs        []string          // that plugins may run, absolute
	Log             zerolog.Logger
}

// Check finds what keeps the server from starting, as far as that can be seen while another one still runs on the data folder. The error is a *problem.Problem.
func (s Server) Check() error {
	if err := errors.Join(s.TLS.Check(s.Host), checkMoved(s.DataDir), roomToStart(s.DataDir)); err != nil {
		return err
	}
	if _, err := s.TLS.config(); err != nil {
		return err
	}
	_, _, err := s.open()
	return err
}

// Serve runs until ctx ends (nil) or something fails for good. ready is called once, when commands are accepted.
//
// Side effects in order, and what a crash behind each leaves: (1) the lock: nothing, the kernel frees it. (2) what the lock file says, run.json and the
// pid file: leftovers that do not count, since nobody holds the lock; while the server runs it writes them again if they vanish. (3) the ports, the NATS
// server, the engines: they recover by themselves at the next start.
func (s Server) Serve(ctx context.Context, ready func(*Info)) (err error) {
	if !Configured(s.DataDir) {
		return problem.New(problem.NotFound, "%s is not configured", s.DataDir).
			WithHint("run `eventful config` first, or name the right folder with --data-dir")
	}
	if err := errors.Join(s.TLS.Check(s.Host), checkMoved(s.DataDir), roomToStart(s.DataDir)); err != nil {
		return err
	}
	lock, err := Acquire(s.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	here := &presence{dir: s.DataDir, lock: lock}
	defer func() { err = errors.Join(err, here.end()) }()
	if _, err := here.tell(func(i *Info) { *i = s.info() }); err != nil { // at once, so that a server that is still starting can be stopped
		return err
	}
	keys, secrets, err := s.open()
	if err != nil {
		return err
	}
	registry := newRegistry()
	protection, err := s.TLS.config()
	if err != nil {
		return err
	}
	health, err := listenHTTP(s.Host, s.Port, protection, registry)
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	told, ending := context.WithCancel(context.WithoutCancel(ctx)) // ends when it stands in the files that the server is stopping
	go func() { defer ending(); here.keep(inner, s.Log) }()
	web := make(chan error, 1)
	go func() { defer cancel(); web <- health.serve(told) }() // who finds the port closed finds out why
	paced := make(chan struct{})
	go func() { defer close(paced); heap.Pace(inner, heap.WholeHeadroom) }()
	up := false
	err = s.run(inner, keys, secrets, protection, registry, health, func(url, credential string) error {
		info, err := here.tell(func(i *Info) {
			i.Site, i.HTTP, i.NATS, i.Credential, i.Ready = keys.Site(), health.url(), url, credential, true
		})
		if err != nil {
			return err
		}
		up = true
		health.ready.Store(true)
		s.Log.Info().Str(fieldSite, info.Site).Str(fieldHTTP, info.HTTP).Str(fieldNATS, info.NATS).Msg("server accepted commands")
		ready(info)
		return nil
	})
	cancel()
	<-told.Done()
	<-paced
	if err = errors.Join(err, <-web); ctx.Err() != nil && !up && (err == nil || errors.Is(err, context.Canceled)) {
		return problem.New(problem.Unavailable, "the server was stopped before it was ready")
	}
	return err
}

// run holds the node and the engines. serving is called when commands are accepted.
func (s Server) run(ctx context.Context, keys *keyring.Keyring, secrets *keyring.Secrets, protection *tls.Config, registry *prometheus.Registry, health *health, serving func(url, credential string) error) error {
	n, err := node.Start(ctx, node.Config{
		StoreDir:    filepath.Join(s.DataDir, storeDir),
		ResolverDir: filepath.Join(s.DataDir, resolverDir),
		Host:        s.Host,
		Port:        s.NATSPort,
		Keyring:     keys,
		Secrets:     secrets,
		Log:         s.Log,
		NoSync:      s.UnsafeNoSync,
		TLS:         protection,
		Usable:      func() error { return usable(filepath.Join(s.DataDir, storeDir), s.Space) },

		ConnectFailures: s.ConnectFailures,
		Metrics:         registry,
	})
	if err != nil {
		return err
	}
	defer n.Shutdown()
	credential, _, err := secrets.LocalUser()
	if err != nil {
		return err
	}
	up := func() error { return serving(n.PublicURL(), credential) }
	if s.NoEngines {
		if err := up(); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	e := Engines{
		Site: keys.Site(), Dir: s.DataDir, Secrets: secrets, Connect: n.ConnAs, Make: n.ConnMaker, Operators: keys.OperatorKeys(), Confirmed: n.SaveAccounts,
		Writer: true, Projector: true, Runner: true, Programs: s.Programs, MemoryThreshold: s.MemoryThreshold, UnsafeNoSync: s.UnsafeNoSync,
		Limits: s.Space, LogDir: filepath.Join(s.DataDir, storeDir), Fault: n.Fault, Guarded: health.guard.Store, Written: health.writer.Store, Kept: health.inbox.Store, Log: s.Log, Metrics: registry,
	}
	if err := s.Archive.give(&e); err != nil {
		return err
	}
	return e.Run(ctx, up)
}

// open reads the key file and opens it with the DEK.
func (s Server) open() (*keyring.Keyring, *keyring.Secrets, error) {
	path := filepath.Join(s.DataDir, KeyFile)
	keys, err := keyring.Load(path)
	if err != nil {
		return nil, nil, KeyProblem(err)
	}
	if s.Site != "" && s.Site != keys.Site() {
		return nil, nil, problem.New(problem.Conflict, "the site is set to %q, but this data folder belongs to site %q", s.Site, keys.Site()).
			WithHint("a site is fixed at the first start: take EVENTFUL_SITE and `site` in config.toml back to %q", keys.Site())
	}
	secrets, err := keys.Open(s.DEK)
	debug.FreeOSMemory() // Argon2id took 64 MiB, which would come back only little by little
	if errors.Is(err, keyring.ErrWrongKey) {
		return nil, nil, problem.New(problem.Unauthenticated, "the DEK does not open %s", path).
			WithHint("give the DEK that `eventful config` was given, with EVENTFUL_DEK or EVENTFUL_DEK_FILE")
	}
	return keys, secrets, KeyProblem(err)
}

func (s Server) info() Info {
	return Info{
		Format: infoFormat, PID: os.Getpid(), Mark: processMark(os.Getpid()), Since: time.Now().UTC().Truncate(time.Millisecond), Version: Version(),
		Site: s.Site, Given: s.Given, NoEngines: s.NoEngines, UnsafeNoSync: s.UnsafeNoSync, Certificate: s.TLS.Cert,
	}
}
