package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/eventfuldb/eventful/pkg/client"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

const (
	nodes   = 3
	keyName = "bench" // of the auth key
)

// cluster measures the full path, without a projector, and the bare pipeline on three NATS servers with replicated streams.
func cluster(ctx context.Context, s *stage) (err error) {
	var started []*process
	defer func() {
		for i := len(started) - 1; i >= 0; i-- {
			err = errors.Join(err, started[i].stop())
		}
	}()
	one, err := s.prepared.copy(filepath.Join(s.dir, "cluster"))
	if err != nil {
		return err
	}
	if err := one.forget(); err != nil {
		return err
	}
	urls, err := s.startNodes(ctx, &started)
	if err != nil {
		return err
	}
	joined := strings.Join(urls, ",")
	bare, url, err := launchServer(ctx, s.programs.server, one.env, "bare", "--dir="+one.dir, "--url="+joined, "--replicas=3")
	if err != nil {
		return err
	}
	started = append(started, bare)
	bareDoor, err := one.engineDoor(url)
	if err != nil {
		return err
	}
	engines, url, err := launchServer(ctx, s.programs.server, one.env, "engines", "--dir="+one.dir, "--url="+joined, "--replicas=3")
	if err != nil {
		return err
	}
	started = append(started, engines)
	one.url = url
	if err := one.introduce(ctx); err != nil {
		return err
	}
	b := one.books("a", s.aggregates, s.data)
	for _, clients := range []int{64, 256} {
		f, err := s.fleets(ctx, min(clients, s.aggregates),
			wantedFleet{barePipeline + " on R3", bareDoor, s.bareRequests()},
			wantedFleet{"full path on R3", one.door(), b.commands},
			wantedFleet{bodiesAlone + ", on R3", bareDoor, s.bareBodies})
		if err != nil {
			return err
		}
		s.beside(fmt.Sprintf("full path on R3, %d clients", clients), f[1].perSecond, "commands/s", barePipeline+" on R3", f[0].perSecond, atLeast(0.5))
		s.beside(fmt.Sprintf("full path on R3, %d clients", clients), f[1].perSecond, "commands/s", bodiesAlone+", on R3", f[2].perSecond, nil)
		s.beside(fmt.Sprintf("full path on R3, %d clients, p99", clients), f[1].p99, "µs", barePipeline+" on R3 p99", f[0].p99, nil)
	}
	return s.verifyCluster(ctx, one, engines, joined)
}

// verifyCluster recomputes everything with engines that have a projector, since queries are its.
func (s *stage) verifyCluster(ctx context.Context, one *site, engines *process, urls string) error {
	if err := engines.stop(); err != nil {
		return err
	}
	whole, url, err := launchServer(ctx, s.programs.server, one.env, "engines", "--dir="+one.dir, "--url="+urls, "--replicas=3", "--projector")
	if err != nil {
		return err
	}
	one.url = url
	c, err := client.Connect(ctx, client.Options{URL: one.url, Token: client.Static(one.token)})
	if err == nil {
		var found *client.Report
		if found, err = c.VerifyAll(ctx, nil); err == nil && len(found.Failed) > 0 {
			err = fmt.Errorf("verification failed: %v", found.Failed)
		}
		if err == nil {
			fmt.Fprintf(s.progress, "  verified cluster: %d events\n", found.Events)
		}
		c.Close()
	}
	return errors.Join(err, whole.stop())
}

// startNodes starts the servers, each with a copy of the keys and accounts; they become ready together.
func (s *stage) startNodes(ctx context.Context, started *[]*process) ([]string, error) {
	ports := make([]string, nodes)
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = strconv.Itoa(port)
	}
	urls := make([]string, nodes)
	for i := range nodes {
		home, err := s.prepared.copy(filepath.Join(s.dir, "node"+strconv.Itoa(i)))
		if err != nil {
			return nil, err
		}
		p, url, err := launchServer(ctx, s.programs.server, home.env, "node", "--dir="+home.dir, "--node="+strconv.Itoa(i), "--peers="+strings.Join(ports, ","))
		if err != nil {
			return nil, err
		}
		*started, urls[i] = append(*started, p), url
	}
	return urls, nil
}

// introduce tells the fresh system log of the auth key, which the account has already, and of the schema.
func (s *site) introduce(ctx context.Context) error {
	keys, err := keyring.Load(filepath.Join(s.dir, "keys.json"))
	if err != nil {
		return err
	}
	secrets, err := keys.Open([]byte(dataKey))
	if err != nil {
		return err
	}
	local, _, err := secrets.LocalUser()
	if err != nil {
		return err
	}
	claims, err := jwt.DecodeUserClaims(s.token)
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	c, err := client.Connect(ctx, client.Options{URL: s.url, Token: client.Static(local), Timeout: time.Minute})
	if err != nil {
		return err
	}
	defer c.Close()
	account, err := c.KeyAccount(ctx)
	if err != nil {
		return err
	}
	err = c.KeyAdd(ctx, client.AccessKey{Account: account, Key: claims.Issuer, Name: keyName, Aggregates: []string{"*"}, Actions: []string{"write", "read", "verify", "archive", "admin"}})
	if err != nil {
		return err
	}
	return s.migrate(ctx, "--server="+s.url, "--account="+s.account)
}
