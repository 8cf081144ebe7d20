package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/eventfuldb/eventful/cmd/internal/run"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// logOf connects to the server on a data folder as its engines do, whoever holds the DEK, and gives the names of a log's stream and subject.
func logOf(ts *testscript.TestScript, dir, log string) (nc *nats.Conn, stream, subject string) {
	keys, err := keyring.Load(filepath.Join(ts.MkAbs(dir), run.KeyFile))
	ts.Check(err)
	secrets, err := keys.Open([]byte(ts.Getenv("EVENTFUL_DEK")))
	ts.Check(err)
	account := keyring.LOG
	if log == streams.InboxStream {
		account = keyring.APP
	}
	userJWT, seed, err := secrets.EngineUser(account, "administrator")
	ts.Check(err)
	info, err := run.Find(ts.MkAbs(dir))
	ts.Check(err)
	if info == nil {
		ts.Fatalf("no server runs on %s", dir)
	}
	nc, err = nats.Connect(info.NATS, nats.UserJWTAndSeed(userJWT, string(seed)))
	ts.Check(err)
	if strings.ToLower(log) != log { // no log
		return nc, log, ""
	}
	stream, err = streams.Stream(keys.Site(), log)
	subject, subjectErr := streams.Subject(keys.Site(), log)
	ts.Check(errors.Join(err, subjectErr))
	return nc, stream, subject
}

// edit DIR LOG|STREAM max_age|back|delete changes the stream of a log, or another stream, as an administrator can, takes the change back, or deletes it.
func editStream(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit DIR LOG max_age|back|delete")
	}
	nc, name, _ := logOf(ts, args[0], args[1])
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	stream, err := js.Stream(context.Background(), name)
	ts.Check(err)
	config := stream.CachedInfo().Config
	switch args[2] {
	case "max_age":
		config.MaxAge = 24 * time.Hour
	case "back":
		config.MaxAge = 0
	case "delete":
		ts.Check(js.DeleteStream(context.Background(), config.Name))
		return
	default:
		ts.Fatalf("no change %q", args[2])
	}
	_, err = js.UpdateStream(context.Background(), config)
	ts.Check(err)
}

// junk DIR LOG writes into a log what is no block.
func junk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: junk DIR LOG")
	}
	nc, _, subject := logOf(ts, args[0], args[1])
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	_, err = js.Publish(context.Background(), subject, []byte("no block"))
	ts.Check(err)
}
