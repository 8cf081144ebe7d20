package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

const (
	masterKey    = "the master key of the benchmark"
	dataKey      = "the data key of the benchmark"
	startTimeout = 5 * time.Minute
)

// programs are the binaries under test, and the benchmark's own server.
type programs struct{ eventful, writer, server string }

// site is an installation of EventfulDB in a folder of its own.
type site struct {
	programs
	name    string
	dir     string // data folder
	env     []string
	token   string // writes, reads and verifies everything
	authKey string
	account string // public id of APP
	port    int    // of NATS; the same at each start
	server  *process
	whole   bool // the server is `eventful start` with its engines, which answers queries
	url     string
}

// newSite configures a site, starts it once, and gives it an auth key, the schema and a token; then it is stopped, ready to be copied.
func newSite(ctx context.Context, p programs, dir string) (*site, error) {
	s := &site{programs: p, name: filepath.Base(dir), dir: filepath.Join(dir, "data")}
	s.env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "xdg"), "EVENTFUL_DATA_DIR="+s.dir, "EVENTFUL_DEK="+dataKey, "EVENTFUL_MASTER_KEY="+masterKey)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for the site: %w", err)
	}
	if _, err := s.run(ctx, "config"); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, s.stop()
}

func (s *site) prepare(ctx context.Context) error {
	var key struct {
		AuthKey string `json:"auth-key"`
		Account string `json:"account"`
	}
	if err := s.ask(ctx, &key, "token:generate", "--auth-key", "--name="+keyName); err != nil {
		return err
	}
	s.authKey, s.account = key.AuthKey, key.Account
	s.env = append(s.env, "EVENTFUL_AUTH_KEY="+s.authKey)
	if err := s.migrate(ctx); err != nil {
		return err
	}
	var made struct {
		Token string `json:"token"`
	}
	err := s.ask(ctx, &made, "token:generate", "--expiration=86400", "--limit=1000000000", "--actions=write,read,verify", "--identifierType=service", "--identifierId=bench")
	s.token = made.Token
	s.env = append(s.env, "EVENTFUL_TOKEN="+s.token)
	return err
}

// migrate puts the benchmark's schema into force.
func (s *site) migrate(ctx context.Context, args ...string) error {
	file := filepath.Join(filepath.Dir(s.dir), "schema.yaml")
	if err := os.WriteFile(file, []byte(schemaText), 0o600); err != nil {
		return fmt.Errorf("write the schema: %w", err)
	}
	if _, err := s.run(ctx, append([]string{"schema:apply", file}, args...)...); err != nil {
		return err
	}
	_, err := s.run(ctx, append([]string{"schema:migrate", "-f"}, args...)...)
	return err
}

// copy makes another site of a stopped one: the same keys and tokens, and what was stored so far.
func (s *site) copy(dir string) (*site, error) {
	target := filepath.Join(dir, "data")
	if err := os.CopyFS(target, os.DirFS(s.dir)); err != nil {
		return nil, fmt.Errorf("copy the site: %w", err)
	}
	err := filepath.WalkDir(target, func(path string, d fs.DirEntry, err error) error { // keys that others may read are refused
		mode := fs.FileMode(0o600)
		if d != nil && d.IsDir() {
			mode = 0o700
		}
		return errors.Join(err, os.Chmod(path, mode))
	})
	if err != nil {
		return nil, fmt.Errorf("copy the site: %w", err)
	}
	c := *s
	c.name, c.dir, c.port, c.whole = filepath.Base(dir), target, 0, false
	c.env = append(append([]string{}, s.env...), "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "xdg"), "EVENTFUL_DATA_DIR="+c.dir)
	return &c, nil
}

func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.eventful, args...)
	cmd.Env = s.env
	return cmd
}

// run runs a command of eventful that must end well, and gives what it printed.
func (s *site) run(ctx context.Context, args ...string) (string, error) {
	cmd := s.command(ctx, args...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("eventful %s at %s: %w\n%s", args[0], s.name, err, exit.Stderr)
	}
	return string(out), err
}

func (s *site) ask(ctx context.Context, into any, args ...string) error {
	text, err := s.run(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("eventful %s printed %.200q: %w", args[0], text, err)
	}
	return nil
}

// start starts `eventful start` and waits until it takes commands.
func (s *site) start(ctx context.Context, args ...string) error {
	if err := s.spawn(args...); err != nil {
		return err
	}
	if err := s.untilReady(ctx); err != nil {
		return err
	}
	s.whole = len(args) == 0
	return nil
}

func (s *site) spawn(args ...string) (err error) {
	if s.port == 0 {
		if s.port, err = freePort(); err != nil {
			return err
		}
	}
	s.url = "nats://127.0.0.1:" + strconv.Itoa(s.port)
	args = append([]string{"start", "--foreground", "--port=0", "--nats-port=" + strconv.Itoa(s.port), "--log-level=warn"}, args...)
	s.server, err = launch(s.command(context.Background(), args...), nil)
	return err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// untilReady polls run.json, as any supervisor can.
func (s *site) untilReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return s.poll(ctx, func() bool {
		var info struct{ Ready bool }
		text, err := os.ReadFile(filepath.Join(s.dir, "run.json"))
		return err == nil && json.Unmarshal(text, &info) == nil && info.Ready
	})
}

// poll asks every two milliseconds, as long as the server runs.
func (s *site) poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case err := <-s.server.ended:
			s.server.ended <- err
			return fmt.Errorf("the server of %s ended: %w\n%s", s.name, err, s.server.said)
		case <-ctx.Done():
			return fmt.Errorf("wait for the server of %s: %w", s.name, ctx.Err())
		}
	}
	return nil
}

func (s *site) stop() error {
	if s.server == nil {
		return nil
	}
	err := s.server.stop()
	s.server, s.whole = nil, false
	return err
}

func (s *site) kill() error {
	err := s.server.kill()
	s.server, s.whole = nil, false
	return err
}

// startEngines serves the site with the benchmark's own server: the engines without the program around them.
func (s *site) startEngines(ctx context.Context, args ...string) (err error) {
	s.server, s.url, err = launchServer(ctx, s.programs.server, s.env, append([]string{"engines", "--dir=" + s.dir}, args...)...)
	return err
}

// verify has the server recompute everything it stores.
func (s *site) verify(ctx context.Context) (events uint64, err error) {
	var found struct{ Events uint64 }
	err = s.ask(ctx, &found, "aggregate:verify", "--all")
	return found.Events, err
}

// door is that of the site's token.
func (s *site) door() door { return tokenDoor(s.url, s.token) }

// tokenDoor opens a connection as any client in any language does.
func tokenDoor(url, token string) door {
	d := door{url: url, inbox: "_INBOX"}
	if claims, err := jwt.DecodeUserClaims(token); err == nil {
		d.inbox = streams.TokenInboxPrefix(claims.Subject, claims.Tags)
	}
	d.options = []nats.Option{nats.CustomInboxPrefix(d.inbox), nats.UserJWT(func() (string, error) { return token, nil }, func([]byte) ([]byte, error) { return nil, nil })}
	return d
}

// part of the data folder, in bytes on the disk.
func (s *site) part(name string) (int64, error) { return onDisk(filepath.Join(s.dir, name)) }

func (s *site) books(prefix string, aggregates int, data []byte) *books {
	return newBooks(strings.ToLower(prefix), aggregates, s.token, data)
}

// forget removes what a copy took over from the store: only keys and accounts stay.
func (s *site) forget() error {
	return errors.Join(os.RemoveAll(filepath.Join(s.dir, "jetstream")), os.RemoveAll(filepath.Join(s.dir, "state")), os.RemoveAll(filepath.Join(s.dir, "index")))
}

// engineDoor is a door with all rights in the account of the logs, for the bare pipeline on a cluster.
func (s *site) engineDoor(url string) (door, error) {
	keys, err := keyring.Load(filepath.Join(s.dir, "keys.json"))
	if err != nil {
		return door{}, err
	}
	secrets, err := keys.Open([]byte(dataKey))
	if err != nil {
		return door{}, err
	}
	user, seed, err := secrets.EngineUser(keyring.LOG, "bench")
	return door{url: url, inbox: "_INBOX", options: []nats.Option{nats.UserJWTAndSeed(user, string(seed))}}, err
}
