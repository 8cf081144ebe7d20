package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/internal/opensearchtest"
	"github.com/eventfuldb/eventful/internal/postgrestest"
	"github.com/eventfuldb/eventful/pkg/keyring"
	"github.com/eventfuldb/eventful/streams"
)

// targetCanary is short and of one word, so that it stands in one piece on the disks of targets that compress.
const targetCanary = "Zxqvcanary4711wqzj"

// feed is how many messages the site's own feed holds.
func (s *site) feed() uint64 {
	s.t.Helper()
	_, messages := s.feedHolds("")
	return messages
}

// feedHolds reports whether a message of the site's own feed holds a text, and how many there are.
func (s *site) feedHolds(text string) (holds bool, messages uint64) {
	s.t.Helper()
	js, err := jetstream.New(s.connections()[keyring.APP])
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := js.Stream(ctx, streams.FeedStream)
	if err != nil {
		s.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for sequence := state.FirstSeq; sequence <= state.LastSeq && sequence > 0 && text != ""; sequence++ {
		if m, err := stream.GetMsg(ctx, sequence); err == nil && bytes.Contains(m.Data, []byte(text)) {
			holds = true
		}
	}
	return holds, state.Msgs
}

// diskHolds gives the files below a folder that hold a text, but for those that skip says.
func diskHolds(t *testing.T, dir, text string, skip func(path string) bool) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || skip(path) {
			return nil // it went away while we looked
		}
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(text)) {
			all = append(all, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func nothingSkipped(string) bool { return false }

// givenAndForgotten brings the canary into a target that is given encrypted fields, and has it forgotten. has reports whether the target shows it.
func (s *site) givenAndForgotten(name string, has func() bool) {
	s.t.Helper()
	s.must("plugin:test", name)
	s.must("plugin:enable", name)
	s.must("event:add", "patient/came", "--id=A", "--name="+targetCanary, "--ward=7")
	s.must("event:add", "patient/came", "--id=B", "--name=Bea", "--ward=8")
	until(s.t, "the target has the value", has)
	s.must("data:forget", "patient/A", "--yes")
	until(s.t, "the target has it no more", func() bool { return !has() })
	s.must("plugin:replay", name, "--all", "-f")
	s.must("event:add", "patient/came", "--id=A", "--ward=9")
	until(s.t, "the plugin has come to the end", func() bool { return strings.Contains(s.must("plugin:list", "-o", "json"), `"lag-events": 0`) })
	if has() {
		s.t.Error("a replay brought the value back")
	}
}

// TestTheFeedForgets: the events of the aggregate leave the feed, and no replay brings back what is forgotten.
func TestTheFeedForgets(t *testing.T) {
	t.Parallel()
	s := newSecretSite(t)
	s.must("plugin:config", "feed", "--type=nats", "--pii")
	s.givenAndForgotten("feed", func() bool { holds, _ := s.feedHolds(targetCanary); return holds })
	if holds, _ := s.feedHolds("Bea"); !holds {
		t.Error("the feed has lost another patient")
	}
	s.stop()
	if found := diskHolds(t, s.dir, targetCanary, nothingSkipped); found != nil {
		t.Errorf("it stands in %v", found)
	}
	s.start()
	s.must("aggregate:verify", "--all")
}

// TestPostgresForgets: the value leaves the rows, and with VACUUM FULL, as docs/plugins-postgres.md says, the files of the tables.
func TestPostgresForgets(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := newSecretSite(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	c, err := pgx.Connect(ctx, server.Address("postgres", "sslmode=disable"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	run := func(statements ...string) {
		t.Helper()
		for _, one := range statements {
			if _, err := c.Exec(ctx, one); err != nil {
				t.Fatalf("%s: %v", one, err)
			}
		}
	}
	run("CREATE TABLE people (aggregate_type text, aggregate_id text, version bigint, name text, ward text, everything jsonb, PRIMARY KEY (aggregate_type, aggregate_id))")
	s.put("password", server.Password)
	s.put("people.yaml", "types: patient\ntarget: people\nrules: [{fields: {name: state.name, ward: state.ward}}]\n")
	s.must("plugin:config", "people", "--type=postgres", fmt.Sprintf("--url=postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", postgrestest.User, server.Port),
		"--password-file="+filepath.Join(s.root, "password"), "--mapping="+filepath.Join(s.root, "people.yaml"), "--json=everything", "--pii")
	rows := func() (text string) {
		t.Helper()
		if err := c.QueryRow(ctx, "SELECT coalesce(string_agg(p::text, ' ' ORDER BY aggregate_id), '') FROM people p").Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	s.givenAndForgotten("people", func() bool { return strings.Contains(rows(), targetCanary) })
	if got := rows(); !strings.Contains(got, "Bea") || !strings.Contains(got, `patient,A,2,,9`) {
		t.Errorf("got %s", got)
	}
	run("CHECKPOINT")
	journal := func(path string) bool { return strings.Contains(path, "pg_wal") || strings.HasSuffix(path, ".log") }
	run("VACUUM FULL people", "CHECKPOINT")
	if found := diskHolds(t, server.Data(), targetCanary, journal); found != nil {
		t.Errorf("it stands in %v", found)
	}
	s.must("aggregate:verify", "--all")
}

// TestOpenSearchForgets: the value leaves the document, and with a forced merge, as docs/plugins-opensearch.md says, the files of the index.
func TestOpenSearchForgets(t *testing.T) {
	t.Parallel()
	node := opensearchtest.Start(t)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	s := newSecretSite(t)
	x := index{t, "http://" + node.Addr}
	s.put("plugin.yaml", "type: opensearch\noptions:\n  url: "+x.address+"\n  replicas: 0\n  pii: true\n  mapping:\n    types: patient\n    target: everybody\n")
	s.must("plugin:config", "search", "--file=plugin.yaml")
	held := false
	s.givenAndForgotten("search", func() bool {
		has := strings.Contains(fmt.Sprint(x.documents("everybody")), targetCanary)
		held = held || has && diskHolds(t, node.Home, targetCanary, nothingSkipped) != nil
		return has
	})
	if !held {
		t.Error("the files never held it, so looking for it there shows nothing")
	}
	if got := fmt.Sprint(x.documents("everybody")); !strings.Contains(got, "Bea") || !strings.Contains(got, "ward:9") {
		t.Errorf("got %s", got)
	}
	until(t, "no file holds it", func() bool { // a commit that the merge makes superfluous goes with the next
		x.ask("/everybody/_forcemerge?only_expunge_deletes=true", "{}")
		x.ask("/everybody/_flush?force=true", "{}")
		return diskHolds(t, node.Home, targetCanary, nothingSkipped) == nil
	})
	s.must("aggregate:verify", "--all")
}
