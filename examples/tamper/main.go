// Command tamper changes one byte of one stored event on a copy of a data folder, as an administrator who holds every key could, to show that
// verification names it.
//
//	eventful stop && cp -a .eventful copy
//	eventful start --data-dir copy --no-engines --nats-port 7071
//	EVENTFUL_DEK_FILE=dek go run ./examples/tamper --data-dir copy --type patient --id A --version 3 --i-know-this-destroys-the-copy
//	eventful stop --data-dir copy && eventful start --data-dir copy --nats-port 7071
//	eventful aggregate:verify --all --data-dir copy      # exit status 7, names patient/A and version 3
//
// It opens the keys of the folder with the DEK, connects as an engine of the account LOG, reads the whole stream, deletes it, and writes it again message by
// message: same configuration, sequences, headers and bytes, save one. Every step after the deletion that fails leaves the copy without its log.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/pkg/event"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// patience bounds the whole program.
const patience = 2 * time.Minute

type options struct {
	dir, log string
	target   event.AggregateID
	version  event.Version
	sure     bool
}

func main() {
	var o options
	var version uint64
	flag.StringVar(&o.dir, "data-dir", "", "the copy; a server must run on it with --no-engines")
	flag.StringVar(&o.log, "log", "", "log of the aggregate (default: its type)")
	flag.StringVar(&o.target.Type, "type", "", "aggregate type")
	flag.StringVar(&o.target.ID, "id", "", "aggregate id")
	flag.Uint64Var(&version, "version", 0, "version of the event to change")
	flag.BoolVar(&o.sure, "i-know-this-destroys-the-copy", false, "the data folder is a copy that may be destroyed")
	flag.Parse()
	o.version = event.Version(version)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !o.sure {
		return errors.New("this destroys what the data folder proves: say --i-know-this-destroys-the-copy")
	}
	if err := o.target.Check(); err != nil {
		return err
	}
	if o.log == "" {
		o.log = o.target.Type
	}
	nc, site, err := connect(o.dir)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("reach JetStream: %w", err)
	}
	name, err := streams.Stream(site, o.log)
	if err != nil {
		return err
	}
	config, messages, err := readStream(ctx, js, name)
	if err != nil {
		return err
	}
	changed, err := change(messages, o)
	if err != nil {
		return err
	}
	if err := rewrite(ctx, js, config, messages); err != nil {
		return err
	}
	fmt.Printf("%s: rewritten, %d messages; %s\n", name, len(messages), changed)
	return nil
}

// connect opens the keys of the folder and connects with every right in the account LOG.
func connect(dir string) (nc *nats.Conn, site string, err error) {
	var server struct {
		NATS      string `json:"nats"`
		NoEngines bool   `json:"no-engines"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "run.json"))
	if err == nil {
		err = json.Unmarshal(text, &server)
	}
	if err != nil {
		return nil, "", fmt.Errorf("find the server of the copy (is it started?): %w", err)
	}
	if !server.NoEngines {
		return nil, "", errors.New("the server of the copy must be started with --no-engines")
	}
	dek, err := readDEK()
	if err != nil {
		return nil, "", err
	}
	keys, err := keyring.Load(filepath.Join(dir, "keys.json"))
	if err != nil {
		return nil, "", err
	}
	secrets, err := keys.Open(dek)
	if err != nil {
		return nil, "", err
	}
	userJWT, seed, err := secrets.EngineUser(keyring.LOG, "tamper")
	if err != nil {
		return nil, "", err
	}
	nc, err = nats.Connect(server.NATS, nats.UserJWTAndSeed(userJWT, string(seed)), nats.MaxReconnects(0))
	if err != nil {
		return nil, "", fmt.Errorf("connect to %s: %w", server.NATS, err)
	}
	return nc, keys.Site(), nil
}

func readDEK() ([]byte, error) {
	if dek := os.Getenv("EVENTFUL_DEK"); dek != "" {
		return []byte(dek), nil
	}
	path := os.Getenv("EVENTFUL_DEK_FILE")
	if path == "" {
		return nil, errors.New("set EVENTFUL_DEK or EVENTFUL_DEK_FILE")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the DEK: %w", err)
	}
	return []byte(strings.TrimRight(string(text), "\r\n")), nil
}

// readStream reads every message. Sequences must run from 1 without a gap, so that they come out the same.
func readStream(ctx context.Context, js jetstream.JetStream, name string) (jetstream.StreamConfig, []*jetstream.RawStreamMsg, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return jetstream.StreamConfig{}, nil, fmt.Errorf("open stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	messages := make([]*jetstream.RawStreamMsg, info.State.LastSeq)
	for i := range messages {
		if messages[i], err = stream.GetMsg(ctx, uint64(i+1)); err != nil {
			return jetstream.StreamConfig{}, nil, fmt.Errorf("read message %d of %s: %w", i+1, name, err)
		}
	}
	return info.Config, messages, nil
}

// rewrite deletes the stream and publishes the messages again.
func rewrite(ctx context.Context, js jetstream.JetStream, config jetstream.StreamConfig, messages []*jetstream.RawStreamMsg) error {
	if err := js.DeleteStream(ctx, config.Name); err != nil {
		return fmt.Errorf("delete stream %s: %w", config.Name, err)
	}
	stream, err := js.CreateStream(ctx, config)
	if err != nil {
		return fmt.Errorf("create stream %s: %w", config.Name, err)
	}
	for _, m := range messages {
		ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		if err != nil {
			return fmt.Errorf("publish message %d: %w", m.Sequence, err)
		}
		if ack.Sequence != m.Sequence {
			return fmt.Errorf("message %d became %d", m.Sequence, ack.Sequence)
		}
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("count the messages: %w", err)
	}
	if info.State.Msgs != uint64(len(messages)) {
		return fmt.Errorf("the stream has %d messages, it had %d", info.State.Msgs, len(messages))
	}
	return nil
}
