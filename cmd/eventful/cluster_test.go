package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rogpeppe/go-internal/testscript"
)

// clusterSize is the number of nats-servers in deploy/nats.conf and compose.yaml.
const clusterSize = 3

// cluster SITE.CONF VAR starts the three nats-servers of deploy/nats.conf with that site.conf beside it, and puts their URLs into a variable. Only
// addresses and folders differ from what compose.yaml runs.
func startCluster(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cluster SITE.CONF VAR")
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "nats.conf"))
	ts.Check(err)
	routes := freeAddresses(ts)
	var all []*server.Server
	var urls []string
	for i, route := range routes {
		dir := ts.MkAbs(fmt.Sprintf("nats%d", i+1))
		local := []string{"0.0.0.0:4222", "127.0.0.1:-1", "127.0.0.1:8222", "127.0.0.1:-1", "0.0.0.0:6222", route, `"/data/`, `"` + dir + "/"}
		for j, other := range routes {
			local = append(local, fmt.Sprintf("nats%d:6222", j+1), other)
		}
		ts.Check(os.MkdirAll(dir, 0o700))
		ts.Check(os.WriteFile(filepath.Join(dir, "nats.conf"), []byte(strings.NewReplacer(local...).Replace(string(text))), 0o600))
		ts.Check(os.WriteFile(filepath.Join(dir, "site.conf"), []byte(ts.ReadFile(args[0])), 0o600))
		s := startMember(ts, filepath.Join(dir, "nats.conf"), fmt.Sprintf("nats%d", i+1))
		all = append(all, s)
		urls = append(urls, s.ClientURL())
	}
	ts.Defer(func() {
		for _, s := range all {
			stopMember(s)
		}
	})
	awaitLeader(ts, all)
	ts.Setenv(args[1], strings.Join(urls, ","))
	clusters.Store(ts.Getenv("WORK"), all)
}

// clusters are the servers of each script, by its folder.
var clusters sync.Map

// stopnats LEADER|N stops a server of the cluster: the leader of JetStream, or the one of that number.
func stopNATS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stopnats LEADER|N")
	}
	found, _ := clusters.Load(ts.Getenv("WORK"))
	all, _ := found.([]*server.Server)
	for i, s := range all {
		if args[0] == strconv.Itoa(i+1) || args[0] == "LEADER" && s.JetStreamIsLeader() {
			stopMember(s)
			return
		}
	}
	ts.Fatalf("the cluster has no server %s", args[0])
}

func stopMember(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func awaitLeader(ts *testscript.TestScript, all []*server.Server) {
	poll(ts, "the cluster", func() bool {
		led := false
		for _, s := range all {
			if !s.JetStreamIsCurrent() || s.NumRoutes() == 0 {
				return false
			}
			led = led || s.JetStreamIsLeader()
		}
		return led
	})
}

func startMember(ts *testscript.TestScript, path, name string) *server.Server {
	for key, value := range map[string]string{"SERVER_NAME": name, "JS_KEY": "key-of-the-cluster-under-test"} { // nothing else reads them
		ts.Check(os.Setenv(key, value))
	}
	options, err := server.ProcessConfigFile(path)
	ts.Check(err)
	options.NoLog, options.NoSigs = true, true
	s, err := server.NewServer(options)
	ts.Check(err)
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		ts.Fatalf("nats-server %s is not ready after 10 s", name)
	}
	return s
}

func freeAddresses(ts *testscript.TestScript) (addresses []string) {
	for range clusterSize {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		addresses = append(addresses, l.Addr().String())
		defer l.Close()
	}
	return addresses
}

// eventually PROGRAM ARGS... runs a program again and again until it ends well.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually PROGRAM [ARG...]")
	}
	poll(ts, args[0], func() bool { return ts.Exec(args[0], args[1:]...) == nil })
}
