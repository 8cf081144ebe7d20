package main

import (
	"regexp"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rogpeppe/go-internal/testscript"
)

// feed URL starts a nats-server with JetStream that has nothing to do with EventfulDB, and ends with the script.
func startFeed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: feed URLVAR")
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: ts.MkAbs("feed"), NoSigs: true})
	ts.Check(err)
	s.Start()
	ts.Defer(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		ts.Fatalf("the server does not start")
	}
	ts.Setenv(args[0], s.ClientURL())
}

// published URL SUBJECT COUNT REGEXP waits until the stream EVENTS has that many messages on the subject, the last of which fits.
func published(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: published URL SUBJECT COUNT REGEXP")
	}
	c, err := nats.Connect(args[0])
	ts.Check(err)
	defer c.Close()
	pattern, count := regexp.MustCompile(args[3]), regexp.MustCompile(`"`+regexp.QuoteMeta(args[1])+`":`+args[2]+"[,}]")
	poll(ts, args[3], func() bool {
		info, err := c.Request("$JS.API.STREAM.INFO.EVENTS", []byte(`{"subjects_filter":"`+args[1]+`"}`), time.Second)
		if err != nil || !count.Match(info.Data) {
			return false
		}
		last, err := c.Request("$JS.API.DIRECT.GET.EVENTS."+args[1], nil, time.Second)
		return err == nil && pattern.Match(last.Data)
	})
}
