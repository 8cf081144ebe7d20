package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/eventfuldb/eventful/cmd/internal/node"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/pkg/problem"
)

const patience = 10 * time.Second

// site is what a test's node runs on.
type site struct {
	config   node.Config
	operator []byte // seed
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	master, dek := []byte("a master key of a test"), []byte("a DEK of a test, another one")
	keys, secrets, err := keyring.CreateWithCost(filepath.Join(dir, "keys.json"), "ward", master, dek, keyring.Cost{Memory: 64, Time: 1, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	operator, err := keys.OpenOperator(master)
	if err != nil {
		t.Fatal(err)
	}
	return &site{operator: operator, config: node.Config{StoreDir: filepath.Join(dir, "jetstream"), ResolverDir: filepath.Join(dir, "accounts"),
		Host: "127.0.0.1", Keyring: keys, Secrets: secrets, Log: zerolog.Nop()}}
}

func (s *site) start(t *testing.T) *node.Node {
	t.Helper()
	n, err := node.Start(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Shutdown)
	return n
}

func connect(t *testing.T, n *node.Node, account keyring.Account) *nats.Conn {
	t.Helper()
	nc, err := n.Conn(account)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// isProblem checks code and hint of an error that the user can do something about.
func isProblem(t *testing.T, err error, code problem.Code) {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) || p.Code != code || p.Hint == "" {
		t.Errorf("got error %v, want a problem %s with a hint", err, code)
	}
}

func TestRestartKeepsEncryptedStreams(t *testing.T) {
	s := newSite(t)
	const secret = "nobody may read this on disk"
	n := s.start(t)
	js, err := jetstream.New(connect(t, n, keyring.LOG))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(deadline(t), jetstream.StreamConfig{Name: "EVT_ward_patient", Subjects: []string{"evt.ward.patient"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(deadline(t), "evt.ward.patient", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	n.Shutdown()
	if files := filesWith(t, s.config.StoreDir, secret); len(files) != 0 {
		t.Errorf("got the message in the clear in %v, want it encrypted", files)
	}

	n = s.start(t)
	js, err = jetstream.New(connect(t, n, keyring.LOG))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(deadline(t), "EVT_ward_patient")
	if err != nil {
		t.Fatal(err)
	}
	message, err := stream.GetMsg(deadline(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(message.Data); got != secret {
		t.Errorf("got %q behind the restart, want %q", got, secret)
	}
}

// filesWith lists the files below dir that contain the text; the test is void if there is no block file.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	blocks := 0
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if filepath.Ext(path) == ".blk" && len(data) > 0 {
			blocks++
		}
		if strings.Contains(string(data), text) {
			found = append(found, path)
		}
		return err
	})
	if err != nil || blocks == 0 {
		t.Fatalf("got %d message blocks and error %v, want some", blocks, err)
	}
	return found
}

func TestEffectiveSettings(t *testing.T) {
	s := newSite(t)
	n := s.start(t)
	sys := connect(t, n, keyring.SYS)
	var settings struct {
		Data struct {
			Config struct {
				SyncAlways bool   `json:"sync_always"`
				Strict     bool   `json:"strict"`
				StoreDir   string `json:"store_dir"`
			} `json:"config"`
		} `json:"data"`
	}
	reply, err := sys.Request("$SYS.REQ.SERVER.PING.JSZ", nil, patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(reply.Data, &settings); err != nil {
		t.Fatal(err)
	}
	if c := settings.Data.Config; !c.SyncAlways || !c.Strict {
		t.Errorf("got sync always %v, strict %v, want both", c.SyncAlways, c.Strict)
	}
	if got := sys.MaxPayload(); got != 8<<20 {
		t.Errorf("got max payload %d, want 8 MiB", got)
	}
}

func TestEnginesAreApart(t *testing.T) {
	s := newSite(t)
	n := s.start(t)
	log, app := connect(t, n, keyring.LOG), connect(t, n, keyring.APP)
	heard, err := app.SubscribeSync("evt.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(app.Flush(), log.Publish("evt.ward.patient", nil), log.Flush(), app.Flush()); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := heard.Pending(); got != 0 {
		t.Errorf("got %d messages of LOG in APP, want none", got)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s := newSite(t)
	s.config.Port = l.Addr().(*net.TCPAddr).Port
	_, err = node.Start(t.Context(), s.config)
	isProblem(t, err, problem.Unavailable)
}

func TestStoreInUse(t *testing.T) {
	s := newSite(t)
	n := s.start(t)
	_, err := node.Start(t.Context(), s.config)
	isProblem(t, err, problem.Locked)
	n.Shutdown()
	s.start(t)
}

func TestWrongStoreKey(t *testing.T) {
	s := newSite(t)
	n := s.start(t)
	makeStream(t, n, "EVT_ward_patient")
	n.Shutdown()

	other := *s.config.Secrets
	other.JetStreamKey = strings.Repeat("ab", 32)
	good := s.config.Secrets
	s.config.Secrets = &other
	_, err := node.Start(t.Context(), s.config)
	isProblem(t, err, problem.Unavailable)

	// Without the key check the server would come up and leave the stream out: that is seen too.
	if err := os.Remove(filepath.Join(s.config.StoreDir, "key-check")); err != nil {
		t.Fatal(err)
	}
	_, err = node.Start(t.Context(), s.config)
	isProblem(t, err, problem.Damaged)

	if err := os.Remove(filepath.Join(s.config.StoreDir, "key-check")); err != nil {
		t.Fatal(err)
	}
	s.config.Secrets = good
	js, err := jetstream.New(connect(t, s.start(t), keyring.LOG))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(deadline(t), "EVT_ward_patient"); err != nil {
		t.Errorf("got %v with the right key, want the stream unharmed", err)
	}
}

func makeStream(t *testing.T, n *node.Node, name string) {
	t.Helper()
	js, err := jetstream.New(connect(t, n, keyring.LOG))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(deadline(t), jetstream.StreamConfig{Name: name, Subjects: []string{"evt." + name}}); err != nil {
		t.Fatal(err)
	}
}

func TestStartIsCancelled(t *testing.T) {
	s := newSite(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := node.Start(ctx, s.config); err == nil {
		n.Shutdown() // it may have won the race; then it must run
		return
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	s.start(t)
}

func TestShutdownTwice(t *testing.T) {
	n := newSite(t).start(t)
	n.Shutdown()
	n.Shutdown()
	if _, err := n.Conn(keyring.LOG); err == nil {
		t.Error("got a connection behind the shutdown, want an error")
	}
}
