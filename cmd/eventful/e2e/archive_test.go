package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventfuldb/eventful/internal/disktest"
	"github.com/eventfuldb/eventful/pkg/archive"
	"github.com/eventfuldb/eventful/pkg/archive/archivetest"
	"github.com/eventfuldb/eventful/pkg/eventlog"
	"github.com/eventfuldb/eventful/pkg/keyring"
)

// cold is the folder of the site's archive, where it has one.
func (s *site) cold() string { return filepath.Join(s.root, "cold") }

// archiveHolds looks into every message and every state of the archive, decrypted.
func (s *site) archiveHolds(secrets map[string]string) {
	s.t.Helper()
	keys, opened := s.secrets()
	key, err := opened.Derived("archive")
	if err != nil {
		s.t.Fatal(err)
	}
	folder, err := archive.OpenFolder(s.cold())
	if err != nil {
		s.t.Fatal(err)
	}
	a, err := archive.New(archive.Config{Objects: folder, Site: keys.Site(), Key: key[:]})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx := context.Background()
	last, err := a.Last(ctx, "patient")
	if err != nil || last == 0 {
		s.t.Fatalf("got an archive up to %d, %v", last, err)
	}
	for sequence := uint64(1); sequence <= last; sequence++ {
		m, err := a.Get(ctx, "patient", sequence)
		if err != nil {
			s.t.Fatal(err)
		}
		s.nothingHolds(fmt.Sprintf("archive, message %d", sequence), m.Data, secrets)
	}
	kept, err := a.ListSnapshots(ctx, "patient")
	if err != nil || len(kept) == 0 {
		s.t.Fatalf("got %d states in the archive, %v", len(kept), err)
	}
	for _, k := range kept {
		err := a.ReadSnapshot(ctx, "patient", k, func(eventlog.Snapshot) error { return nil }, func(key, value []byte) error {
			s.nothingHolds("state in the archive", append(append([]byte(nil), key...), value...), secrets)
			return nil
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestKillDuringArchive kills the server again and again while events are written and archived, in a folder and in a bucket. Every event is there once in the end, also for a writer
// and a projector that lost all they had.
func TestKillDuringArchive(t *testing.T) {
	t.Parallel()
	for _, place := range []string{"folder", "bucket"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			s := configuredSite(t)
			if place == "folder" {
				s.env = append(s.env, "EVENTFUL_ARCHIVE="+s.cold())
			} else {
				at := archivetest.StartS3(t)
				s.put("keys", archivetest.AccessKey+"\n"+archivetest.SecretKey+"\n")
				s.env = append(s.env, "EVENTFUL_ARCHIVE=s3+http://"+at+"/cold", "EVENTFUL_ARCHIVE_KEYS="+filepath.Join(s.root, "keys"))
			}
			s.openWithSchema()
			s.killWhileArchiving(archiveKills())
		})
	}
}

// archiveKills is how often the server is killed.
func archiveKills() int {
	if os.Getenv("EVENTFUL_TORTURE") == "1" {
		return 40
	}
	return 4
}

func (s *site) killWhileArchiving(rounds int) {
	s.t.Helper()
	random := rand.New(rand.NewPCG(disktest.Seed(s.t), 6))
	events := 0
	for range rounds {
		var lines strings.Builder
		for range 40 {
			events++
			fmt.Fprintf(&lines, "{\"id\":\"P%d\",\"what\":\"note\",\"text\":\"%d\"}\n", events%7, events)
		}
		s.put("rows.ndjson", lines.String())
		s.put("mapping.yaml", "id: id\nevent: {column: what}\nfields: {text: text}\n")
		s.must("data:import", "rows.ndjson", "--aggregate=patient", "--mapping=mapping.yaml")
		what := "--all"
		if events%80 == 0 { // every other time
			what = "patient/P1"
		}
		running := s.background("event:archive", what)
		<-time.NewTimer(time.Duration(random.IntN(700)) * time.Millisecond).C // the moment of the kill is the test's chance
		was := s.kill()
		running.kill()
		s.again(was)
	}
	s.must("event:archive", "patient/P1")
	s.must("event:archive", "--all")
	s.everyNoteOnce(events)
}

// everyNoteOnce looks for the notes 1 to events, for a writer and a projector that lost all they had.
func (s *site) everyNoteOnce(events int) {
	s.t.Helper()
	s.stop()
	for _, lost := range []string{"state", "index"} {
		if err := os.RemoveAll(filepath.Join(s.dir, lost)); err != nil {
			s.t.Fatal(err)
		}
	}
	s.start()
	seen := map[string]int{}
	for id := range 7 {
		var page []struct {
			Fields map[string]string `json:"fields"`
		}
		s.ask(&page, "aggregate:history", fmt.Sprintf("patient/P%d", id), "--take=0")
		for _, e := range page {
			seen[e.Fields["text"]]++
		}
	}
	for n := 1; n <= events; n++ {
		if seen[fmt.Sprint(n)] != 1 {
			s.t.Errorf("event %d is there %d times", n, seen[fmt.Sprint(n)])
		}
	}
	s.must("aggregate:verify", "--all")
}

// TestKillDuringArchivingByPolicy kills the server behind each step of archiving by a policy: when the segment is there, when the manifest tells of it, when the writer's state is, when the
// log's first messages are gone, and when it says that it is done. Behind each kill the policy goes on by itself; every event is there once, and each cut is on record once.
func TestKillDuringArchivingByPolicy(t *testing.T) {
	t.Parallel()
	s := configuredSite(t)
	s.env = append(s.env, "EVENTFUL_ARCHIVE="+s.cold(), "EVENTFUL_ARCHIVE_OLDER_THAN=patient=1ms", "EVENTFUL_ARCHIVE_EVERY=50ms")
	s.openWithSchema()
	s.put("mapping.yaml", "id: id\nevent: {column: what}\nfields: {text: text}\n")
	events := 0
	for step, is := range []func(*coldLog) bool{
		func(c *coldLog) bool { return c.grown("segments/*") },
		func(c *coldLog) bool { return c.grown("manifest.json") },
		func(c *coldLog) bool { return c.grown("states/*/*") },
		func(c *coldLog) bool { return c.grown("states/*/index") },
		func(c *coldLog) bool { return c.purged() },
		func(c *coldLog) bool { return c.said() },
	} {
		c := s.coldLog()
		var lines strings.Builder
		for range 20 {
			events++
			fmt.Fprintf(&lines, "{\"id\":\"P%d\",\"what\":\"note\",\"text\":\"%d\"}\n", events%7, events)
		}
		s.put("rows.ndjson", lines.String())
		importing := s.background("data:import", "rows.ndjson", "--aggregate=patient", "--mapping=mapping.yaml")
		until(t, fmt.Sprintf("step %d of archiving", step), func() bool { return is(c) })
		was := s.kill()
		importing.kill()
		s.again(was)
		s.must("data:import", "rows.ndjson", "--aggregate=patient", "--mapping=mapping.yaml") // what was left
	}
	c := s.coldLog()
	until(t, "the policy goes on behind the last kill", c.said)
	cuts := map[string]int{}
	for line := range strings.Lines(s.must("audit:list", "--actor=policy:archive", "--all", "EVENTFUL_TOKEN=")) {
		if fields := strings.Fields(line); strings.Contains(line, "events-archived") {
			for _, f := range fields {
				if strings.HasPrefix(f, "eventful-archive-act/") {
					cuts[f]++
				}
			}
		}
	}
	if len(cuts) == 0 {
		t.Error("the audit has no cut")
	}
	for cut, n := range cuts {
		if n != 1 {
			t.Errorf("%s is on record %d times", cut, n)
		}
	}
	s.everyNoteOnce(events)
}

// coldLog is how much there is of the log patient in the archive, and of what is said of it.
type coldLog struct {
	s      *site
	before map[string]time.Time // objects by name, with their times
	lines  int                  // by which the policy said that it was done
	js     jetstream.JetStream
	first  uint64 // sequence of the stream
}

func (s *site) coldLog() *coldLog {
	_, secrets := s.secrets()
	text, seed, err := secrets.EngineUser(keyring.LOG, "test")
	if err != nil {
		s.t.Fatal(err)
	}
	nc, err := nats.Connect(s.info().NATS, nats.UserJWTAndSeed(text, string(seed)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	c := &coldLog{s: s, lines: s.policySaid()}
	if c.js, err = jetstream.New(nc); err != nil {
		s.t.Fatal(err)
	}
	c.before = c.objects("*")
	for _, pattern := range []string{"segments/*", "states/*/*"} {
		for name, at := range c.objects(pattern) {
			c.before[name] = at
		}
	}
	c.first = c.begins()
	return c
}

func (c *coldLog) objects(pattern string) map[string]time.Time {
	c.s.t.Helper()
	found := make(map[string]time.Time)
	names, err := filepath.Glob(filepath.Join(c.s.cold(), "*", "patient", pattern))
	if err != nil {
		c.s.t.Fatal(err)
	}
	for _, name := range names {
		if about, err := os.Stat(name); err == nil {
			found[name] = about.ModTime()
		}
	}
	return found
}

// grown: there is an object of that name that was not there, or is another one.
func (c *coldLog) grown(pattern string) bool {
	for name, at := range c.objects(pattern) {
		if was, there := c.before[name]; !there || !was.Equal(at) {
			return true
		}
	}
	return false
}

// begins is the first sequence of the stream, as its server says.
func (c *coldLog) begins() uint64 {
	c.s.t.Helper()
	stream, err := c.js.Stream(c.s.t.Context(), "EVT_"+c.s.installation().Site+"_patient")
	if err != nil {
		c.s.t.Fatal(err)
	}
	return stream.CachedInfo().State.FirstSeq
}

func (c *coldLog) purged() bool { return c.begins() != c.first }

// said: the policy said that it is done, once more than before.
func (c *coldLog) said() bool { return c.s.policySaid() > c.lines }

func (s *site) policySaid() int {
	text, err := os.ReadFile(filepath.Join(s.dir, "eventful.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Count(string(text), "log was archived by its policy")
}
