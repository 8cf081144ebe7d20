package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/cmd/internal/settings"
	"github.com/eventfuldb/eventful/cmd/internal/space"
	"github.com/eventfuldb/eventful/pkg/problem"
)

// startFlags are those of start that are no settings: they hold for one run.
type startFlags struct {
	foreground, noEngines, unsafeNoSync, daemon bool
	given                                       map[string]string // settings that were given as flags
}

func newStartCommand(a *app) *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start the server on the data folder",
		Long: "Start the server on the data folder: NATS, the engines and the HTTP port (/livez, /readyz, /metrics) in one process.\n" +
			"It goes on in the background; this command returns when commands are accepted.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.start(cmd, f) },
	}
	serverFlags(cmd)
	secretFlags(cmd, settings.DEK)
	flags := cmd.Flags()
	flags.BoolVar(&f.foreground, "foreground", false, "stay in the foreground; the log goes to standard error too")
	flags.BoolVar(&f.noEngines, "no-engines", false, "NATS only, for engines that run elsewhere")
	flags.BoolVar(&f.unsafeNoSync, "unsafe-no-sync", false, "do not flush: for benchmarks, loses acknowledged events")
	flags.String("site", "", "the site that the data folder must belong to")
	flags.BoolVar(&f.daemon, "daemon", false, "run as the daemon that start itself began")
	flags.StringToStringVar(&f.given, "given", nil, "what start itself was given as flags")
	for _, name := range []string{"unsafe-no-sync", "site", "daemon", "given"} {
		if err := flags.MarkHidden(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return cmd
}

// serverFlags are the settings of a server that start, restart and config take as flags.
func serverFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("host", "127.0.0.1", "`address` that HTTP and NATS listen on; off loopback it takes --tls-cert, or --insecure")
	flags.String("tls-cert", "", "PEM `file` of the certificate for HTTP and NATS; read again when it changes")
	flags.String("tls-key", "", "PEM `file` of its key")
	flags.Bool("insecure", false, "listen off loopback without TLS: tokens and data cross the network in the clear")
	flags.Int("port", 9595, "TCP port of HTTP; 0: any free one")
	flags.Int("nats-port", 7070, "TCP port of NATS; 0: any free one")
	flags.Int("connect-failures", 20, "`connections` a second that an address may make over TLS to NATS and that are not authenticated, and ten times as many at once: beyond, it is refused for some seconds; 0: no limit")
	flags.Int("memory-threshold", 100000, "decoded `events` kept in memory, first in first out")
	flags.String("log-level", "info", "trace, debug, info, warn or error")
	flags.String("min-free", "1GiB", "`bytes` of the disk that must stay free: below, writes are refused; with --min-free-percent the larger counts")
	flags.Int("min-free-percent", 5, "the same as a part of the disk; 0 in both: never refuse")
	run.ArchiveFlags(flags)
	run.PluginFlags(flags)
}

// serverSettings are the names of those of serverFlags.
func serverSettings() []string {
	return []string{"host", "tls-cert", "tls-key", "insecure", "port", "nats-port", "connect-failures", "memory-threshold", "log-level", "min-free", "min-free-percent", "archive", "archive-keys", "archive-plain", "archive-older-than", "archive-larger-than", "archive-idle-for", "archive-every", "plugin-programs"}
}

func (a *app) start(cmd *cobra.Command, f startFlags) error {
	if f.daemon {
		return a.runDaemon(cmd, f)
	}
	info, err := run.Find(a.settings.DataDir)
	if err != nil {
		return err
	}
	if info != nil {
		return problem.New(problem.Locked, "a server with process id %d runs on %s already", info.PID, a.settings.DataDir).
			WithHint("`eventful status` shows it, `eventful restart` starts it anew")
	}
	dek, err := a.dek()
	if err != nil {
		return err
	}
	if err := a.protection().Check(a.settings.Host); err != nil {
		return err
	}
	a.warnOfDanger(f)
	f.given = a.settings.FromFlags(serverSettings()...)
	for name, path := range map[string]string{
		"tls-cert": a.settings.TLSCert, "tls-key": a.settings.TLSKey, "archive": a.settings.Archive, "archive-keys": a.settings.ArchiveKeys,
	} { // restart may run elsewhere
		if _, ok := f.given[name]; ok {
			f.given[name] = path
		}
	}
	if f.foreground {
		return a.serve(cmd, f, dek)
	}
	return a.spawn(cmd, f, dek)
}

// dek finds the DEK; a missing data folder is named before a missing key.
func (a *app) dek() ([]byte, error) {
	if err := a.mustBeConfigured(); err != nil {
		return nil, err
	}
	secret, err := run.DEK(a.settings)
	if err != nil {
		return nil, err
	}
	if secret.Bytes == nil {
		return nil, problem.New(problem.Unauthenticated, "the DEK is missing: nothing can be decrypted without it").
			WithHint("give the one of `eventful config` with EVENTFUL_DEK or EVENTFUL_DEK_FILE")
	}
	a.warnOfFlag(settings.DEK, secret)
	return secret.Bytes, nil
}

func (a *app) warnOfDanger(f startFlags) {
	if f.unsafeNoSync {
		a.warn("--unsafe-no-sync: events are acknowledged before they are on disk; a power cut loses them. Never use it for data that matters")
	}
	if a.settings.Space == (space.Limits{}) {
		a.warn("--min-free 0 and --min-free-percent 0: nothing refuses writes before the disk is full; then they fail with unknown outcomes until there is room")
	}
	if a.settings.Insecure && a.settings.TLSCert == "" && !run.IsLoopback(a.settings.Host) {
		a.warn("--host %s --insecure: tokens and data cross the network unencrypted; put a tunnel or a TLS proxy in front", a.settings.Host)
	}
}

func (a *app) spawn(cmd *cobra.Command, f startFlags, dek []byte) error {
	s := a.settings
	args := []string{
		"start", "--daemon", "--data-dir=" + s.DataDir, "--site=" + s.Site, "--host=" + s.Host, "--port=" + strconv.Itoa(s.Port), "--nats-port=" + strconv.Itoa(s.NATSPort),
		"--tls-cert=" + s.TLSCert, "--tls-key=" + s.TLSKey, "--insecure=" + strconv.FormatBool(s.Insecure),
		"--connect-failures=" + strconv.Itoa(s.ConnectFailures), "--memory-threshold=" + strconv.Itoa(s.MemoryThreshold), "--log-level=" + s.LogLevel,
		"--min-free=" + s.Text("min-free"), "--min-free-percent=" + strconv.Itoa(s.Space.Percent),
		"--archive=" + s.Archive, "--archive-keys=" + s.ArchiveKeys, "--archive-plain=" + strconv.FormatBool(s.ArchivePlain),
		"--archive-older-than=" + s.Text("archive-older-than"), "--archive-larger-than=" + s.Text("archive-larger-than"), "--archive-idle-for=" + s.Text("archive-idle-for"), "--archive-every=" + s.Text("archive-every"), "--plugin-programs=" + s.Text("plugin-programs"),
		"--no-engines=" + strconv.FormatBool(f.noEngines), "--unsafe-no-sync=" + strconv.FormatBool(f.unsafeNoSync),
	}
	for name, value := range f.given {
		args = append(args, "--given="+name+"="+value)
	}
	slow := time.AfterFunc(5*time.Second, func() {
		fmt.Fprintln(os.Stderr, "still starting: `eventful logs -f` shows what it does; an interrupt stops it")
	})
	info, err := run.Spawn(cmd.Context(), s.DataDir, args, dek)
	slow.Stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.errOut, "started: site %s, NATS %s, HTTP %s, process id %d\n", info.Site, info.NATS, info.HTTP, info.PID)
	if readiness(cmd.Context(), info) == stateRefusing {
		a.warn("writes are refused, reads are answered: `eventful status` says why, and `eventful doctor` what to do")
	}
	return nil
}

// runDaemon is the other side of spawn. Its standard error is the log file.
func (a *app) runDaemon(cmd *cobra.Command, f startFlags) error {
	dek, err := run.Inherited()
	if err != nil {
		return err
	}
	reported := false
	tell := func(info *run.Info, err error) {
		if reported {
			return
		}
		reported = true
		if err := run.Report(info, err); err != nil {
			fmt.Fprintln(os.Stderr, "tell the parent process:", err)
		}
	}
	a.serving.Store(true)
	server, err := a.server(f, dek, os.Stderr)
	if err == nil {
		err = server.Serve(cmd.Context(), func(info *run.Info) { tell(info, nil) })
	}
	if err != nil {
		server.Log.Error().Err(err).Msg("server failed")
		tell(nil, err)
		return err
	}
	server.Log.Info().Msg("server stopped")
	return nil
}

// serve runs the server in this process, which logs to the log file and to standard error.
func (a *app) serve(cmd *cobra.Command, f startFlags, dek []byte) error {
	log, err := run.OpenLog(a.settings.DataDir)
	if err != nil {
		return err
	}
	defer log.Close()
	a.serving.Store(true)
	server, err := a.server(f, dek, io.MultiWriter(run.Console(a.errOut, a.colour), log))
	if err != nil {
		return err
	}
	err = server.Serve(cmd.Context(), func(*run.Info) {})
	if err != nil { // the terminal is told by the caller
		file := server.Log.Output(log)
		file.Error().Err(err).Msg("server failed")
	}
	return err
}

func (a *app) server(f startFlags, dek []byte, log io.Writer) (run.Server, error) {
	s := a.settings
	logger, err := run.Logger(log, s.LogLevel)
	return run.Server{
		DataDir: s.DataDir, DEK: dek, Site: s.Site, Host: s.Host, Port: s.Port, NATSPort: s.NATSPort, ConnectFailures: s.ConnectFailures, MemoryThreshold: s.MemoryThreshold, Space: s.Space, TLS: a.protection(),
		NoEngines: f.noEngines, UnsafeNoSync: f.unsafeNoSync, Given: f.given, Log: logger,
		Archive: run.ArchiveOf(s), Programs: s.Programs,
	}, err
}
